using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>y of a batch, computed where it is written to: into the answer's own memory.</summary>
/// <param name="input">The batch, which stays the caller's and must live until this is disposed.</param>
/// <param name="output">What computes y; taken over.</param>
/// <param name="owner">Let go with it, or null: what keeps the batch alive.</param>
internal sealed class ComputedOutput(BatchInput input, LayerOutput output, IDisposable? owner) : TensorSource
{
    /// <inheritdoc/>
    public override Shape Shape => input.X.Shape;

    /// <inheritdoc/>
    public override void CopyTo(int start, Span<float> values) => output.Apply(
        start, input.X.Data.Slice(start, values.Length), input.Residual is { } residual ? residual.Data.Slice(start, values.Length) : [], values);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        output.Dispose();
        owner?.Dispose();
    }
}
