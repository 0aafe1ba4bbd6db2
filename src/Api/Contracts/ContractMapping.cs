using BnService.Core.Layers;
using BnService.Core.Normalizers;

namespace BnService.Api.Contracts;

/// <summary>The contract's requests in the core's terms.</summary>
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

    private static ParameterRule ToRule(this ParameterRuleRequest request) => new(request.LearningRate, request.WeightDecay, request.Frozen == true);

    private static void Refuse(bool given, string option, string optimizers)
    {
        if (given) throw Invalid($"update.{option} belongs to {optimizers}");
    }

    private static Core.LayerException Invalid(string message) => new(Core.LayerError.InvalidOption, message);
}
