using BnService.Core.Layers;
using BnService.Core.Normalizers;

namespace BnService.Api.Contracts;

/// <summary>The contract's requests in the core's terms.</summary>
internal static class ContractMapping
{
    private const double AdamWDefaultDecay = 0.01;

    /// <summary>The layer's options, checked.</summary>
    /// <exception cref="Core.LayerException">An option is outside its range or not available.</exception>
    public static NormalizerOptions ToOptions(this CreateSessionRequest request)
    {
        if (request.GhostBatchSize is { } size) throw Invalid($"ghost_batch_size must be null (ghost batches are not available), got {size}");
        return new NormalizerOptions
        {
            NumFeatures = request.NumFeatures,
            Eps = request.Eps,
            Momentum = request.Momentum,
            Affine = request.Affine,
            Bias = request.Bias,
            TrackRunningStats = request.TrackRunningStats,
            UnbiasedRunningVar = request.UnbiasedRunningVar,
            ChannelAxis = request.ChannelAxis,
            Granularity = request.Granularity,
            Mode = request.Mode,
            Activation = request.Activation,
            GammaInit = request.GammaInit,
            BetaInit = request.BetaInit,
            NonFinite = request.NonFinite,
            RequireStatistics = request.RequireStatistics,
        }.Validated();
    }

    /// <summary>The options after a patch, checked.</summary>
    /// <exception cref="Core.LayerException">An option is outside its range.</exception>
    public static NormalizerOptions ApplyTo(this PatchSessionRequest patch, NormalizerOptions options) => (options with
    {
        Momentum = patch.ChangesMomentum ? patch.Momentum : options.Momentum,
        Eps = patch.Eps ?? options.Eps,
        Mode = patch.Mode ?? options.Mode,
    }).Validated();

    /// <summary>The update, checked; options of another optimizer are refused, not ignored.</summary>
    /// <exception cref="Core.LayerException">An option is outside its range or belongs to another optimizer.</exception>
    public static ParameterUpdate ToUpdate(this UpdateRequest request)
    {
        var optimizer = request.Optimizer ?? throw Invalid("update.optimizer is missing; allowed: sgd, adam, adamw");
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
            WeightDecay = request.WeightDecay ?? (optimizer == Optimizer.AdamW ? AdamWDefaultDecay : defaults.WeightDecay),
        }).Validated();
    }

    private static void Refuse(bool given, string option, string optimizers)
    {
        if (given) throw Invalid($"update.{option} belongs to {optimizers}");
    }

    private static Core.LayerException Invalid(string message) => new(Core.LayerError.InvalidOption, message);
}
