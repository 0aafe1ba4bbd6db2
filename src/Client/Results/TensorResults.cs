using BnService.Client.Wire;

namespace BnService.Client;

/// <summary>A train-step that was made. Disposing it gives the memory of <see cref="Y"/> back; backward can be asked for all the same.</summary>
public sealed class TrainStep : IDisposable
{
    private readonly TensorMemory _y;

    internal TrainStep(SafetensorsAnswer answer, StepInput input)
    {
        _y = answer.Tensor("y");
        Input = input;
        StepId = answer.FindText("step_id");
        BatchMean = answer.FindArray("batch_mean");
        BatchVar = answer.Array("batch_var");
        (Count, NumBatchesTracked, Version) = (answer.Number("count"), answer.Number("num_batches_tracked"), answer.Number("version"));
        Warnings = answer.Warnings();
    }

    /// <summary>The normalized batch, in the shape of x, row-major; of a session in float32.</summary>
    public ReadOnlyMemory<float> Y => _y.Values;

    /// <summary>The normalized batch, in the shape of x, row-major, in float64.</summary>
    public ReadOnlyMemory<double> YFloat64 => _y.Doubles;

    /// <summary>Dimensions of x and y, outermost first.</summary>
    public IReadOnlyList<int> Shape => _y.Shape;

    /// <summary>Names what the service keeps for backward; null where it was not to keep anything.</summary>
    public string? StepId { get; }

    /// <summary>Mean with which the batch was normalized, one value per statistic; null for RMS normalization.</summary>
    public IReadOnlyList<double>? BatchMean { get; }

    /// <summary>Biased variance with which the batch was normalized, one value per statistic.</summary>
    public IReadOnlyList<double> BatchVar { get; }

    /// <summary>Number of values per statistic.</summary>
    public long Count { get; }

    /// <summary>Number of batches that moved the running statistics, this one included.</summary>
    public long NumBatchesTracked { get; }

    /// <summary>Version of the state after the step.</summary>
    public long Version { get; }

    /// <summary>What is allowed but seldom meant.</summary>
    public IReadOnlyList<Finding> Warnings { get; }

    /// <summary>What the step was made of: sent again where the service has it no more.</summary>
    internal StepInput Input { get; }

    /// <inheritdoc/>
    public void Dispose() => _y.Dispose();
}

/// <summary>The input of a forward pass, where the caller has it.</summary>
/// <param name="Session">The session.</param>
/// <param name="X">The batch.</param>
/// <param name="Shape">Its dimensions.</param>
/// <param name="Mask">What counts; empty for all.</param>
/// <param name="Residual">What was added; empty for nothing.</param>
internal sealed record StepInput(string Session, InputTensor X, IReadOnlyList<int> Shape, ReadOnlyMemory<bool> Mask, ReadOnlyMemory<float> Residual)
{
    /// <summary>Dimensions of the mask; null for one value per sample.</summary>
    public IReadOnlyList<int>? MaskShape { get; init; }

    /// <summary>gamma of the call; null for the session's.</summary>
    public IReadOnlyList<double>? Gamma { get; init; }

    /// <summary>beta of the call; null for the session's.</summary>
    public IReadOnlyList<double>? Beta { get; init; }
}

/// <summary>A batch that was inferred. Disposing it gives the memory of <see cref="Y"/> back.</summary>
public sealed class InferredBatch : IDisposable
{
    private readonly TensorMemory _y;

    internal InferredBatch(SafetensorsAnswer answer) => (_y, Version, Warnings) = (answer.Tensor("y"), answer.Number("version"), answer.Warnings());

    /// <summary>The output, in the shape of x, row-major; of a session in float32.</summary>
    public ReadOnlyMemory<float> Y => _y.Values;

    /// <summary>The output, in the shape of x, row-major, in float64.</summary>
    public ReadOnlyMemory<double> YFloat64 => _y.Doubles;

    /// <summary>Dimensions of x and y, outermost first.</summary>
    public IReadOnlyList<int> Shape => _y.Shape;

    /// <summary>Version of the state that was used.</summary>
    public long Version { get; }

    /// <summary>precision-lost where float32 could not tell the values of x apart; mostly none.</summary>
    public IReadOnlyList<Finding> Warnings { get; }

    /// <inheritdoc/>
    public void Dispose() => _y.Dispose();
}

/// <summary>Gradients. Disposing them gives the memory of <see cref="Dx"/> and <see cref="Dresidual"/> back.</summary>
public sealed class Gradients : IDisposable
{
    private readonly TensorMemory _dx;
    private readonly TensorMemory? _dresidual;

    internal Gradients(SafetensorsAnswer answer)
    {
        (_dx, _dresidual) = (answer.Tensor("dx"), answer.FindTensor("dresidual"));
        (Dgamma, Dbeta, Gamma, Beta) = (answer.FindArray("dgamma"), answer.FindArray("dbeta"), answer.FindArray("gamma"), answer.FindArray("beta"));
        (Version, Warnings) = (answer.Number("version"), answer.Warnings());
    }

    /// <summary>Gradient of the loss by x, row-major.</summary>
    public ReadOnlyMemory<float> Dx => _dx.Values;

    /// <summary>Gradient of the loss by x, row-major, in float64.</summary>
    public ReadOnlyMemory<double> DxFloat64 => _dx.Doubles;

    /// <summary>Gradient by the residual; null where none was added.</summary>
    public ReadOnlyMemory<float>? Dresidual => _dresidual?.Values;

    /// <summary>Gradient by the residual, in float64; null where there is none.</summary>
    public ReadOnlyMemory<double>? DresidualFloat64 => _dresidual?.Doubles;

    /// <summary>Dimensions of x and dx, outermost first.</summary>
    public IReadOnlyList<int> Shape => _dx.Shape;

    /// <summary>Gradient by gamma; null where the session has none.</summary>
    public IReadOnlyList<double>? Dgamma { get; }

    /// <summary>Gradient by beta; null where the session has none.</summary>
    public IReadOnlyList<double>? Dbeta { get; }

    /// <summary>gamma after the update; null without one.</summary>
    public IReadOnlyList<double>? Gamma { get; internal set; }

    /// <summary>beta after the update; null without one.</summary>
    public IReadOnlyList<double>? Beta { get; internal set; }

    /// <summary>Version of the state, after the update if there was one.</summary>
    public long Version { get; }

    /// <summary>
    /// Whether the update was made, once, by an attempt whose answer was lost together with what the service had kept of the step. Then
    /// these gradients have been computed from x with gamma and beta as they are after it.
    /// </summary>
    public bool FollowUpdate { get; internal set; }

    /// <summary>precision-lost where float32 could not tell the values of x apart; mostly none.</summary>
    public IReadOnlyList<Finding> Warnings { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        _dx.Dispose();
        _dresidual?.Dispose();
    }
}

/// <summary>A layer that does the work of two. Disposing it gives the memory of <see cref="Weight"/> back.</summary>
public sealed class FoldedLayer : IDisposable
{
    private readonly TensorMemory _weight;

    internal FoldedLayer(SafetensorsAnswer answer)
    {
        (_weight, Bias, Version) = (answer.Tensor("weight"), answer.Array("bias"), answer.Number("version"));
        MaxRelativeDifference = answer.Value("max_relative_difference", ClientJson.Default.Double);
        Activation = Enum.Parse<Activation>(answer.FindText("activation") ?? nameof(Activation.None), ignoreCase: true);
    }

    /// <summary>Folded weight, in the shape of the layer's, row-major.</summary>
    public ReadOnlyMemory<float> Weight => _weight.Values;

    /// <summary>Dimensions of the weight, outermost first.</summary>
    public IReadOnlyList<int> Shape => _weight.Shape;

    /// <summary>Folded bias, one value per output channel.</summary>
    public IReadOnlyList<double> Bias { get; }

    /// <summary>Largest relative difference of the folded layer's output from that of the two; about 1e-7 is the rounding of float32.</summary>
    public double MaxRelativeDifference { get; }

    /// <summary>The session's activation, which stays behind the folded layer.</summary>
    public Activation Activation { get; }

    /// <summary>Version of the state that was folded.</summary>
    public long Version { get; }

    /// <inheritdoc/>
    public void Dispose() => _weight.Dispose();
}

/// <summary>A tensor that was normalized without a session. Disposing it gives the memory of its tensors back.</summary>
public sealed class NormalizedBatch : IDisposable
{
    private readonly TensorMemory _y;
    private readonly TensorMemory? _dx, _dresidual;

    internal NormalizedBatch(SafetensorsAnswer answer)
    {
        (_y, _dx, _dresidual) = (answer.Tensor("y"), answer.FindTensor("dx"), answer.FindTensor("dresidual"));
        (Mean, Var, InvStd, Count) = (answer.FindArray("mean"), answer.Array("var"), answer.Array("inv_std"), answer.Number("count"));
        (Dgamma, Dbeta, Warnings) = (answer.FindArray("dgamma"), answer.FindArray("dbeta"), answer.Warnings());
    }

    /// <summary>The output, in the shape of x, row-major; of a session in float32.</summary>
    public ReadOnlyMemory<float> Y => _y.Values;

    /// <summary>The output, in the shape of x, row-major, in float64.</summary>
    public ReadOnlyMemory<double> YFloat64 => _y.Doubles;

    /// <summary>Dimensions of x and y, outermost first.</summary>
    public IReadOnlyList<int> Shape => _y.Shape;

    /// <summary>Mean of each statistic; null for RMS normalization.</summary>
    public IReadOnlyList<double>? Mean { get; }

    /// <summary>Biased variance of each statistic; for RMS normalization the mean square.</summary>
    public IReadOnlyList<double> Var { get; }

    /// <summary>1/sqrt(var + eps) of each statistic.</summary>
    public IReadOnlyList<double> InvStd { get; }

    /// <summary>Number of values per statistic.</summary>
    public long Count { get; }

    /// <summary>Gradient by x; null where no dy was sent.</summary>
    public ReadOnlyMemory<float>? Dx => _dx?.Values;

    /// <summary>Gradient by x, in float64; null where no dy was sent.</summary>
    public ReadOnlyMemory<double>? DxFloat64 => _dx?.Doubles;

    /// <summary>Gradient by the residual; null where there is none.</summary>
    public ReadOnlyMemory<float>? Dresidual => _dresidual?.Values;

    /// <summary>Gradient by the residual, in float64; null where there is none.</summary>
    public ReadOnlyMemory<double>? DresidualFloat64 => _dresidual?.Doubles;

    /// <summary>Gradient by gamma; null where there is none.</summary>
    public IReadOnlyList<double>? Dgamma { get; }

    /// <summary>Gradient by beta; null where there is none.</summary>
    public IReadOnlyList<double>? Dbeta { get; }

    /// <summary>precision-lost where float32 could not tell the values of x apart; mostly none.</summary>
    public IReadOnlyList<Finding> Warnings { get; }

    /// <inheritdoc/>
    public void Dispose()
    {
        _y.Dispose();
        _dx?.Dispose();
        _dresidual?.Dispose();
    }
}
