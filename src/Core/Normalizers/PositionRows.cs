using BnService.Core.Kernels;
using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>
/// The channels at each position of [N, C, spatial…] as rows, [N, spatial…, C]: what kinds over rows normalize with channel_axis 1.
/// </summary>
/// <param name="shape">The shape, of rank 2 or more.</param>
/// <param name="compute">With how many threads.</param>
internal readonly struct PositionRows(Shape shape, ComputeSettings compute)
{
    /// <summary>The shape of the rows.</summary>
    public Shape Shape => Of(shape);

    /// <summary>The shape of a batch whose channels come last.</summary>
    public static Shape Of(Shape shape) => new([shape[0], .. shape.Dimensions[2..], shape[1]]);

    /// <summary>A tensor as rows, in memory of their own; the caller's to dispose. Null for none.</summary>
    public Tensor? Gathered(Elements tensor)
    {
        if (tensor.IsEmpty) return null;
        var rows = Tensor.Rent(Shape, tensor.Precision);
        try
        {
            Transpose(tensor, rows, shape[1], Positions);
            return rows;
        }
        catch
        {
            rows.Dispose();
            throw;
        }
    }

    /// <summary>Puts rows back to where their channels belong.</summary>
    public void Scatter(Elements rows, Elements tensor) => Transpose(rows, tensor, Positions, shape[1]);

    private int Positions => shape.Count == 0 ? 0 : shape.Count / shape[0] / shape[1];

    private unsafe void Transpose(Elements source, Elements target, int height, int width)
    {
        if (target.Length != source.Length)
            throw new ArgumentException($"expected {source.Length} elements, got {target.Length}", nameof(target));
        // One channel, or one position, lies as its transpose does.
        if (height == 1 || width == 1) source.CopyTo(target);
        else if (source.AreDouble)
        {
            fixed (double* from = source.Doubles, to = target.Doubles) Transposition.Run(from, to, shape[0], height, width, compute);
        }
        else
        {
            fixed (float* from = source.Singles, to = target.Singles) Transposition.Run(from, to, shape[0], height, width, compute);
        }
    }
}
