using System.ComponentModel.DataAnnotations;
using System.Text.Json.Serialization;
using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Contracts;

/// <summary>A gradient to take backwards: through a retained step (step_id), or through x, which is then sent again.</summary>
public sealed class BackwardRequest : IDisposable
{
    /// <summary>The retained train-step; either this or x.</summary>
    public string? StepId { get; set; }

    /// <summary>The input of the forward pass; either this or step_id.</summary>
    [JsonConverter(typeof(TensorPlaceholder))]
    public Tensor? X { get; set; }

    /// <summary>Gradient of the loss by y, in the shape of x.</summary>
    [Required, JsonConverter(typeof(TensorPlaceholder))]
    public Tensor Dy { get; set; } = null!;

    /// <summary>With x: through which statistics; train where absent. With step_id the step decides.</summary>
    public BackwardMode? Mode { get; set; }

    /// <summary>With x: the mask of the forward pass. With step_id the step knows.</summary>
    public BatchMask? Mask { get; set; }

    /// <summary>With x: the residual of the forward pass. With step_id the step knows.</summary>
    [JsonConverter(typeof(TensorPlaceholder))]
    public Tensor? Residual { get; set; }

    /// <summary>
    /// With x: gamma of the forward pass, where that was the call's own, one finite value per parameter. With step_id the step knows.
    /// </summary>
    [TensorName("weight")]
    public double[]? Gamma { get; set; }

    /// <summary>
    /// With x: beta of the forward pass, where that was the call's own, one finite value per parameter. With step_id the step knows.
    /// </summary>
    [TensorName("bias")]
    public double[]? Beta { get; set; }

    /// <summary>Applies the gradients to gamma and beta in the same call.</summary>
    public UpdateRequest? Update { get; set; }

    /// <inheritdoc/>
    public void Dispose()
    {
        X?.Dispose();
        Residual?.Dispose();
        Dy?.Dispose();
    }
}

/// <summary>
/// How the gradients change gamma and beta; rules and defaults are those of torch.optim. The optimizer's buffers are session state.
/// </summary>
public sealed class UpdateRequest
{
    /// <summary>The rule.</summary>
    [Required]
    public Optimizer Optimizer { get; set; }

    /// <summary>Step size, 0 or more.</summary>
    public double LearningRate { get; set; } = 1e-3;

    /// <summary>sgd: weight of the momentum buffer, 0 or more.</summary>
    public double? Momentum { get; set; }

    /// <summary>sgd: Nesterov momentum; needs a momentum above 0.</summary>
    public bool? Nesterov { get; set; }

    /// <summary>adam, adamw: weight of the past in the average of the gradient, 0 or more and below 1; 0.9 where absent.</summary>
    public double? Beta1 { get; set; }

    /// <summary>
    /// adam, adamw: weight of the past in the average of the squared gradient, 0 or more and below 1; 0.999 where absent.
    /// </summary>
    public double? Beta2 { get; set; }

    /// <summary>adam, adamw: added to the denominator, 0 or more; 1e-8 where absent.</summary>
    public double? Eps { get; set; }

    /// <summary>
    /// L2 penalty (sgd, adam) or decoupled decay (adamw), 0 or more. 0 where absent, for adamw too: gamma and beta are not decayed unless \
    /// it is said.
    /// </summary>
    public double? WeightDecay { get; set; }

    /// <summary>
    /// The largest norm of dgamma and dbeta together, above 0: longer ones are scaled down to it, as by torch.nn.utils.clip_grad_norm_.
    /// </summary>
    public double? ClipNorm { get; set; }

    /// <summary>What is another matter for gamma, or for beta.</summary>
    public UpdateParameters? Parameters { get; set; }
}

/// <summary>What is another matter for gamma, or for beta, as parameter groups of torch.optim say it.</summary>
public sealed class UpdateParameters
{
    /// <summary>For gamma; null for nothing.</summary>
    public ParameterRuleRequest? Gamma { get; set; }

    /// <summary>For beta; null for nothing.</summary>
    public ParameterRuleRequest? Beta { get; set; }
}

/// <summary>A parameter's own rule; what is absent is as the update says it.</summary>
public sealed class ParameterRuleRequest
{
    /// <summary>Its step size, 0 or more.</summary>
    public double? LearningRate { get; set; }

    /// <summary>Its decay, 0 or more.</summary>
    public double? WeightDecay { get; set; }

    /// <summary>Whether it, and what the optimizer remembers of it, stays as it is. Its gradient is then no part of clip_norm.</summary>
    public bool? Frozen { get; set; }
}

/// <summary>Gradients by gamma and beta that were taken elsewhere: summed over several calls, or over several machines.</summary>
public sealed class UpdateParametersRequest
{
    /// <summary>Gradient of the loss by gamma, one finite value per parameter; where absent, gamma stays.</summary>
    public double[]? Dgamma { get; set; }

    /// <summary>Gradient of the loss by beta, one finite value per parameter; where absent, beta stays.</summary>
    public double[]? Dbeta { get; set; }

    /// <summary>How they change gamma and beta.</summary>
    [Required]
    public UpdateRequest Update { get; set; } = null!;
}

/// <summary>The gradients.</summary>
public sealed class BackwardResponse : IDisposable, IShapesParameters
{
    /// <summary>Gradient of the loss by x.</summary>
    [JsonConverter(typeof(TensorPlaceholder))]
    public required Tensor Dx { get; init; }

    /// <summary>Gradient by the residual; absent where none was added.</summary>
    [JsonConverter(typeof(TensorPlaceholder)), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Tensor? Dresidual { get; init; }

    /// <summary>Gradient by gamma; absent where the session has none.</summary>
    [ParameterShape, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double[]? Dgamma { get; init; }

    /// <summary>Gradient by beta; absent where the session has none.</summary>
    [ParameterShape, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double[]? Dbeta { get; init; }

    /// <summary>Version of the state, after the update if there was one.</summary>
    [HeaderField("Bn-State-Version")]
    public required long Version { get; init; }

    /// <summary>gamma after the update; absent without one.</summary>
    [ParameterShape, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double[]? Gamma { get; init; }

    /// <summary>beta after the update; absent without one.</summary>
    [ParameterShape, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double[]? Beta { get; init; }

    /// <summary>
    /// precision-lost where float32 could not tell the values of x apart, also in the header Bn-Warnings; absent without a warning.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<FindingReport>? Warnings { get; init; }

    /// <inheritdoc/>
    [JsonIgnore]
    public IReadOnlyList<int>? ParameterShape { get; init; }

    /// <inheritdoc/>
    public void Dispose()
    {
        Dx.Dispose();
        Dresidual?.Dispose();
    }
}
