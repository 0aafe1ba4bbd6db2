using BnService.Core;
using BnService.Api.Wire;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Contracts;

/// <summary>States of the contract as the core's, and back.</summary>
internal static class StateMapping
{
    // What decides the shape of a state, and what it is computed in.
    private static readonly (string Name, Func<NormalizerOptions, object?> Of)[] ShapeOptions =
    [
        ("num_features", options => options.NumFeatures), ("normalized_shape", options => Text(options.NormalizedShape)),
        ("num_groups", options => options.NumGroups), ("channel_axis", options => options.AxisOf()),
        ("granularity", options => options.Granularity), ("affine", options => options.Affine), ("bias", options => options.Bias),
        ("scale", options => !options.OmitsGamma), ("gamma_offset", options => options.GammaOffset),
        ("track_running_stats", options => options.TrackRunningStats), ("precision", options => options.Precision),
    ];

    /// <summary>The whole state of a layer.</summary>
    /// <param name="ignored">The names of a request that are not the layer's, or null.</param>
    public static StateResponse ToState(this LayerState layer, string[]? ignored = null) => new()
    {
        Ignored = ignored,
        ParameterShape = layer.Options.ParameterShape(),
        Options = layer.Options.ToRequest(),
        Gamma = layer.Gamma,
        Beta = layer.Beta,
        RunningMean = layer.Running?.Mean,
        RunningVar = layer.Running?.Variance,
        NumBatchesTracked = layer.Running?.BatchesTracked,
        StatisticsAreInitial = layer.Running?.IsInitial,
        FeaturesAreFixed = layer.FeaturesAreFixed,
        Optimizer = layer.Optimizer is { } optimizer
            ? new() { Name = optimizer.Optimizer, Step = optimizer.Step, Gamma = Buffers(optimizer.Gamma), Beta = Buffers(optimizer.Beta) }
            : null,
        LastBatch = layer.LastBatch is { } last ? new() { Mean = last.Mean, Var = last.Variance, Count = last.Count } : null,
        StatisticsAreGiven = layer.Running?.AreGiven,
        StatisticsWeight = layer.Running?.Weight,
        Seen = layer.Seen is null ? null : Union(new(layer.Seen, layer.SeenBatches)),
        Population = layer.Population is null ? null : Union(layer.Population),
        Version = layer.Version,
    };

    /// <summary>What a request sets.</summary>
    /// <exception cref="LayerException">Two names for one thing, or something that is not complete.</exception>
    public static LayerImport ToImport(this PutStateRequest request)
    {
        (string Name, double[]? Values)[] arrays =
        [
            ("gamma", request.Gamma), ("weight", request.Weight), ("scale", request.Scale), ("beta", request.Beta), ("bias", request.Bias),
                ("B", request.OnnxBias),
            ("running_mean", request.RunningMean), ("moving_mean", request.MovingMean), ("mean", request.Mean),
                ("input_mean", request.InputMean),
            ("running_var", request.RunningVar), ("moving_variance", request.MovingVariance), ("var", request.Var),
                ("moving_var", request.MovingVar),
            ("input_var", request.InputVar),
        ];
        var import = StateNames.Import(
            arrays.Where(array => array.Values is not null).ToDictionary(array => array.Name, array => array.Values!),
            request.Blobs, request.ScaleBlobs);
        return import with
        {
            BatchesTracked = request.NumBatchesTracked,
            StatisticsAreInitial = import.StatisticsAreInitial || request.StatisticsAreInitial == true,
            StatisticsAreGiven = request.StatisticsAreGiven,
            Weight = request.StatisticsWeight,
            Seen = request.Seen is null ? null : Union(request.Seen, "seen"),
            Population = request.Population is null ? null : Union(request.Population, "population"),
            FeaturesAreFixed = request.FeaturesAreFixed != false,
            SetsOptimizer = request.SendsOptimizer,
            Optimizer = request.Optimizer is { } optimizer
                ? new(optimizer.Name, optimizer.Step, Restored(optimizer.Gamma), Restored(optimizer.Beta))
                : null,
            SetsLastBatch = request.SendsLastBatch,
            LastBatch = request.LastBatch is { } last
                ? new(last.Mean, last.Var, last.Count)
                : null,
        };
    }

    /// <summary>Whether a request says anything.</summary>
    public static bool IsEmpty(this PutStateRequest request, LayerImport import) =>
        import is { Length: null, BatchesTracked: null, SetsOptimizer: false, SetsLastBatch: false }
        && import is { Seen: null, Population: null, StatisticsAreGiven: null, Weight: null }
        && import is { StatisticsAreInitial: false, FeaturesAreFixed: true }
        && request is { Options: null, Convention: null };

    /// <summary>
    /// The options of a new session and the convention they were sent in; what decides the size may come from the arrays.
    /// </summary>
    /// <exception cref="LayerException">An option is missing, outside its range or not of this kind.</exception>
    public static (NormalizerOptions Options, AppliedConvention? Convention) NewOptions(this PutStateRequest request, LayerImport import)
    {
        var options = request.Options ?? new LayerOptionsRequest();
        RequireWhole(options, import);
        // Statistics in the file are statistics that the layer keeps.
        if (options.Kind == NormalizerKind.InstanceNorm && import.Mean is not null) options.TrackRunningStats ??= true;
        if (options.Kind.IsOverRows) options.NormalizedShape ??= RowOf(request, import, options);
        else if (options.Granularity != Granularity.PerActivation) options.NumFeatures ??= import.Length;
        var convention = options.MeantIn(request.Convention);
        if (import.Length is not null && options.Affine is null)
            convention = TakeParameters(options, import, convention, isFile: request.Shapes.Count > 0);
        var made = options.ToOptions(convention);
        RequireShapes(request, made);
        return (made, convention);
    }

    /// <summary>Refuses a query that says another kind than the body.</summary>
    public static void RequireSameKind(NormalizerKind inQuery, NormalizerKind inBody)
    {
        if (inQuery == inBody) return;
        throw new LayerException(LayerError.InvalidOption,
            $"kind must be the same in the query and in the body, got {inQuery.WireName} and {inBody.WireName}");
    }

    // gamma and beta are every kind's; a mean belongs to a variance.
    private static void RequireWhole(LayerOptionsRequest options, LayerImport import)
    {
        if (!options.SendsKind && import is { Mean: null, Variance: null } && (import.Gamma ?? import.Beta) is { } parameter)
        {
            throw new LayerException(LayerError.InvalidOption,
                $"kind is missing: {parameter.Name} without running statistics may belong to a layer of any kind; say it in the query " +
                    $"(?kind=layer_norm), " +
                "in options.kind, or as kind in the metadata of a safetensors file: one of " +
                $"{string.Join(", ", StateNames.Kinds)} (group_norm with num_groups)");
        }
        if (import.Mean is null == import.Variance is null) return;
        var (missing, sent) = import.Mean is null ? ("running_mean", import.Variance!.Name) : ("running_var", import.Mean.Name);
        throw new LayerException(LayerError.InvalidOption,
            $"{missing} is missing: a new session takes both running statistics or none, got {sent} alone");
    }

    // The shape of the parameters, where they came with one.
    private static int[]? RowOf(PutStateRequest request, LayerImport import, LayerOptionsRequest options)
    {
        if (import.Length is not { } length) return null;
        var isShaped = options.ChannelAxis != 1 && (import.Gamma ?? import.Beta) is { } parameter
            && request.Shapes.TryGetValue(parameter.Name, out var dimensions) && dimensions is { Count: > 1 and < Layout.MaxRank };
        return isShaped ? [.. request.Shapes[(import.Gamma ?? import.Beta)!.Name].Select(dimension => (int)dimension)] : [length];
    }

    // Dimensions of 1 say nothing: frameworks write [1, C, 1, 1] for [C]. One dimension is the flat form, which is always taken.
    private static void RequireShapes(PutStateRequest request, NormalizerOptions options)
    {
        int[] expected = options.NormalizedShape is { } row ? [.. row] : [options.NumFeatures];
        foreach (var (name, dimensions) in request.Shapes)
        {
            long[] sent = [.. dimensions.Where(dimension => dimension != 1)];
            if (dimensions.Count <= 1 || !StateNames.IsArray(name)
                || sent.SequenceEqual(expected.Where(dimension => dimension != 1).Select(dimension => (long)dimension)))
            {
                continue;
            }
            if (options.Granularity == Granularity.PerActivation && dimensions[options.ChannelAxis == 1 ? 0 : ^1] == options.NumFeatures)
                continue;
            throw new LayerException(LayerError.ShapeMismatch,
                $"{name} must have the shape {Text(expected)} of the layer's parameters, or be flat, got " +
                    $"[{string.Join(", ", dimensions)}]");
        }
    }

    // What the arrays do not have the layer does not have either, unless its options say so: a gamma of 1 that nobody has sent would be
    // moved
    // by the first update. Of a file, and of what comes in a framework's convention, that holds for beta, and for both, as well.
    private static AppliedConvention? TakeParameters(
        LayerOptionsRequest options, LayerImport import, AppliedConvention? convention, bool isFile)
    {
        var (hasGamma, hasBeta) = (import.Gamma is not null, import.Beta is not null);
        if (options.Kind != NormalizerKind.RmsNorm && hasBeta && !hasGamma) options.Scale ??= false;
        if (convention is null && !isFile) return null;
        if (options.Kind != NormalizerKind.RmsNorm && hasGamma && !hasBeta) options.Bias ??= false;
        options.Affine = hasGamma || hasBeta || convention?.Affine == true;
        return convention is null ? null : convention with { Affine = options.Affine };
    }

    /// <summary>The options of an existing session after a state has been put, and the convention they were sent in.</summary>
    /// <exception cref="LayerException">An option is outside its range, not of this kind, or would change the shape.</exception>
    public static (NormalizerOptions Options, AppliedConvention? Convention) OptionsOver(
        this PutStateRequest request, LayerImport import, NormalizerOptions current)
    {
        var sent = request.Options ?? new LayerOptionsRequest();
        if (sent.SendsKind) RequireSame("kind", sent.Kind.WireName, current.Kind.WireName);
        sent.Kind = current.Kind;
        var convention = sent.MeantIn(request.Convention) is { } meant ? meant with { SetsDefaults = false } : null;
        var options = sent.Over(current).ToOptions(convention);
        var bringsStatistics = import is { Mean: not null, Variance: not null };
        // What kind of an average they are is a fact about them.
        if (bringsStatistics && sent.ZeroDebias is null && request.Convention == Framework.Caffe)
            options = options with { ZeroDebias = true };
        if (!bringsStatistics) RequireSame("zero_debias", options.ZeroDebias, current.ZeroDebias);
        foreach (var (name, option) in ShapeOptions) RequireSame(name, option(options), option(current));
        RequireShapes(request, options);
        return (options, convention);
    }

    // The options of a layer as they would be sent: those of its kind.
    private static LayerOptionsRequest ToRequest(this NormalizerOptions options)
    {
        var kind = options.Kind;
        var request = new LayerOptionsRequest
        {
            Kind = kind,
            NumFeatures = kind.IsOverRows ? null : options.NumFeatures,
            NormalizedShape = options.NormalizedShape is { } shape ? [.. shape] : null,
            NumGroups = options.NumGroups,
            Eps = options.Eps,
            Affine = options.Affine,
            Bias = kind == NormalizerKind.RmsNorm ? null : options.Bias,
            Scale = kind == NormalizerKind.RmsNorm ? null : !options.OmitsGamma,
            GammaOffset = options.GammaOffset,
            TrackRunningStats = kind.CanTrack ? options.TrackRunningStats : null,
            UnbiasedRunningVar = kind.CanTrack ? options.UnbiasedRunningVar : null,
            ZeroDebias = kind.CanTrack ? options.ZeroDebias : null,
            ChannelAxis = kind.IsOverRows && !options.IsOverChannels ? null : options.AxisOf(),
            Granularity = kind.IsOverBatch ? options.Granularity : null,
            Mode = kind.CanTrack ? options.Mode : null,
            Activation = options.Activation,
            GammaInit = options.GammaInit,
            BetaInit = kind == NormalizerKind.RmsNorm ? null : options.BetaInit,
            GhostBatchSize = options.GhostBatchSize,
            Renorm = options.Renorm?.ToContract(),
            NonFinite = options.NonFinite,
            Precision = options.Precision,
            RequireStatistics = kind.CanTrack ? options.RequireStatistics : null,
        };
        if (kind.CanTrack) request.Momentum = options.Momentum;
        return request;
    }

    // What was sent, and what the session has where nothing was. A momentum of null is sent, too.
    private static LayerOptionsRequest Over(this LayerOptionsRequest sent, NormalizerOptions current)
    {
        var over = current.ToRequest();
        foreach (var field in ContractField.Of(ContractJson.Context.LayerOptionsRequest))
        {
            if (field.Property is not { Get: { } get, Set: { } set } || get(sent) is not { } value) continue;
            set(over, value);
        }
        if (sent.SendsMomentum) over.Momentum = sent.Momentum;
        return over;
    }

    private static UnionState Union(PopulationEstimate union) => new()
    {
        Count = union.Moments.Count,
        Batches = union.Batches,
        Mean = union.Moments.Mean,
        MeanResidual = union.Moments.MeanResidual,
        M2 = union.Moments.M2,
    };

    private static PopulationEstimate Union(UnionState union, string name)
    {
        var (mean, residual, m2) = (union.Mean, union.MeanResidual, union.M2);
        if (residual.Length != mean.Length || m2.Length != mean.Length)
        {
            throw new LayerException(LayerError.ShapeMismatch,
                $"{name}.mean, mean_residual and m2 must be equally long, got {mean.Length}, {residual.Length} and {m2.Length} values");
        }
        return new(new Moments(union.Count, mean, residual, m2), union.Batches);
    }

    private static OptimizerBufferState? Buffers(OptimizerMoments? moments) =>
        moments is null ? null : new() { First = moments.First, Second = moments.Second, Step = moments.Step };

    private static OptimizerMoments? Restored(OptimizerBufferState? buffers) => buffers is null ? null
        : new(buffers.First, buffers.Second) { Step = buffers.Step };

    private static string Text(IReadOnlyList<int>? dimensions) => $"[{string.Join(", ", dimensions ?? [])}]";

    private static void RequireSame<T>(string option, T sent, T current)
    {
        if (EqualityComparer<T>.Default.Equals(sent, current)) return;
        throw new LayerException(option is "num_features" or "normalized_shape" ? LayerError.ShapeMismatch : LayerError.InvalidOption,
            $"options.{option} must be {Wire(current)}, as in the session, got {Wire(sent)}: a state cannot change " +
            (option == "precision" ? "what a session computes in" : "a session's shape"));
    }

    private static string Wire<T>(T value) => value switch
    {
        bool truth => truth ? "true" : "false",
        Precision precision => precision == Precision.Float64 ? "float64" : "float32",
        Granularity granularity => granularity == Granularity.PerChannel ? "per_channel" : "per_activation",
        null => "null",
        _ => $"{value}",
    };
}
