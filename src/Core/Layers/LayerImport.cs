using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Core.Layers;

/// <summary>Values under the name that the caller gave them, for messages.</summary>
/// <param name="Name">The name.</param>
/// <param name="Values">One value per statistic.</param>
public sealed record NamedValues(string Name, double[] Values);

/// <summary>
/// A layer's state from outside, of whatever form and with whatever names: parameters, running statistics and what goes with them. What
/// it does not have stays as it is in the layer that it comes to, but optimizer buffers and the last batch do not outlive the parameters
/// and the statistics that they belong to.
/// </summary>
public sealed record LayerImport
{
    /// <summary>γ, or null to leave it.</summary>
    public NamedValues? Gamma { get; init; }

    /// <summary>β, or null to leave it.</summary>
    public NamedValues? Beta { get; init; }

    /// <summary>Running mean, or null to leave it.</summary>
    public NamedValues? Mean { get; init; }

    /// <summary>Running variance, or null to leave it.</summary>
    public NamedValues? Variance { get; init; }

    /// <summary>Number of batches; null for 0 where statistics come, else to leave it.</summary>
    public long? BatchesTracked { get; init; }

    /// <summary>Whether the statistics are the initial 0 and 1, which no data has touched.</summary>
    public bool StatisticsAreInitial { get; init; }

    /// <summary>
    /// Whether the statistics stand for themselves, whatever the number of batches; null for yes where both come and that number does not.
    /// </summary>
    public bool? StatisticsAreGiven { get; init; }

    /// <summary>The weight of the batches in statistics that have been divided by it; null for what the number of batches says.</summary>
    public double? Weight { get; init; }

    /// <summary>Caffe's factor, which is that weight divided by the momentum; null where it is not Caffe's.</summary>
    public double? Factor { get; init; }

    /// <summary>The exact union of what the layer has seen; null for none where statistics come, else to leave it.</summary>
    public PopulationEstimate? Seen { get; init; }

    /// <summary>What calibration has gathered; null for nothing where statistics come, else to leave it.</summary>
    public PopulationEstimate? Population { get; init; }

    /// <summary>Whether the number of statistics is known; if not, the first batch decides it.</summary>
    public bool FeaturesAreFixed { get; init; } = true;

    /// <summary>Whether <see cref="Optimizer"/> says what the layer has, none included.</summary>
    public bool SetsOptimizer { get; init; }

    /// <summary>What the optimizer remembers.</summary>
    public OptimizerBuffers? Optimizer { get; init; }

    /// <summary>Whether <see cref="LastBatch"/> says what the layer has, none included.</summary>
    public bool SetsLastBatch { get; init; }

    /// <summary>The last batch that moved the layer.</summary>
    public LastBatch? LastBatch { get; init; }

    /// <summary>Length of the first array, which is the number of statistics; null where there is none.</summary>
    public int? Length => (Gamma ?? Beta ?? Mean ?? Variance)?.Values.Length;

    // More than anybody can send, and far from where counters end.
    private const long MostCounted = 1L << 53;

    private bool HasStatistics => Mean is not null || Variance is not null;

    /// <summary>The layer with this state, one version on.</summary>
    /// <param name="layer">The layer.</param>
    /// <param name="options">Its options from here on; valid, and of the same shape.</param>
    /// <exception cref="LayerException">A wrong length or value, or something that the layer does not have.</exception>
    public LayerState ApplyTo(LayerState layer, NormalizerOptions options)
    {
        ArgumentNullException.ThrowIfNull(layer);
        ArgumentNullException.ThrowIfNull(options);
        RequireParameter(Gamma, layer.Gamma, layer, isGamma: true);
        RequireParameter(Beta, layer.Beta, layer, isGamma: false);
        RequireStatistics(layer);
        RequireWeight(options);
        var state = layer.WithOptions(options).WithParameters(Gamma?.Values, Beta?.Values);
        if (HasStatistics || BatchesTracked is not null)
            state = state.WithRunningStatistics(Mean?.Values, Variance?.Values, BatchesTracked ?? (HasStatistics ? 0 : null));
        if (StatisticsAreInitial) state = WithInitialStatistics(state);
        else if (HasStatistics && state.Running is { } running)
        {
            // A mean alone leaves the initial variance, and the other way round.
            var areGiven = StatisticsAreGiven ?? (BatchesTracked is null
                && (layer.Running!.AreGiven || (Mean is not null && Variance is not null)));
            state = state with
            {
                Running = new RunningStatistics(running.Mean, running.Variance, running.BatchesTracked, isInitial: false)
                {
                    AreGiven = areGiven,
                    Weight = !options.ZeroDebias ? null
                        : Weight ?? WeightOfFactor(options.Momentum) ?? (areGiven ? 1 : running.Weight ?? 1),
                },
            };
        }
        else if (Weight is not null && state.Running is { IsInitial: false } moved)
        {
            state = state with
            {
                Running = new RunningStatistics(moved.Mean, moved.Variance, moved.BatchesTracked, isInitial: false)
                {
                    AreGiven = moved.AreGiven,
                    Weight = Weight,
                },
            };
        }
        state = SizedByLastBatch(state);
        RequireUnion(Seen, "seen", state);
        RequireUnion(Population, "population", state);
        RequireOptimizer(state);
        RequireLastBatch(state);
        if (!FeaturesAreFixed && (options.Granularity != Granularity.PerActivation || state.Features != options.NumFeatures))
            throw Invalid("features_are_fixed must be true, unless granularity is per_activation and there are as many statistics as " +
                "num_features");
        return state with
        {
            Version = layer.Version + 1,
            FeaturesAreFixed = FeaturesAreFixed && (state.FeaturesAreFixed || Length is not null),
            Optimizer = SetsOptimizer ? Optimizer : Gamma is null && Beta is null ? layer.Optimizer : null,
            LastBatch = SetsLastBatch ? LastBatch : HasStatistics ? null : layer.LastBatch,
            Seen = Seen?.Moments ?? (HasStatistics ? null : layer.Seen),
            SeenBatches = Seen?.Batches ?? (HasStatistics ? 0 : layer.SeenBatches),
            Population = Population ?? (HasStatistics ? null : layer.Population),
        };
    }

    // A layer that has no arrays of its own to tell how many positions there are.
    private LayerState SizedByLastBatch(LayerState state) =>
        state is { Gamma: null, Beta: null, Running: null, FeaturesAreFixed: false }
            && LastBatch is { Mean.Length: > 0 and var length } && length % state.Options.NumFeatures == 0
            ? state with { Features = length, FeaturesAreFixed = true }
            : state;

    private static LayerState WithInitialStatistics(LayerState state)
    {
        if (state.Running is not { } running) throw Invalid("statistics_are_initial needs a session with track_running_stats true");
        if (running.BatchesTracked != 0 || Array.Exists(running.Mean, mean => mean != 0)
            || Array.Exists(running.Variance, variance => variance != 1))
            throw Invalid("statistics_are_initial must be false where running_mean is not 0, running_var not 1 or num_batches_tracked " +
                "not 0");
        return state with { Running = RunningStatistics.Initial(state.Features, state.Options.ZeroDebias) };
    }

    private void RequireStatistics(LayerState layer)
    {
        if (StatisticsAreGiven == true && !HasStatistics)
            throw Invalid("statistics_are_given goes with running_mean and running_var; send them too");
        if (layer.Running is null && (HasStatistics || BatchesTracked is not null))
        {
            throw Invalid($"{(Mean ?? Variance)?.Name ?? "num_batches_tracked"} was sent, but the session keeps no running statistics: " +
                "they need track_running_stats true, and layer_norm, group_norm and rms_norm have none");
        }
        RequireValues(Mean, layer);
        RequireValues(Variance, layer);
        if (Variance is not null) StateValues.RequireNonNegative(Variance.Name, Variance.Values);
        if (Mean is not null && Variance is not null) StateValues.RequireLength(Variance.Name, Variance.Values, Mean.Values.Length);
    }

    private static void RequireParameter(NamedValues? values, double[]? current, LayerState layer, bool isGamma)
    {
        if (values is not null && current is null)
        {
            throw Invalid($"{values.Name} was sent, but the session has none ({LayerState.WhyNone(layer.Options, isGamma)})");
        }
        RequireValues(values, layer);
    }

    private static void RequireValues(NamedValues? values, LayerState layer)
    {
        if (values is null) return;
        // Where nothing has decided the number of positions yet, the values do.
        if (layer.FeaturesAreFixed || values.Values.Length == 0 || values.Values.Length % layer.Options.NumFeatures != 0)
            StateValues.RequireLength(values.Name, values.Values, layer.Features);
        StateValues.RequireFinite(values.Name, values.Values);
    }

    // Caffe adds batches of weight 1 to what it keeps a part of; here they have weight α.
    private double? WeightOfFactor(double? momentum) =>
        Factor is not { } factor ? null : momentum is { } alpha and > 0 ? factor * alpha : 1;

    private void RequireWeight(NormalizerOptions options)
    {
        if (Weight is not { } weight) return;
        if (!options.ZeroDebias)
            throw Invalid("statistics_weight goes with zero_debias true, got it for a session whose zero_debias is false");
        if (!double.IsFinite(weight) || weight < 0)
            throw Invalid($"statistics_weight must be a finite number of 0 or more, got {weight:R}");
    }

    private void RequireOptimizer(LayerState state)
    {
        if (!SetsOptimizer || Optimizer is not { } optimizer) return;
        if (state.Gamma is null && state.Beta is null)
            throw Invalid("optimizer was sent, but the session has no parameters " +
                $"({LayerState.WhyNone(state.Options, state.Options.HasGamma)})");
        if (optimizer.Step < 1) throw Invalid($"optimizer.step must be 1 or more, got {optimizer.Step}");
        if (optimizer.Gamma is null != state.Gamma is null)
            throw Invalid("optimizer.gamma must be " +
                $"{(state.Gamma is null ? "null: the session has no gamma" : "an object: the session has a gamma")}");
        if (optimizer.Beta is null != state.Beta is null)
            throw Invalid("optimizer.beta must be " +
                $"{(state.Beta is null ? "null: the session has no beta" : "an object: the session has a beta")}");
        if (optimizer.Gamma is not null) RequireBuffers(optimizer.Gamma, "optimizer.gamma", optimizer.Optimizer, state.Features);
        if (optimizer.Beta is not null) RequireBuffers(optimizer.Beta, "optimizer.beta", optimizer.Optimizer, state.Features);
    }

    private static void RequireBuffers(OptimizerMoments moments, string name, Optimizer optimizer, int features)
    {
        // sgd without momentum has no buffer, and never a second one.
        var isSgd = optimizer == Layers.Optimizer.Sgd;
        if (moments.Step < 0) throw Invalid($"{name}.step must be 0 or more, or absent, got {moments.Step}");
        if (!isSgd || moments.First.Length > 0) StateValues.RequireLength($"{name}.first", moments.First, features);
        StateValues.RequireLength($"{name}.second", moments.Second, isSgd ? 0 : features);
        StateValues.RequireFinite($"{name}.first", moments.First);
        StateValues.RequireFinite($"{name}.second", moments.Second);
        StateValues.RequireNonNegative($"{name}.second", moments.Second);
    }

    private void RequireLastBatch(LayerState state)
    {
        if (!SetsLastBatch || LastBatch is not { } last) return;
        if (last.Count < 1) throw Invalid($"last_batch.count must be 1 or more, got {last.Count}");
        StateValues.RequireLength("last_batch.mean", last.Mean, state.Features);
        StateValues.RequireLength("last_batch.var", last.Variance, state.Features);
        StateValues.RequireFinite("last_batch.mean", last.Mean);
        StateValues.RequireFinite("last_batch.var", last.Variance);
        StateValues.RequireNonNegative("last_batch.var", last.Variance);
    }

    private static void RequireUnion(PopulationEstimate? union, string name, LayerState state)
    {
        if (union is null) return;
        if (state.Running is null || !state.Options.Kind.IsOverBatch)
            throw Invalid($"{name} was sent, but the session gathers no statistics of a population: it needs batch_norm or batch_renorm " +
                "with running statistics");
        var moments = union.Moments;
        if (moments.Count is < 1 or > MostCounted) throw Invalid($"{name}.count must be from 1 to {MostCounted}, got {moments.Count}");
        if (union.Batches is < 1 or > MostCounted) throw Invalid($"{name}.batches must be from 1 to {MostCounted}, got {union.Batches}");
        foreach (var (field, values) in new[] { ("mean", moments.Mean), ("mean_residual", moments.MeanResidual), ("m2", moments.M2) })
        {
            StateValues.RequireLength($"{name}.{field}", values, state.Features);
            StateValues.RequireFinite($"{name}.{field}", values);
        }
        StateValues.RequireNonNegative($"{name}.m2", moments.M2);
    }

    private static LayerException Invalid(string message) => new(LayerError.InvalidOption, message);
}
