using System.Runtime.CompilerServices;
using BnService.Core.Simd;
using BnService.Core.Tensors;

namespace BnService.Core.Kernels;

/// <summary>What a sum kernel sums: u and v of each element, in double.</summary>
internal interface IPairTerms
{
    /// <summary>Whether Σu² is wanted as well.</summary>
    static abstract bool WithSquares { get; }

    void Read<TVector>(nint element, TVector shift, out TVector u, out TVector v)
        where TVector : struct, IVector<TVector, double>;

    /// <summary>Whether what is summed depends on the row, so that rows cannot be put side by side.</summary>
    static virtual bool DependsOnRow => false;

    /// <summary>Called before elements of a run are read, with the run's first element.</summary>
    void MoveToRun(nint start);

    /// <summary>Called before elements of a row are read, where channels are adjacent.</summary>
    void MoveToRow(nint row);

    /// <summary>Asks for the inputs of an element ahead of time.</summary>
    void ReadAhead<TResidence>(nint element)
        where TResidence : struct, IResidence;

    /// <summary>Reads the first <paramref name="count"/> elements of a vector; u and v are 0 behind them.</summary>
    void Read<TVector>(nint element, int count, TVector shift, out TVector u, out TVector v)
        where TVector : struct, IVector<TVector, double>;
}

/// <summary>The running sums of one vector of lanes, held in registers.</summary>
internal struct PairLanes<TVector>
    where TVector : struct, IVector<TVector, double>
{
    public TVector U, UV, UU;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add<TTerms>(TTerms terms, nint element, TVector shift)
        where TTerms : struct, IPairTerms
    {
        terms.Read(element, shift, out TVector u, out TVector v);
        Add<TTerms>(u, v);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Add<TTerms>(TTerms terms, nint element, int count, TVector shift)
        where TTerms : struct, IPairTerms
    {
        terms.Read(element, count, shift, out TVector u, out TVector v);
        Add<TTerms>(u, v);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static PairLanes<TVector> operator +(in PairLanes<TVector> a, in PairLanes<TVector> b) =>
        new() { U = a.U + b.U, UV = a.UV + b.UV, UU = a.UU + b.UU };

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private void Add<TTerms>(TVector u, TVector v)
        where TTerms : struct, IPairTerms
    {
        U += u;
        UV = TVector.FusedMultiplyAdd(u, v, UV);
        if (TTerms.WithSquares) UU = TVector.FusedMultiplyAdd(u, u, UU);
    }
}

/// <summary>u = v = x − shift: the sums are those of the mean and the variance, taken near the mean where nothing cancels.</summary>
internal readonly unsafe struct MomentTerms(float* x) : IPairTerms
{
    public static bool WithSquares => false;

    public void MoveToRun(nint start)
    {
    }

    public void MoveToRow(nint row)
    {
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Read<TVector>(nint element, TVector shift, out TVector u, out TVector v)
        where TVector : struct, IVector<TVector, double> => u = v = TVector.LoadFloats(x + element) - shift;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Read<TVector>(nint element, int count, TVector shift, out TVector u, out TVector v)
        where TVector : struct, IVector<TVector, double> =>
        u = v = TVector.First(TVector.LoadFloats(x + element, count) - shift, count);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void ReadAhead<TResidence>(nint element)
        where TResidence : struct, IResidence => TResidence.ReadAhead(x + element);
}

/// <summary>u = g, v = x − shift: the sums are those of dβ and dγ, and Σg².</summary>
internal readonly unsafe struct GradientTerms(float* x, float* dy) : IPairTerms
{
    public static bool WithSquares => true;

    public void MoveToRun(nint start)
    {
    }

    public void MoveToRow(nint row)
    {
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Read<TVector>(nint element, TVector shift, out TVector u, out TVector v)
        where TVector : struct, IVector<TVector, double>
    {
        u = TVector.LoadFloats(dy + element);
        v = TVector.LoadFloats(x + element) - shift;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void Read<TVector>(nint element, int count, TVector shift, out TVector u, out TVector v)
        where TVector : struct, IVector<TVector, double>
    {
        u = TVector.LoadFloats(dy + element, count);
        v = TVector.First(TVector.LoadFloats(x + element, count) - shift, count);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void ReadAhead<TResidence>(nint element)
        where TResidence : struct, IResidence
    {
        TResidence.ReadAhead(x + element);
        TResidence.ReadAhead(dy + element);
    }
}

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
