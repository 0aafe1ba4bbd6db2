using BnService.Api.Errors;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Contracts;

/// <summary>A layer's options as they are sent, made the core's.</summary>
internal static class LayerOptions
{
    /// <summary>The layer's options, checked; options of other kinds are refused, not ignored.</summary>
    /// <param name="convention">The convention that they are meant in; null for ours.</param>
    /// <exception cref="LayerException">An option is missing, outside its range or not of this kind.</exception>
    public static NormalizerOptions ToOptions(this LayerOptionsRequest request, AppliedConvention? convention = null)
    {
        RequireOwn(request);
        var kind = request.Kind;
        var defaults = new NormalizerOptions { NumFeatures = 1 };
        var normalizedShape = kind.IsOverRows ? RowOf(request) : null;
        var options = defaults with
        {
            Kind = kind,
            NumFeatures = normalizedShape is null ? request.NumFeatures ?? throw Missing("num_features", "a whole number")
                : Product(normalizedShape),
            NormalizedShape = normalizedShape,
            NumGroups = kind == NormalizerKind.GroupNorm ? request.NumGroups ?? throw Missing("num_groups", "a whole number") : null,
            Eps = request.Eps ?? defaults.Eps,
            Momentum = request.SendsMomentum ? request.Momentum : defaults.Momentum,
            Affine = request.Affine ?? true,
            Bias = kind != NormalizerKind.RmsNorm && (request.Bias ?? true),
            OmitsGamma = request.Scale == false,
            GammaOffset = request.GammaOffset ?? defaults.GammaOffset,
            TrackRunningStats = request.TrackRunningStats ?? kind.IsOverBatch,
            UnbiasedRunningVar = request.UnbiasedRunningVar ?? true,
            ZeroDebias = request.ZeroDebias ?? false,
            // -1 says of rows what they are anyway: trailing dimensions.
            ChannelAxis = kind.IsOverRows && request.ChannelAxis == -1 ? defaults.ChannelAxis : request.ChannelAxis ?? defaults.ChannelAxis,
            IsOverChannels = kind.IsOverRows && request.ChannelAxis == 1,
            Granularity = request.Granularity ?? defaults.Granularity,
            Mode = request.Mode ?? defaults.Mode,
            Activation = request.Activation ?? defaults.Activation,
            GammaInit = request.GammaInit ?? defaults.GammaInit - (request.GammaOffset ?? 0),
            BetaInit = request.BetaInit ?? defaults.BetaInit,
            GhostBatchSize = request.GhostBatchSize,
            Renorm = kind == NormalizerKind.BatchRenorm ? (request.Renorm ?? new RenormOptions()).ToLimits() : null,
            NonFinite = request.NonFinite ?? defaults.NonFinite,
            Precision = request.Precision ?? defaults.Precision,
            RequireStatistics = request.RequireStatistics ?? false,
        };
        return (convention?.Adopt(options) ?? options).Validated();
    }

    /// <summary>Dimensions of gamma and beta where they have several; null for one, and where only a batch could tell.</summary>
    /// <param name="batch">The shape of a batch, or null.</param>
    public static IReadOnlyList<int>? ParameterShape(this NormalizerOptions options, Shape? batch = null) =>
        options.NormalizedShape is { Count: > 1 } row ? row
        : options.Granularity == Granularity.PerActivation && batch is not null ? batch.Dimensions[1..] : null;

    /// <summary>
    /// The axis of the channels as it is sent and answered; of kinds over rows -1, unless they normalize the channels of positions.
    /// </summary>
    public static int AxisOf(this NormalizerOptions options) =>
        !options.Kind.IsOverRows ? options.ChannelAxis : options.IsOverChannels ? 1 : -1;

    public static RenormLimits ToLimits(this RenormOptions renorm) => new(renorm.RMax, renorm.DMax, renorm.WarmupSteps);

    public static RenormOptions ToContract(this RenormLimits limits) =>
        new() { RMax = limits.RMax, DMax = limits.DMax, WarmupSteps = limits.WarmupSteps };

    /// <summary>Refuses an option that was sent but does not belong to the kind.</summary>
    public static void Require(bool belongs, string option, NormalizerKind kind)
    {
        if (belongs) return;
        throw new LayerException(LayerError.InvalidOption, $"{option} is not an option of {kind.WireName}; {Reason(option)}");
    }

    private static void RequireOwn(LayerOptionsRequest request)
    {
        var kind = request.Kind;
        (bool IsSent, string Option, bool Belongs)[] options =
        [
            (request.NumFeatures is not null, "num_features", !kind.IsOverRows || request.ChannelAxis is not null),
            (request.NormalizedShape is not null, "normalized_shape", kind.IsOverRows),
            (request.NumGroups is not null, "num_groups", kind == NormalizerKind.GroupNorm),
            (request.Momentum is not null, "momentum", kind.CanTrack), // null for a kind without one says nothing, as for every option
            (request.TrackRunningStats is not null, "track_running_stats", kind.CanTrack),
            (request.UnbiasedRunningVar is not null, "unbiased_running_var", kind.CanTrack),
            (request.ZeroDebias is not null, "zero_debias", kind.CanTrack),
            (request.Mode is not null, "mode", kind.CanTrack),
            (request.RequireStatistics is not null, "require_statistics", kind.CanTrack),
            (request.Granularity is not null, "granularity", kind.IsOverBatch),
            (request.GhostBatchSize is not null, "ghost_batch_size", kind.IsOverBatch),
            (request.Renorm is not null, "renorm", kind == NormalizerKind.BatchRenorm),
            (request.Scale is not null, "scale", kind != NormalizerKind.RmsNorm),
            (request.Bias is not null, "bias", kind != NormalizerKind.RmsNorm),
            (request.BetaInit is not null, "beta_init", kind != NormalizerKind.RmsNorm),
        ];
        foreach (var (isSent, option, belongs) in options)
        {
            if (isSent) Require(belongs, option, kind);
        }
    }

    private static string Reason(string option) => option switch
    {
        "num_features" => "send normalized_shape, the trailing dimensions that are normalized together " +
            "(or channel_axis 1 with it, for the channels of [N, C, ...])",
        "normalized_shape" => "send num_features, the number of channels",
        "num_groups" => "it belongs to group_norm",
        "renorm" => "it belongs to batch_renorm",
        "granularity" or "ghost_batch_size" => "it belongs to batch_norm and batch_renorm",
        "bias" or "beta_init" => "RMS normalization has a gamma and no beta",
        "scale" => "gamma is its only parameter: send affine false to leave it out",
        _ => "it belongs to kinds with running statistics: batch_norm, batch_renorm, instance_norm",
    };

    // With an axis of channels, their number is the row.
    private static int[] RowOf(LayerOptionsRequest request)
    {
        var row = request.NormalizedShape ?? (request.NumFeatures is { } features ? new[] { features } : null)
            ?? throw Missing("normalized_shape", request.ChannelAxis is null ? "an array of whole numbers"
                : "an array of whole numbers, or num_features a whole number");
        if (request.NumFeatures is not { } channels || row is [var only] && only == channels) return row;
        throw new LayerException(LayerError.InvalidOption,
            $"num_features must be what normalized_shape is, [{Excerpt.Of(string.Join(", ", row))}], where both are sent, got {channels}");
    }

    // Beyond what a whole number holds, the options' own check refuses the shape.
    private static int Product(int[] dimensions) =>
        (int)Math.Clamp(dimensions.Aggregate(1.0, (product, dimension) => product * dimension), int.MinValue, int.MaxValue);

    private static LayerException Missing(string option, string expected) =>
        new(LayerError.InvalidOption, $"{option} is missing; it must be {expected}");
}

/// <summary>The contract's requests made the core's.</summary>
internal static class ContractMapping
{
    /// <summary>The options after a patch, checked.</summary>
    /// <exception cref="Core.LayerException">An option is outside its range or does not belong to the kind.</exception>
    public static NormalizerOptions ApplyTo(this PatchSessionRequest patch, NormalizerOptions options)
    {
        // null for a kind without one says nothing, as in the create call.
        if (patch.Momentum is not null) LayerOptions.Require(options.Kind.CanTrack, "momentum", options.Kind);
        if (patch.Mode is not null) LayerOptions.Require(options.Kind.CanTrack, "mode", options.Kind);
        if (patch.Renorm is not null) LayerOptions.Require(options.Kind == NormalizerKind.BatchRenorm, "renorm", options.Kind);
        return (options with
        {
            Momentum = patch.ChangesMomentum && options.Kind.CanTrack ? patch.Momentum : options.Momentum,
            Eps = patch.Eps ?? options.Eps,
            Mode = patch.Mode ?? options.Mode,
            Renorm = patch.Renorm?.ToLimits() ?? options.Renorm,
        }).Validated();
    }

    /// <summary>The update, checked; options of another optimizer are refused, not ignored.</summary>
    /// <exception cref="Core.LayerException">An option is outside its range or belongs to another optimizer.</exception>
    public static ParameterUpdate ToUpdate(this UpdateRequest request)
    {
        var optimizer = request.Optimizer;
        var isSgd = optimizer == Optimizer.Sgd;
        Refuse(!isSgd && request.Momentum is not null, "momentum", "sgd");
        Refuse(!isSgd && request.Nesterov is not null, "nesterov", "sgd");
        Refuse(isSgd && request.Beta1 is not null, "beta1", "adam and adamw");
        Refuse(isSgd && request.Beta2 is not null, "beta2", "adam and adamw");
        Refuse(isSgd && request.Eps is not null, "eps", "adam and adamw");
        var defaults = new ParameterUpdate { Optimizer = optimizer };
        return (defaults with
        {
            LearningRate = request.LearningRate,
            Momentum = request.Momentum ?? defaults.Momentum,
            Nesterov = request.Nesterov ?? defaults.Nesterov,
            Beta1 = request.Beta1 ?? defaults.Beta1,
            Beta2 = request.Beta2 ?? defaults.Beta2,
            Eps = request.Eps ?? defaults.Eps,
            WeightDecay = request.WeightDecay ?? defaults.WeightDecay,
            ClipNorm = request.ClipNorm,
            Gamma = request.Parameters?.Gamma?.ToRule(),
            Beta = request.Parameters?.Beta?.ToRule(),
        }).Validated();
    }

    private static ParameterRule ToRule(this ParameterRuleRequest request) =>
        new(request.LearningRate, request.WeightDecay, request.Frozen == true);

    private static void Refuse(bool given, string option, string optimizers)
    {
        if (given) throw Invalid($"update.{option} belongs to {optimizers}");
    }

    private static Core.LayerException Invalid(string message) => new(Core.LayerError.InvalidOption, message);
}

/// <summary>The convention that a session's options were sent in.</summary>
public sealed class ConventionReport
{
    /// <summary>Whose convention it is.</summary>
    public required Framework Name { get; init; }

    /// <summary>The options that it set or gave another value.</summary>
    public required IReadOnlyList<ConversionReport> Converted { get; init; }
}

/// <summary>An option that a convention has set or given another value.</summary>
public sealed class ConversionReport
{
    /// <summary>Name of the option.</summary>
    public required string Option { get; init; }

    /// <summary>What was sent, a number or true or false; null where it was not sent and the convention's default holds.</summary>
    public required object? Sent { get; init; }

    /// <summary>What the session had then, in this service's terms.</summary>
    public required object? Stored { get; init; }

    /// <summary>Why they differ.</summary>
    public required string Detail { get; init; }
}

/// <summary>Conventions of the contract as the core's, and back.</summary>
internal static class ConventionMapping
{
    /// <summary>The convention that options are meant in, and what was sent of those that it is about; null where none was named.</summary>
    public static AppliedConvention? MeantIn(this LayerOptionsRequest request, Framework? framework) =>
        framework is { } named ? request.MeantIn(named) : null;

    private static AppliedConvention MeantIn(this LayerOptionsRequest request, Framework named) => new()
    {
        Framework = named,
        IsOverBatch = request.Kind.IsOverBatch,
        CanTrack = request.Kind.CanTrack,
        Kind = request.Kind,
        SendsMomentum = request.SendsMomentum,
        Momentum = request.Momentum,
        Eps = request.Eps,
        UnbiasedRunningVar = request.UnbiasedRunningVar,
        ChannelAxis = request.ChannelAxis,
        Affine = request.Affine ?? (request.Bias == true || request.Scale == true ? true : null),
        ZeroDebias = request.ZeroDebias,
        IsDouble = request.Precision == Precision.Float64,
    };

    /// <summary>What a convention has done, for the session's resource.</summary>
    public static ConventionReport ToReport(this AppliedConvention convention) => new()
    {
        Name = convention.Framework,
        Converted = [.. convention.Converted().Select(option =>
            new ConversionReport { Option = option.Option, Sent = option.Sent, Stored = option.Stored, Detail = option.Detail })],
    };
}
