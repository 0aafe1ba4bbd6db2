using System.ComponentModel.DataAnnotations;
using System.Text.Json.Serialization;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Contracts;

/// <summary>A tensor to normalize once, with the options of a layer and without a session.</summary>
public sealed class NormalizeRequest : LayerOptionsRequest, IDisposable
{
    /// <summary>
    /// Whose convention the options are meant in, as in the create call: it sets the framework's defaults for the kind (eps, channel_axis,
    /// affine).
    /// </summary>
    public Framework? Convention { get; set; }

    /// <summary>The input. num_features may be absent: the channels of x are then taken.</summary>
    [Required, JsonConverter(typeof(TensorPlaceholder))]
    public Tensor X { get; set; } = null!;

    /// <summary>gamma, one finite value per parameter; gamma_init where absent.</summary>
    [TensorName("weight")]
    public double[]? Gamma { get; set; }

    /// <summary>beta, one finite value per parameter; beta_init where absent.</summary>
    [TensorName("bias")]
    public double[]? Beta { get; set; }

    /// <summary>Added to the normalized values before the activation, in the shape of x.</summary>
    [JsonConverter(typeof(TensorPlaceholder))]
    public Tensor? Residual { get; set; }

    /// <summary>
    /// batch_norm, batch_renorm: what counts in the statistics, one value (1 or 0, true or false) per sample, or one per position in the
    /// shape of x without its channel axis.
    /// </summary>
    public BatchMask? Mask { get; set; }

    /// <summary>batch_renorm: the running mean to correct towards; 0 where absent.</summary>
    public double[]? RunningMean { get; set; }

    /// <summary>batch_renorm: the running variance to correct towards; 1 where absent.</summary>
    public double[]? RunningVar { get; set; }

    /// <summary>batch_renorm: number of steps before this one, for the schedule of the limits; 0 where absent.</summary>
    public long? NumBatchesTracked { get; set; }

    /// <summary>Asks for the gradients as well.</summary>
    public NormalizeBackward? Backward { get; set; }

    /// <inheritdoc/>
    public void Dispose()
    {
        X?.Dispose();
        Residual?.Dispose();
        Backward?.Dispose();
    }
}

/// <summary>A gradient to take back through a one-shot normalization.</summary>
public sealed class NormalizeBackward : IDisposable
{
    /// <summary>Gradient of the loss by y, in the shape of x.</summary>
    [Required, JsonConverter(typeof(TensorPlaceholder))]
    public Tensor Dy { get; set; } = null!;

    /// <inheritdoc/>
    public void Dispose() => Dy?.Dispose();
}

/// <summary>A normalized tensor, its statistics, and where asked for the gradients.</summary>
public sealed class NormalizeResponse : IDisposable, IShapesParameters
{
    /// <summary>The output, in the shape of x.</summary>
    [JsonConverter(typeof(TensorPlaceholder))]
    public required Tensor Y { get; init; }

    /// <summary>Mean of each statistic; absent for rms_norm, which subtracts none.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double[]? Mean { get; init; }

    /// <summary>Biased variance of each statistic; for rms_norm the mean square.</summary>
    public required double[] Var { get; init; }

    /// <summary>1/sqrt(var + eps) of each statistic; 0 where both are 0.</summary>
    public required double[] InvStd { get; init; }

    /// <summary>Number of values per statistic.</summary>
    [HeaderField("Bn-Count")]
    public required long Count { get; init; }

    /// <summary>Gradient by x; absent without backward.</summary>
    [JsonConverter(typeof(TensorPlaceholder)), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Tensor? Dx { get; init; }

    /// <summary>Gradient by the residual; absent where there is none.</summary>
    [JsonConverter(typeof(TensorPlaceholder)), JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public Tensor? Dresidual { get; init; }

    /// <summary>Gradient by gamma; absent without backward and where affine is false.</summary>
    [ParameterShape, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double[]? Dgamma { get; init; }

    /// <summary>Gradient by beta; absent without backward and where there is none.</summary>
    [ParameterShape, JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double[]? Dbeta { get; init; }

    /// <summary>The convention that the options were sent in, and what was converted; absent where none was named.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ConventionReport? Convention { get; init; }

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
        Y.Dispose();
        Dx?.Dispose();
        Dresidual?.Dispose();
    }
}
