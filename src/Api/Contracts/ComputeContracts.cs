using System.ComponentModel.DataAnnotations;
using System.Text.Json.Serialization;
using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Contracts;

/// <summary>A batch to train on.</summary>
public sealed class TrainStepRequest : IDisposable
{
    /// <summary>The batch: [N, C] to [N, C, D, H, W], or with the channels last.</summary>
    [Required, JsonConverter(typeof(TensorPlaceholder))]
    public Tensor X { get; set; } = null!;

    /// <summary>Whether the step's activations are kept for a later backward by step_id.</summary>
    public bool Retain { get; set; } = true;

    /// <summary>
    /// What counts in the statistics: one value per sample, or one per position in the shape of x without its channel axis; 1 and 0, or
    /// true and false, also as nested arrays or as {"shape","data"}. What is left out is still normalized into y. batch_norm and
    /// batch_renorm only.
    /// </summary>
    public BatchMask? Mask { get; set; }

    /// <summary>Added to the normalized values before the activation, in the shape of x.</summary>
    [JsonConverter(typeof(TensorPlaceholder))]
    public Tensor? Residual { get; set; }

    /// <summary>
    /// gamma for this call alone, one finite value per parameter, in place of the session's, which stays; also where affine is false.
    /// </summary>
    [TensorName("weight")]
    public double[]? Gamma { get; set; }

    /// <summary>beta for this call alone, one finite value per parameter, in place of the session's, which stays.</summary>
    [TensorName("bias")]
    public double[]? Beta { get; set; }

    /// <inheritdoc/>
    public void Dispose()
    {
        X?.Dispose();
        Residual?.Dispose();
    }
}

/// <summary>What a train-step did.</summary>
public sealed class TrainStepResponse : IDisposable
{
    /// <summary>The normalized batch, in the shape of x.</summary>
    [JsonConverter(typeof(TensorSourcePlaceholder))]
    public required TensorSource Y { get; init; }

    /// <summary>Names the retained activations for backward; null where they were not to be kept.</summary>
    [HeaderField("Bn-Step-Id")]
    public required string? StepId { get; init; }

    /// <summary>
    /// Mean with which the batch was normalized, one value per statistic: the batch's own, or the running one of a frozen session. 0 for \
    /// an empty batch; absent for rms_norm, which subtracts none.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double[]? BatchMean { get; init; }

    /// <summary>
    /// Biased variance with which the batch was normalized, or the running variance of a frozen session; for rms_norm the mean square. 0 \
    /// for an empty batch.
    /// </summary>
    public required double[] BatchVar { get; init; }

    /// <summary>Number of values per statistic.</summary>
    [HeaderField("Bn-Count")]
    public required long Count { get; init; }

    /// <summary>Number of batches that moved the running statistics, this one included.</summary>
    [HeaderField("Bn-Num-Batches-Tracked")]
    public required long NumBatchesTracked { get; init; }

    /// <summary>Version of the state after the step.</summary>
    [HeaderField("Bn-State-Version")]
    public required long Version { get; init; }

    /// <summary>What the caller should know about this batch.</summary>
    [HeaderField("Bn-Warnings")]
    public required IReadOnlyList<FindingReport> Warnings { get; init; }

    /// <inheritdoc/>
    public void Dispose() => Y.Dispose();
}

/// <summary>A batch to infer.</summary>
public sealed class InferenceRequest : IDisposable
{
    /// <summary>The input: [N, C] to [N, C, D, H, W], or with the channels last. A single example is fine.</summary>
    [Required, JsonConverter(typeof(TensorPlaceholder))]
    public Tensor X { get; set; } = null!;

    /// <summary>Added to the normalized values before the activation, in the shape of x.</summary>
    [JsonConverter(typeof(TensorPlaceholder))]
    public Tensor? Residual { get; set; }

    /// <summary>
    /// gamma for this call alone, one finite value per parameter, in place of the session's, which stays; also where affine is false.
    /// </summary>
    [TensorName("weight")]
    public double[]? Gamma { get; set; }

    /// <summary>beta for this call alone, one finite value per parameter, in place of the session's, which stays.</summary>
    [TensorName("bias")]
    public double[]? Beta { get; set; }

    /// <inheritdoc/>
    public void Dispose()
    {
        X?.Dispose();
        Residual?.Dispose();
    }
}

/// <summary>The inferred batch.</summary>
public sealed class InferenceResponse : IDisposable
{
    /// <summary>The output, in the shape of x.</summary>
    [JsonConverter(typeof(TensorSourcePlaceholder))]
    public required TensorSource Y { get; init; }

    /// <summary>Version of the state that was used.</summary>
    [HeaderField("Bn-State-Version")]
    public required long Version { get; init; }

    /// <summary>
    /// precision-lost where float32 could not tell the values of x apart, also in the header Bn-Warnings; absent without a warning.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<FindingReport>? Warnings { get; init; }

    /// <inheritdoc/>
    public void Dispose() => Y.Dispose();
}

/// <summary>Through which statistics the gradient flows.</summary>
public enum BackwardMode
{
    /// <summary>The batch's own, as in a train-step. In a frozen session: as its train-step, through the running ones.</summary>
    Train,

    /// <summary>The running ones, which are constants.</summary>
    Inference,
}
