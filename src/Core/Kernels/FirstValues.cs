using System.Runtime.CompilerServices;
using BnService.Core.Simd;
using BnService.Core.Tensors;

namespace BnService.Core.Kernels;

/// <summary>
/// K, the shift near the mean that sums of squares are taken from: the mean of a channel's first 8, 4 or 2 values, or its first one.
/// A power of two, so that K is exact where they are all equal and a constant channel has deviations of exactly 0. A float, so that
/// x − K is exact in double for all but very unequal magnitudes. 0 where the values are not finite.
/// </summary>
internal readonly unsafe struct FirstValues(float* x, ChannelView view)
{
    private readonly int _count = (view.IsColumns ? view.Outer : view.Inner) switch { >= 8 => 8, >= 4 => 4, >= 2 => 2, _ => 1 };

    /// <summary>The element behind the last one that is looked at.</summary>
    public nint End => view.IsColumns ? (nint)_count * view.Channels : ((nint)(view.Channels - 1) * view.Inner) + _count;

    /// <summary>K of a vector of channels.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Mean<TVector>(int channel, double* shifts)
        where TVector : struct, IVector<TVector, double>
    {
        var sum = TVector.Zero;
        if (view.IsColumns)
        {
            for (var row = 0; row < _count; row++) sum += TVector.LoadFloats(x + ((nint)row * view.Channels) + channel);
        }
        else
        {
            for (var c = 0; c < TVector.Count; c++)
            {
                var run = x + ((nint)(channel + c) * view.Inner);
                double total = 0;
                for (var i = 0; i < _count; i++) total += run[i];
                shifts[channel + c] = total;
            }
            sum = TVector.Load(shifts + channel);
        }
        TVector.Choose(Lanes.IsFinite(sum), TVector.RoundToSingle(sum / TVector.Broadcast(_count)), TVector.Zero).Store(shifts + channel);
    }
}
