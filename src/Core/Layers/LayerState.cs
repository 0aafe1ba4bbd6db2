using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Layers;

/// <summary>The statistics of the last batch that moved the layer.</summary>
/// <param name="Mean">Mean of each statistic.</param>
/// <param name="Variance">Biased variance of each statistic.</param>
/// <param name="Count">m, the number of values per statistic.</param>
public sealed record LastBatch(double[] Mean, double[] Variance, long Count)
{
    /// <summary>Number of samples that the values are from; null where it is not known, as of several ranks together.</summary>
    public long? Samples { get; init; }

    /// <summary>Number of values that chance draws one by one: a sample's positions are alike, so that they count as one.</summary>
    public long Independent => Math.Min(Count, Samples ?? Count);
}

/// <summary>
/// A normalization layer at one moment: its options, parameters, running statistics and optimizer buffers, under a version that
/// grows by one with every change. Immutable: who holds one can compute with it while the layer moves on. Arrays are shared between
/// versions and never written.
/// </summary>
public sealed partial record LayerState
{
    /// <summary>The layer's options.</summary>
    public required NormalizerOptions Options { get; init; }

    /// <summary>Grows by one with every change; the first is 1.</summary>
    public required long Version { get; init; }

    /// <summary>
    /// Number of statistics: num_features, or with one statistic per position the number of positions of a sample, which the first
    /// batch fixes.
    /// </summary>
    public required int Features { get; init; }

    /// <summary>Whether a batch or a caller has fixed <see cref="Features"/>.</summary>
    public bool FeaturesAreFixed { get; init; }

    /// <summary>γ as it is stored, without <see cref="NormalizerOptions.GammaOffset"/>, or null where the layer has none.</summary>
    public double[]? Gamma { get; init; }

    /// <summary>β, or null where the layer has none.</summary>
    public double[]? Beta { get; init; }

    /// <summary>Running statistics, or null where the layer tracks none.</summary>
    public RunningStatistics? Running { get; init; }

    /// <summary>What the optimizer remembers, or null before the first update.</summary>
    public OptimizerBuffers? Optimizer { get; init; }

    /// <summary>The last batch that moved the layer, or null before the first.</summary>
    public LastBatch? LastBatch { get; init; }

    /// <summary>
    /// γ as it multiplies: the stored one and its offset; null where the layer has none. One array for all looks at a version.
    /// </summary>
    public double[]? EffectiveGamma => Gamma is null || Options.GammaOffset == 0 ? Gamma : OffsetGamma.Of(Gamma, Options.GammaOffset);

    /// <summary>The affine map of the running statistics: made once for a version, and for all of its requests.</summary>
    internal AffineMap InferenceMap => AffineMap.Shared(Running!, EffectiveGamma, Beta, Options.Eps);

    /// <summary>Whether a train-step normalizes with the batch's own statistics.</summary>
    public bool NormalizesWithBatch => Options.Mode == NormalizationMode.Train;

    /// <summary>Whether a train-step moves the layer: what depends on the batch, or keeps running statistics.</summary>
    public bool MovesWithBatch => Options.Kind.IsOverBatch || Running is not null;

    /// <summary>A new layer, version 1.</summary>
    /// <param name="options">Valid options.</param>
    public static LayerState Create(NormalizerOptions options)
    {
        ArgumentNullException.ThrowIfNull(options);
        return new LayerState
        {
            Options = options,
            Version = 1,
            Features = options.NumFeatures,
            FeaturesAreFixed = options.Granularity == Granularity.PerChannel,
        }.WithInitialValues();
    }

    /// <summary>The layer sized for a batch: unchanged, or with a value per position where this is what the batch decides.</summary>
    /// <param name="plan">The batch's plan.</param>
    /// <exception cref="LayerException"><see cref="LayerError.ShapeMismatch"/> where an earlier batch decided otherwise.</exception>
    public LayerState SizedFor(Layout plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        if (plan.Statistics == 0 || plan.Reduction != Reduction.Channels) return this;
        if (plan.Statistics == Features) return FeaturesAreFixed ? this : this with { FeaturesAreFixed = true };
        if (FeaturesAreFixed)
        {
            throw new LayerException(LayerError.ShapeMismatch,
                $"x: expected {Features} activations per sample, as the layer has statistics for, got {plan.Statistics}");
        }
        return Sized(plan.Statistics);
    }

    /// <summary>One step: the batch moves the running statistics and becomes the last batch. An empty batch moves nothing.</summary>
    /// <param name="batch">The batch's moments.</param>
    /// <param name="samples">Number of its samples; null where it is not known.</param>
    public LayerState Advance(Moments batch, long? samples = null)
    {
        ArgumentNullException.ThrowIfNull(batch);
        if (batch.Count == 0) return this;
        var next = Next() with
        {
            Running = Running?.Advance(batch, Options.Momentum, Options.UnbiasedRunningVar),
            LastBatch = new LastBatch(batch.Mean, batch.Variance(unbiased: false), batch.Count) { Samples = samples },
        };
        return next.HavingSeen(batch);
    }

    /// <summary>One step of a batch, whose parts move the running statistics one after the other.</summary>
    /// <param name="step">The batch's statistics.</param>
    public LayerState Advance(StepStatistics step)
    {
        ArgumentNullException.ThrowIfNull(step);
        if (!MovesWithBatch) return this;
        if (step.Parts.Count == 1) return Advance(step.Steps(Features).First(), step.Samples);
        var advanced = step.Steps(Features).Aggregate(this, (state, part) => state.Advance(part));
        if (ReferenceEquals(advanced, this)) return this;
        var whole = step.Moments;
        var last = new LastBatch(whole.Mean, whole.Variance(unbiased: false), whole.Count) { Samples = step.Samples };
        return advanced with { Version = Version + 1, LastBatch = last };
    }

    /// <summary>One update of gamma and beta by their gradients.</summary>
    /// <param name="update">The rule.</param>
    /// <param name="gradients">The gradients.</param>
    /// <exception cref="LayerException">The layer has no parameters, or the update would leave one that is not finite.</exception>
    public LayerState Update(ParameterUpdate update, ParameterGradients gradients)
    {
        ArgumentNullException.ThrowIfNull(update);
        ArgumentNullException.ThrowIfNull(gradients);
        if (Gamma is null && Beta is null)
        {
            throw new LayerException(LayerError.InvalidOption,
                $"update needs a session with parameters, got one with {(Options.Affine ? "scale and bias" : "affine")} false");
        }
        if (Gamma is not null) RequireLength(gradients.DGamma, "dgamma");
        if (Beta is not null) RequireLength(gradients.DBeta, "dbeta");
        foreach (var (rule, current, name) in new[] { (update.Gamma, Gamma, "gamma"), (update.Beta, Beta, "beta") })
        {
            if (rule is not null && current is null)
                throw new LayerException(LayerError.InvalidOption, $"update.parameters.{name} was sent, but the session has no {name}");
        }
        gradients = update.Clipped(gradients, Gamma is not null, Beta is not null);
        var past = Optimizer?.Optimizer == update.Optimizer ? Optimizer : null;
        var step = (past?.Step ?? 0) + 1;
        var (gamma, gammaMoments) = Gamma is null ? (null, null) : update.Apply(update.Gamma, Gamma, gradients.DGamma, past?.Gamma, step);
        var (beta, betaMoments) = Beta is null ? (null, null) : update.Apply(update.Beta, Beta, gradients.DBeta, past?.Beta, step);
        if (Options.NonFinite == NonFinitePolicy.Reject)
        {
            if (gamma is not null) RequireFiniteUpdate(gamma, "gamma");
            if (beta is not null) RequireFiniteUpdate(beta, "beta");
        }
        return Next() with
        {
            Gamma = gamma,
            Beta = beta,
            Optimizer = new OptimizerBuffers(update.Optimizer, step, gammaMoments, betaMoments),
        };
    }

    /// <summary>One update by gradients that were taken elsewhere; a parameter without one stays as it is.</summary>
    /// <param name="update">The rule.</param>
    /// <param name="dgamma">The gradient by γ, or null.</param>
    /// <param name="dbeta">The gradient by β, or null.</param>
    /// <exception cref="LayerException">As above, neither of them, or one of a wrong length, not finite, or of a parameter that the layer
    /// does not have.</exception>
    public LayerState Update(ParameterUpdate update, double[]? dgamma, double[]? dbeta)
    {
        ArgumentNullException.ThrowIfNull(update);
        if ((dgamma ?? dbeta) is not { } gradient) throw new LayerException(LayerError.InvalidOption, "send dgamma, dbeta or both");
        if (TakesSizeFrom(gradient)) return Sized(gradient.Length).Update(update, dgamma, dbeta);
        RequireParameter(dgamma, Gamma, "dgamma");
        RequireParameter(dbeta, Beta, "dbeta");
        if (dgamma is null && Gamma is not null) update = update with { Gamma = new(null, null, IsFrozen: true) };
        if (dbeta is null && Beta is not null) update = update with { Beta = new(null, null, IsFrozen: true) };
        return Update(update, new ParameterGradients(dgamma ?? new double[Features], dbeta ?? new double[Features]));
    }

    /// <summary>The layer with other parameters; null leaves one as it is.</summary>
    /// <param name="gamma">New γ, finite.</param>
    /// <param name="beta">New β, finite.</param>
    /// <exception cref="LayerException">A wrong length, a value that is not finite, or a parameter that the layer does not
    /// have.</exception>
    public LayerState WithParameters(double[]? gamma, double[]? beta)
    {
        if (TakesSizeFrom(gamma ?? beta)) return Sized((gamma ?? beta)!.Length).WithParameters(gamma, beta);
        RequireParameter(gamma, Gamma, "gamma");
        RequireParameter(beta, Beta, "beta");
        return gamma is null && beta is null ? this : Next() with { Gamma = gamma ?? Gamma, Beta = beta ?? Beta };
    }

    /// <summary>The layer with other running statistics; null leaves one as it is.</summary>
    /// <param name="mean">New running mean, finite.</param>
    /// <param name="variance">New running variance, finite and ≥ 0.</param>
    /// <param name="batchesTracked">New number of batches, ≥ 0.</param>
    /// <exception cref="LayerException">A wrong length or value, or a layer that tracks no statistics.</exception>
    public LayerState WithRunningStatistics(double[]? mean, double[]? variance, long? batchesTracked)
    {
        if (TakesSizeFrom(mean ?? variance))
            return Sized((mean ?? variance)!.Length).WithRunningStatistics(mean, variance, batchesTracked);
        if (Running is null)
            throw new LayerException(LayerError.InvalidOption, "running statistics need a session with track_running_stats true");
        RequireFinite(mean, "running_mean");
        RequireFinite(variance, "running_var");
        if (variance is not null) StateValues.RequireNonNegative("running_var", variance);
        if (batchesTracked < 0)
            throw new LayerException(LayerError.InvalidOption, $"num_batches_tracked must be 0 or more, got {batchesTracked}");
        if (mean is null && variance is null && batchesTracked is null) return this;
        return Next() with
        {
            Running = new RunningStatistics(mean ?? Running.Mean, variance ?? Running.Variance,
                batchesTracked ?? Running.BatchesTracked, isInitial: false)
            {
                // A number of batches that comes along says itself how much of the initial values the caller's may hold.
                AreGiven = batchesTracked is null && (Running.AreGiven || (mean is not null && variance is not null)),
                Weight = WeightOf(mean, variance, batchesTracked),
            },
        };
    }

    // What somebody has set counts: with no weight the next batch would put itself in its place. The initial 0 and 1 have none.
    private double? WeightOf(double[]? mean, double[]? variance, long? batchesTracked)
    {
        if (Running?.Weight is not { } weight || (mean ?? variance) is null) return Running?.Weight;
        var isWhole = mean is not null && variance is not null;
        if (isWhole) weight = batchesTracked is { } batches ? RunningStatistics.WeightOf(Options.Momentum, batches) : 1;
        var isSet = Array.Exists(mean ?? [], value => value != 0) || Array.Exists(variance ?? [], value => value != 1);
        return weight == 0 && isSet ? 1 : weight;
    }

    /// <summary>The layer with other options that leave its shape as it is.</summary>
    /// <param name="options">Valid options with the same shape.</param>
    public LayerState WithOptions(NormalizerOptions options) => options == Options ? this : Next() with { Options = options };

    /// <summary>The layer with running statistics and counters at their start.</summary>
    /// <param name="parameters">Whether gamma, beta and the optimizer's buffers go back as well.</param>
    public LayerState Reset(bool parameters)
    {
        var reset = (Next() with { LastBatch = null, Seen = null, SeenBatches = 0, Population = null }).WithInitialValues();
        return parameters ? reset with { Optimizer = null } : reset with { Gamma = Gamma, Beta = Beta };
    }

    /// <summary>Why a layer has no gamma, or no beta.</summary>
    internal static string WhyNone(NormalizerOptions options, bool isGamma) => !options.Affine ? "its affine is false"
        : isGamma ? "its scale is false"
        : options.Kind == NormalizerKind.RmsNorm ? "rms_norm has no beta" : "its bias is false";

    private LayerState Next() => this with { Version = Version + 1 };

    // Values from outside decide the size where nothing has yet: a whole number of positions for each channel.
    private bool TakesSizeFrom(double[]? values) =>
        !FeaturesAreFixed && values is { Length: > 0 } && values.Length % Options.NumFeatures == 0;

    private LayerState Sized(int features) => (this with { Features = features, FeaturesAreFixed = true }).WithInitialValues();

    private LayerState WithInitialValues() => this with
    {
        Gamma = Options.HasGamma ? ConstantArrays.Of(Features, Options.GammaInit) : null,
        Beta = Options.HasBeta ? ConstantArrays.Of(Features, Options.BetaInit) : null,
        Running = Options.TrackRunningStats ? RunningStatistics.Initial(Features, Options.ZeroDebias) : null,
    };

    private void RequireParameter(double[]? values, double[]? current, string name)
    {
        if (values is not null && current is null)
            throw new LayerException(LayerError.InvalidOption,
                $"{name} was sent, but the session has none ({WhyNone(Options, name is "gamma" or "dgamma")})");
        RequireFinite(values, name);
    }

    private void RequireFinite(double[]? values, string name)
    {
        if (values is null) return;
        RequireLength(values, name);
        StateValues.RequireFinite(name, values);
    }

    private void RequireLength(double[] values, string name) => StateValues.RequireLength(name, values, Features);

    private static void RequireFiniteUpdate(double[] values, string name)
    {
        if (Array.FindIndex(values, v => !double.IsFinite(v)) is var index and >= 0)
        {
            throw new LayerException(LayerError.NonFiniteInput,
                $"the update would set {name}[{index}] to {values[index]:R}: a gradient or the learning rate is not finite or too large");
        }
    }
}
