using System.Runtime.CompilerServices;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Core.Layers;

// Layer and RMS normalization over the channels of [N, C, spatial…] (channel_axis 1, as in ConvNeXt): the channels of each position are
// gathered into a row, the rows are normalized as ever, and what comes of them goes back. One more copy of the batch, in pooled memory.
public sealed partial class Batch
{
    private PositionRows Rows => new(_shape, _compute);

    // The passes over the rows.
    private Batch OverRows => Of(Layer with { Options = _options with { IsOverChannels = false } }, Rows.Shape, _compute);

    private StepStatistics StatisticsOfRows<T>(ReadOnlySpan<T> x)
        where T : unmanaged
    {
        using var rows = Rows.Gathered(x);
        return OverRows.Measure<T>(rows.Span<T>(x.Length), null);
    }

    private void NormalizeRows<T>(ReadOnlySpan<T> x, StepStatistics statistics, ReadOnlySpan<T> residual, Span<T> y)
        where T : unmanaged
    {
        using var rows = Rows.Gathered(x);
        using var added = residual.IsEmpty ? null : Rows.Gathered(residual);
        var values = rows.Span<T>(x.Length);
        OverRows.Write<T>(values, statistics, added is null ? [] : added.Span<T>(x.Length), values);
        Rows.Scatter<T>(values, y);
    }

    private StepStatistics NormalizeRowsAtOnce<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> residual, Span<T> y)
        where T : unmanaged
    {
        using var rows = Rows.Gathered(x);
        using var added = residual.IsEmpty ? null : Rows.Gathered(residual);
        var values = rows.Span<T>(x.Length);
        var statistics = OverRows.MeasureAndWrite<T>(values, added is null ? [] : added.Span<T>(x.Length), values);
        Rows.Scatter<T>(values, y);
        return statistics;
    }

    private ParameterGradients DifferentiateRows<T>(
        ReadOnlySpan<T> x, ReadOnlySpan<T> dy, StepStatistics statistics, ReadOnlySpan<T> residual, Span<T> dx, Span<T> dresidual)
        where T : unmanaged
    {
        using var rows = Rows.Gathered(x);
        using var gradient = Rows.Gathered(dy);
        using var added = residual.IsEmpty ? null : Rows.Gathered(residual);
        using var gated = residual.IsEmpty ? null : NativeBuffer.Rent((long)dy.Length * Unsafe.SizeOf<T>());
        var values = gradient.Span<T>(dy.Length);
        var gradients = OverRows.Gradients<T>(rows.Span<T>(x.Length), values, statistics, added is null ? [] : added.Span<T>(x.Length),
            values, gated is null ? [] : gated.Span<T>(dy.Length));
        Rows.Scatter<T>(values, dx);
        if (gated is not null) Rows.Scatter<T>(gated.Span<T>(dy.Length), dresidual);
        return gradients;
    }
}
