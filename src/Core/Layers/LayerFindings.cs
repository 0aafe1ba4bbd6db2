using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Core.Layers;

/// <summary>What can be found in a layer and its traffic; each finding is null where there is nothing to say.</summary>
internal static class LayerFindings
{
    // Weights of the new batch at and above this are mostly weights of the old average in the convention of another framework.
    private const double LargeMomentum = 0.5;

    // A channel with a smaller gamma passes nothing on that float32 would notice beside beta.
    private const double DeadGamma = 1e-5;

    // In standard deviations of the features, and relative to the variance: less than this no network notices.
    private const double NoticedGap = 0.1;

    // Standard deviations of its noise that a gap must exceed to be more than noise.
    private const double BeyondNoise = 5;

    private const int FirstChannels = 8;

    public static Finding? SmallBatch(long count)
    {
        if (count is < 1 or >= BatchNoise.SmallBatch) return null;
        var noise = BatchNoise.OfVariance(count);
        return new Finding("small-batch",
            $"{count} values per statistic: the batch variance has a relative standard deviation of {noise:P0}; " +
            "use larger batches, group_norm, batch_renorm or synchronized batch norm",
            "send larger batches, use a session of kind group_norm or batch_renorm, or join the batches of several workers (synchronized " +
                "batch norm)",
            new Dictionary<string, double> { ["count"] = count, ["relative_sd_of_var"] = noise });
    }

    public static Finding? PrecisionLost(double[] mean, double[] variance, LostPrecision lost) => OfChannels(mean.Length,
        c => lost.IsLost(c, mean[c], variance[c]), "precision-lost",
        count => $"{count} of {mean.Length} statistics are not those of what was sent: float32 cannot tell its values apart at their " +
            "size, and they were rounded to it",
        "create the session with precision float64, or subtract a constant from the feature before it is sent");

    public static Finding? ConstantChannels(double[] variance) => ConstantChannels(variance, c => variance[c] == 0);

    // What rounding has made constant was not sent so.
    public static Finding? ConstantChannels(LastBatch batch, LostPrecision? lost) => ConstantChannels(
        batch.Variance, c => batch.Variance[c] == 0 && lost?.IsLost(c, batch.Mean[c], 0) != true);

    private static Finding? ConstantChannels(double[] variance, Func<int, bool> isConstant) =>
        OfChannels(variance.Length, isConstant, "constant-channels",
        count => $"{count} of {variance.Length} statistics have variance 0 in this batch and are normalized to beta; check the features",
        "look for features that are always the same, padded or not filled in");

    public static Finding? NonFiniteBatch(LastBatch batch) => OfChannels(batch.Mean.Length,
        c => !double.IsFinite(batch.Mean[c]) || !double.IsFinite(batch.Variance[c]), "non-finite-batch",
        count => $"{count} of {batch.Mean.Length} statistics of this batch are not finite and have gone into the running statistics " +
            "(non_finite is propagate)",
        "find where the values come from; set the running statistics again (PUT running-stats, or calibrate), since they stay poisoned " +
            "otherwise");

    public static Finding? NonFiniteStatistics(RunningStatistics running) => OfChannels(running.Mean.Length,
        c => !double.IsFinite(running.Mean[c]) || !double.IsFinite(running.Variance[c]), "non-finite-statistics",
        count => $"{count} of {running.Mean.Length} running statistics are not finite: inference answers with NaN there",
        "set the running statistics again (PUT running-stats, or calibrate); a session with non_finite reject refuses such batches");

    public static Finding? BatchDrift(Drift? drift, long count) => OfDrift(drift, count, "drift", "the last train batch",
        "check that the batch comes from the same data and preprocessing as those before; if the features really move, raise momentum or " +
            "calibrate");

    public static Finding? InferenceDrift(Drift? drift, long count) => OfDrift(drift, count, "inference-drift", "the last inference batch",
        "check the preprocessing of the serving path; if the served data really differs, calibrate with it");

    public static Finding? TrainServeSkew(Drift? train, Drift? inference)
    {
        if (inference is not { IsRelevant: true } || train is null) return null;
        if (train.IsRelevant && inference.Divergence < 2 * train.Divergence) return null;
        var difference = inference.Divergence - train.Divergence;
        return new Finding("train-serve-skew",
            $"{HowMuch(inference, "the last inference batch")}; the last train batch is off by {train.Divergence:G3} nats",
            "compare the preprocessing of training and serving, beginning with the channel named; if the served data really differs, " +
                "calibrate with it",
            new Dictionary<string, double>
            {
                ["channels"] = 1,
                ["train_kl_divergence"] = train.Divergence,
                ["inference_kl_divergence"] = inference.Divergence,
                ["difference"] = difference,
            },
            [inference.Channel]);
    }

    public static Finding? NotSettled(Convergence convergence, double? momentum, RunningStatistics running, bool isUnseen)
    {
        if (convergence.IsSettled) return null;
        var numbers = new Dictionary<string, double>
        {
            ["initial_weight"] = convergence.InitialWeight,
            ["num_batches_tracked"] = running.BatchesTracked,
        };
        if (Convergence.BatchesToSettle(momentum, running.Weight is not null) is { } needed)
            numbers["batches_to_settle"] = Math.Max(needed - running.BatchesTracked, 0);
        return new Finding("not-settled",
            running.IsInitial
                ? "no batch has moved the running statistics: inference normalizes with mean 0 and variance 1"
                : isUnseen && running.BatchesTracked == 0
                ? "imported, no batch seen yet: num_batches_tracked is 0, as of statistics that are still the initial mean 0 and variance 1"
                : $"{convergence.InitialWeight:P0} of the initial mean 0 and variance 1 is left in the running statistics",
            numbers.TryGetValue("batches_to_settle", out var more)
                ? $"train {more:F0} more batches before serving, or calibrate (POST calibration/batches, then commit)"
                : $"momentum {momentum:R} never moves the running statistics: raise it (PATCH), or calibrate",
            numbers);
    }

    public static Finding? NoisyRunningMean(Convergence convergence, long count)
    {
        var noise = convergence.RelativeNoise / Math.Sqrt(count);
        return convergence.IsSettled && noise > NoticedGap
            ? new Finding("noisy-running-mean",
                $"with {count} values per batch the running mean scatters by {noise:P0} of a feature's standard deviation: it rests on " +
                    $"{convergence.EffectiveBatches:G3} batches",
                "lower momentum, send larger batches, use momentum null (the average over all), or calibrate before serving",
                new Dictionary<string, double>
                {
                    ["relative_noise"] = noise,
                    ["effective_batches"] = convergence.EffectiveBatches,
                    ["count"] = count,
                })
            : null;
    }

    public static Finding? Gap(EstimateGap? gap, Convergence convergence, long count)
    {
        if (gap is null || !convergence.IsSettled) return null;
        var noise = convergence.RelativeNoise / Math.Sqrt(count);
        var mean = gap.Mean is { } m && m.Value > Math.Max(NoticedGap, BeyondNoise * noise) ? m : null;
        var variance = gap.Variance is { } v && v.Value > Math.Max(NoticedGap, BeyondNoise * Math.Sqrt(2) * noise) ? v : null;
        if (mean is null && variance is null) return null;
        int[] channels = [.. new[] { mean, variance }.OfType<Largest>().Select(largest => largest.Channel).Distinct()];
        return new Finding("estimate-gap",
            $"the running statistics lie up to {gap.Mean?.Value ?? 0:G3} standard deviations (mean) and {gap.Variance?.Value ?? 0:P0} " +
                "(variance) from the exact union of all batches, more than their noise explains",
            "if the features have not moved during training, lower momentum or calibrate; if they have, the union is the one that is out " +
                "of date: reset, or calibrate",
            new Dictionary<string, double>
            {
                ["channels"] = channels.Length,
                ["mean_gap"] = gap.Mean?.Value ?? 0,
                ["variance_gap"] = gap.Variance?.Value ?? 0,
                ["seen_count"] = gap.Count,
            },
            channels);
    }

    public static Finding? OldWeight(double? momentum) => momentum is { } alpha and >= LargeMomentum
        ? new Finding("momentum-convention",
            $"momentum {alpha:R} is the weight of the NEW batch here, as in PyTorch; Keras, flax, ONNX and Caffe mean the weight of the " +
                "OLD average",
            alpha < 1
                ? $"if it comes from one of those, set momentum to 1 - {alpha:R} = {Suggested(alpha):R}"
                : "momentum 1 keeps the last batch alone; 0.1 is PyTorch's default",
            new Dictionary<string, double> { ["momentum"] = alpha, ["suggested"] = Suggested(alpha) })
        : null;

    public static Finding? ZeroVariance(RunningStatistics running) =>
        OfChannels(running.Variance.Length, c => running.Variance[c] <= 0, "zero-running-variance",
        count => $"{count} of {running.Variance.Length} running variances are 0: inference multiplies what differs from the mean by " +
            "gamma/sqrt(eps)",
        "check the features: constant ones are better left out; or set the running variance (PUT running-stats)");

    public static Finding? DeadChannels(double[] gamma) => OfChannels(gamma.Length, c => Math.Abs(gamma[c]) <= DeadGamma, "dead-channels",
        count => $"{count} of {gamma.Length} gammas are about 0: these channels pass on nothing but beta",
        "prune them, lower the weight decay on gamma, or set gamma (PUT parameters); a layer created with gamma_init 0 wakes up by " +
            "training");

    public static Finding? FrozenMismatch(LastBatch batch, RunningStatistics running)
    {
        // For one standard Gaussian P(|z| > t) ≤ exp(−t²/2); with Bonferroni over channels this is the square that is not by chance. And
        // what
        // is not by chance must matter as well: as much as a drift.
        var (limit, least) = (2 * Math.Log(running.Mean.Length / Drift.Significant), Math.Sqrt(2 * Drift.Relevant));
        double Shift(int c) => Math.Abs(batch.Mean[c] - running.Mean[c]) / Math.Sqrt(running.Variance[c]);
        var found = OfChannels(running.Mean.Length, c => Shift(c) is var shift && shift >= least
            && shift * shift * batch.Independent > limit, "frozen-mean-mismatch",
            count => $"mode is frozen, but the means of {count} of {running.Mean.Length} channels of the last batch lie {least:F1} " +
                "running standard deviations or more from the running ones, and not by chance",
            "the running statistics are not those of this data: calibrate with it, or train with mode train until they settle");
        if (found is null || Largest.Of(running.Mean.Length, Shift) is not { } largest) return found;
        return found with
        {
            Detail = $"the mean of channel {largest.Channel} is {largest.Value:G3} running standard deviations off: {found.Detail}",
            Numbers = new Dictionary<string, double>(found.Numbers) { ["largest_shift"] = largest.Value, ["count"] = batch.Count },
        };
    }

    private static Finding? OfDrift(Drift? drift, long count, string code, string what, string remedy) => drift is { IsRelevant: true }
        ? new Finding(code,
            $"{HowMuch(drift, what)}; by chance this happens with probability {drift.PValue:G2}",
            remedy,
            new Dictionary<string, double>
            {
                ["channels"] = 1,
                ["mean_shift"] = drift.MeanShift,
                ["deviation_ratio"] = drift.DeviationRatio,
                ["kl_divergence"] = drift.Divergence,
                ["p_value"] = drift.PValue,
                ["count"] = count,
            },
            [drift.Channel])
        : null;

    // The size of an effect comes before its probability, which any effect makes small in a large batch.
    private static string HowMuch(Drift drift, string what) =>
        $"in {what}, the mean of channel {drift.Channel} is {Math.Abs(drift.MeanShift):G3} running standard deviations "
        + $"{(drift.MeanShift < 0 ? "below" : "above")} the running mean, and its standard deviation is {drift.DeviationRatio:G3} times " +
            "the running one: "
        + $"it diverges from the running statistics by {drift.Divergence:G3} nats";

    private static Finding? OfChannels(int channels, Func<int, bool> concerns, string code, Func<int, string> detail, string remedy)
    {
        var (count, first) = (0, new List<int>());
        for (var c = 0; c < channels; c++)
        {
            if (!concerns(c)) continue;
            if (++count <= FirstChannels) first.Add(c);
        }
        return count == 0 ? null : new Finding(code, detail(count), remedy, new Dictionary<string, double> { ["channels"] = count },
            [.. first]);
    }

    // 1 − 0.99 is 0.010000000000000009 in double; nobody wants to read that.
    private static double Suggested(double momentum) => momentum < 1 ? Math.Round(1 - momentum, 10) : 0.1;
}
