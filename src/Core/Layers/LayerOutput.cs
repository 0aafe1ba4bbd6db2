using BnService.Core.Kernels;
using BnService.Core.Normalizers;
using BnService.Core.Simd;
using BnService.Core.Tensors;

namespace BnService.Core.Layers;

/// <summary>y of a batch, computed a part at a time, in any order. See <see cref="Batch.Output"/>.</summary>
public abstract class LayerOutput : IDisposable
{
    /// <summary>Parts begin and end at multiples of so many elements.</summary>
    public abstract int Unit { get; }

    /// <summary>Computes one part, on this thread.</summary>
    /// <param name="start">The part's first element in the batch.</param>
    /// <param name="x">The input of the part.</param>
    /// <param name="residual">What is added before the activation; empty for nothing, else as long as x.</param>
    /// <param name="y">Receives the output; as long as x.</param>
    public abstract void Apply(int start, ReadOnlySpan<float> x, ReadOnlySpan<float> residual, Span<float> y);

    /// <inheritdoc/>
    public void Dispose()
    {
        Dispose(true);
        GC.SuppressFinalize(this);
    }

    /// <summary>Gives memory back.</summary>
    /// <param name="disposing">Always true: there are no finalizers.</param>
    protected abstract void Dispose(bool disposing);
}

/// <summary>
/// y = activation(map(x) + residual) of any part by itself, for layouts over channels: the bits are those of the whole. Parts may be
/// computed
/// by several threads at once.
/// </summary>
internal sealed unsafe class MappedOutput(Layout layout, AffineMap map, Activation activation, ComputeSettings compute) : LayerOutput
{
    private readonly ChannelConstants _constants = map.Constants.For(layout.View);

    public override int Unit => 1;

    public override void Apply(int start, ReadOnlySpan<float> x, ReadOnlySpan<float> residual, Span<float> y)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        if (x.Length > layout.Elements - start)
            throw new ArgumentException($"expected at most {layout.Elements - start} elements, got {x.Length}", nameof(x));
        if (y.Length != x.Length || (!residual.IsEmpty && residual.Length != x.Length))
            throw new ArgumentException("expected spans of one length", nameof(y));
        if (x.IsEmpty) return;
        fixed (float* source = x, added = residual, destination = y)
        {
            var others = new OutputInputs(added, null);
            OutputRules.Run(others, activation == Activation.Relu, new Part(this, start, x.Length, source, others, destination));
        }
        GC.KeepAlive(this);
    }

    protected override void Dispose(bool disposing)
    {
        if (!ReferenceEquals(_constants, map.Constants)) _constants.Dispose();
        map.Dispose();
    }

    // The kernel counts elements from the beginning of the whole, where nothing is read or written.
    private readonly struct Part(MappedOutput output, int start, int length, float* x, OutputInputs others, float* y) : IRuleWork
    {
        public void Run<TRule>()
            where TRule : struct, IOutputRule => output.Run(new Affine<TRule>(x - start, others.From(-start), y - start), start, length);
    }

    private void Run<TOperator>(TOperator op, int start, int length)
        where TOperator : struct, IElementwiseOperator =>
        VectorWidths.Run(compute.Width, new ElementwiseStretch<TOperator>(op, layout.View, _constants, start, start + length), 0);
}

/// <summary>y of parts that have statistics of their own.</summary>
/// <param name="parts">The parts, one after the other, each with its first element; taken over.</param>
internal sealed class PartsOutput(IReadOnlyList<(int Start, LayerOutput Output)> parts) : LayerOutput
{
    public override int Unit => 1;

    public override void Apply(int start, ReadOnlySpan<float> x, ReadOnlySpan<float> residual, Span<float> y)
    {
        for (var part = PartAt(start); !x.IsEmpty; part++)
        {
            var end = part + 1 < parts.Count ? parts[part + 1].Start : int.MaxValue;
            var length = Math.Min(x.Length, end - start);
            parts[part].Output.Apply(start - parts[part].Start, x[..length], residual.IsEmpty ? [] : residual[..length], y[..length]);
            start += length;
            x = x[length..];
            y = y[length..];
            if (!residual.IsEmpty) residual = residual[length..];
        }
    }

    protected override void Dispose(bool disposing)
    {
        foreach (var (_, output) in parts) output.Dispose();
    }

    private int PartAt(int element)
    {
        var (low, high) = (0, parts.Count - 1);
        while (low < high)
        {
            var middle = (low + high + 1) / 2;
            if (parts[middle].Start <= element) low = middle;
            else high = middle - 1;
        }
        return low;
    }
}

/// <summary>y of a layer that infers each sample, or each row, with statistics of its own: whole ones at a time.</summary>
internal sealed class SampleOutput(LayerState layer, int[] dimensions, ComputeSettings compute) : LayerOutput
{
    public override int Unit { get; } = new Shape(dimensions).Count;

    public override void Apply(int start, ReadOnlySpan<float> x, ReadOnlySpan<float> residual, Span<float> y) =>
        Batch.Of(layer, new Shape([x.Length / Unit, .. dimensions]), compute).MeasureAndWrite(x, residual, y, isTraining: false);

    protected override void Dispose(bool disposing)
    {
    }
}
