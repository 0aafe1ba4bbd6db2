using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>y of a batch, computed where it is written to: into the answer's own memory.</summary>
/// <param name="input">The batch, which stays the caller's and must live until this is disposed.</param>
/// <param name="output">What computes y; taken over.</param>
internal sealed class ComputedOutput(BatchInput input, LayerOutput output) : TensorSource
{
    // As much as is sent at once, so that it pays to have it ready; the whole of a small batch.
    private const int Beginning = 1 << 18;

    private Tensor? _beginning;
    private RetainedStep? _held;

    /// <summary>The most bytes that the output of a batch holds beside the batch.</summary>
    public static long BytesOf(Shape shape) => NativeBuffer.LengthFor(Math.Min(shape.Count, Beginning) * sizeof(float));

    /// <inheritdoc/>
    public override Shape Shape => input.X.Shape;

    /// <inheritdoc/>
    public override void CopyTo(int start, Span<float> values)
    {
        if (_beginning is { } ready && start < ready.Shape.Count)
        {
            var part = ready.Data[start..];
            if (part.Length >= values.Length)
            {
                part[..values.Length].CopyTo(values);
                return;
            }
            part.CopyTo(values);
            start += part.Length;
            values = values[part.Length..];
        }
        Compute(start, values);
    }

    /// <summary>Computes the beginning of y now, while there is nothing else to do.</summary>
    public void ComputeBeginning()
    {
        // Whole units: what is computed together is asked for together.
        var count = Math.Min(Shape.Count, Beginning / output.Unit * output.Unit);
        if (count == 0) return;
        _beginning = Tensor.Rent(new Shape([count]));
        Compute(0, _beginning.Data);
    }

    /// <summary>Keeps a step, which has the batch, until this is disposed.</summary>
    public void Hold(RetainedStep step)
    {
        if (step.TryHold()) _held = step;
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        output.Dispose();
        _beginning?.Dispose();
        _held?.Dispose();
    }

    private void Compute(int start, Span<float> values) => output.Apply(
        start, input.X.Data.Slice(start, values.Length), input.Residual is { } residual ? residual.Data.Slice(start, values.Length) : [], values);
}
