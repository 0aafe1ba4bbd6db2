using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Core.Layers;

/// <summary>y of a batch, computed a stretch at a time, in any order. See <see cref="Batch.Output"/>.</summary>
public abstract class LayerOutput : IDisposable
{
    /// <summary>Stretches begin and end at multiples of so many elements.</summary>
    public abstract int Unit { get; }

    /// <summary>Computes one stretch.</summary>
    /// <param name="start">The stretch's first element in the batch.</param>
    /// <param name="x">The input of the stretch.</param>
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

/// <summary>y with known statistics: any stretch by itself.</summary>
/// <param name="parts">The parts of the batch that share statistics, one behind the other, each with its first element; taken over.</param>
internal sealed class KnownOutput(IReadOnlyList<(int Start, ForwardStretches Stretches)> parts) : LayerOutput
{
    public override int Unit => 1;

    public override void Apply(int start, ReadOnlySpan<float> x, ReadOnlySpan<float> residual, Span<float> y)
    {
        for (var part = PartAt(start); !x.IsEmpty; part++)
        {
            var end = part + 1 < parts.Count ? parts[part + 1].Start : int.MaxValue;
            var length = Math.Min(x.Length, end - start);
            parts[part].Stretches.Apply(start - parts[part].Start, x[..length], residual.IsEmpty ? [] : residual[..length], y[..length]);
            start += length;
            x = x[length..];
            y = y[length..];
            if (!residual.IsEmpty) residual = residual[length..];
        }
    }

    protected override void Dispose(bool disposing)
    {
        foreach (var (_, stretches) in parts) stretches.Dispose();
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
/// <param name="layer">The layer.</param>
/// <param name="dimensions">The dimensions of a sample or row.</param>
/// <param name="compute">With what to compute.</param>
internal sealed class SampleOutput(LayerState layer, int[] dimensions, ComputeSettings compute) : LayerOutput
{
    public override int Unit { get; } = new Shape(dimensions).Count;

    public override void Apply(int start, ReadOnlySpan<float> x, ReadOnlySpan<float> residual, Span<float> y) =>
        Batch.Of(layer, new Shape([x.Length / Unit, .. dimensions]), compute).MeasureAndWrite(x, residual, y, isTraining: false);

    protected override void Dispose(bool disposing)
    {
    }
}
