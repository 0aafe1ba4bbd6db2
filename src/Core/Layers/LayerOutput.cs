using BnService.Core.Normalizers;

namespace BnService.Core.Layers;

/// <summary>y of a batch, computed a stretch at a time, in any order. See <see cref="LayerPass.Output"/>.</summary>
/// <param name="parts">The parts of the batch that share statistics, one behind the other, each with its first element; taken over.</param>
public sealed class LayerOutput(IReadOnlyList<(int Start, ForwardStretches Stretches)> parts) : IDisposable
{
    /// <summary>Computes one stretch, on this thread.</summary>
    /// <param name="start">The stretch's first element in the batch.</param>
    /// <param name="x">The input of the stretch.</param>
    /// <param name="residual">What is added before the activation; empty for nothing, else as long as x.</param>
    /// <param name="y">Receives the output; as long as x.</param>
    public void Apply(int start, ReadOnlySpan<float> x, ReadOnlySpan<float> residual, Span<float> y)
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

    /// <inheritdoc/>
    public void Dispose()
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
