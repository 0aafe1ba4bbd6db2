using BnService.Core.Simd;
using BnService.Core.Tensors;

namespace BnService.Core.Kernels;

/// <summary>
/// K, the shift near the mean that sums of squares are taken from: the mean of a channel's first 8, 4 or 2 values, or its first one.
/// A power of two, so that K is exact where they are all equal and a constant channel has deviations of exactly 0. A float, so that
/// x − K is exact in double for all but very unequal magnitudes. 0 where the values are not finite.
/// </summary>
internal static unsafe class FirstValues
{
    /// <param name="x">The tensor.</param>
    /// <param name="view">Its layout.</param>
    /// <param name="shifts">Receives K of each channel.</param>
    /// <param name="compute">With what to compute.</param>
    public static void Mean(float* x, ChannelView view, double* shifts, ComputeSettings compute)
    {
        var adjacent = view.IsColumns ? view.Outer : view.Inner;
        var count = adjacent >= 8 ? 8 : adjacent >= 4 ? 4 : adjacent >= 2 ? 2 : 1;
        if (view.IsColumns) VectorWidths.Run(compute.Width, new ColumnTops(x, view.Channels, count, shifts), 0);
        for (var c = 0; c < view.Channels; c++)
        {
            var sum = view.IsColumns ? shifts[c] : 0;
            for (var i = 0; i < count && !view.IsColumns; i++) sum += x[((nint)c * view.Inner) + i];
            shifts[c] = double.IsFinite(sum) ? (float)(sum / count) : 0;
        }
    }

    // Sums of the first rows.
    private readonly struct ColumnTops(float* x, int channels, int count, double* sums) : IKernel
    {
        public void Run<TSingle, TDouble>(int item)
            where TSingle : struct, IVector<TSingle, float>
            where TDouble : struct, IVector<TDouble, double>
        {
            var c = 0;
            for (; channels - c >= TDouble.Count; c += TDouble.Count) Sum<TDouble>(c);
            for (; c < channels; c++) Sum<Lanes1<double>>(c);
        }

        private void Sum<TVector>(int c)
            where TVector : struct, IVector<TVector, double>
        {
            var sum = TVector.Zero;
            for (var row = 0; row < count; row++) sum += TVector.LoadFloats(x + ((nint)row * channels) + c);
            sum.Store(sums + c);
        }
    }
}
