using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using BnService.Core.Simd;
using BnService.Core.Tensors;

namespace BnService.Core.Kernels;

/// <summary>
/// The constants with which an elementwise kernel works on each channel, prepared in double and held in both precisions:
/// float for the fast path, double for channels whose numbers leave float's range on the way or cancel in it.
/// </summary>
internal sealed unsafe class ChannelConstants : IDisposable
{
    // Constants with a smaller magnitude than the smallest normal float have lost precision, larger ones than float.MaxValue all of it.
    private const double SmallestNormal = 1.1754943508222875e-38;

    // Vectors of constants are loaded whole, also for the last channels and wherever a stretch begins.
    private const int Padding = 16;

    private readonly NativeBuffer? _memory;
    private readonly byte[]? _pinned;
    private readonly int _kinds;
    private readonly int _row;
    private readonly double* _doubles;
    private readonly float* _floats;
    private readonly bool* _needsDouble;

    public ChannelConstants(int channels, int kinds, bool areShared = false)
    {
        (Channels, _kinds, _row) = (channels, kinds, (channels + Padding - 1) / Padding * Padding);
        var count = (long)_row * kinds;
        var bytes = (count * (sizeof(double) + sizeof(float))) + Math.Max(channels, Padding * sizeof(float));
        if (areShared) _pinned = GC.AllocateUninitializedArray<byte>(checked((int)bytes), pinned: true);
        else _memory = NativeBuffer.Rent(bytes);
        _doubles = (double*)(_memory is null ? Unsafe.AsPointer(ref MemoryMarshal.GetArrayDataReference(_pinned!)) : _memory.Pointer);
        _floats = (float*)(_doubles + count);
        _needsDouble = (bool*)(_floats + count);
        new Span<bool>(_needsDouble, channels).Clear();
    }

    /// <summary>Number of channels; 0 once the memory has been given back.</summary>
    public int Channels { get; private set; }

    /// <summary>Whether any channel needs the double path.</summary>
    public bool AnyNeedsDouble { get; private set; }

    public bool NeedsDouble(int channel) => _needsDouble[channel];

    /// <summary>Sets one kind of constant for a vector of channels.</summary>
    /// <remarks>An entry of compilation: its callers would get too large for the compiler to inline all of it.</remarks>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    public void Set<TVector>(int kind, int channel, TVector value)
        where TVector : struct, IVector<TVector, double>
    {
        value.Store(Row<double>(kind) + channel);
        value.StoreFloats(Row<float>(kind) + channel);
        var magnitude = TVector.Abs(value);
        var isTiny = TVector.Choose(Lanes.IsZero(value), TVector.Zero, TVector.LessThan(magnitude, TVector.Broadcast(SmallestNormal)));
        RequireDouble(channel, Lanes.Either(isTiny, TVector.LessThan(TVector.Broadcast(float.MaxValue), magnitude)));
    }

    /// <summary>Whether a number loses precision as a float, or all of it.</summary>
    public static bool LeavesSingle(double value) => value != 0 && Math.Abs(value) is < SmallestNormal or > float.MaxValue;

    /// <summary>Puts all channels on the double path.</summary>
    public void RequireDouble()
    {
        new Span<bool>(_needsDouble, Channels).Fill(true);
        AnyNeedsDouble = true;
    }

    /// <summary>Puts the channels of a mask on the double path.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public void RequireDouble<TVector>(int channel, TVector mask)
        where TVector : struct, IVector<TVector, double>
    {
        if (TVector.Any(mask)) RequireDoubleWhereSet(channel, mask);
    }

    /// <summary>The constants of one kind for all channels, as <see cref="float"/> or <see cref="double"/>.</summary>
    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public T* Row<T>(int kind)
        where T : unmanaged
    {
        var offset = (nint)kind * _row;
        return typeof(T) == typeof(float) ? (T*)(_floats + offset) : (T*)(_doubles + offset);
    }

    /// <summary>
    /// The constants as a view needs them: where its few channels are repeated side by side, repeated, and the caller's to dispose.
    /// </summary>
    public ChannelConstants For(ChannelView view) =>
        view.IsColumns && new ColumnBlocks(view).Repeats is > 1 and var repeats ? Repeated(repeats) : this;

    /// <summary>The same constants, the channels standing side by side <paramref name="repeats"/> times.</summary>
    private ChannelConstants Repeated(int repeats)
    {
        var repeated = new ChannelConstants(Channels * repeats, _kinds) { AnyNeedsDouble = AnyNeedsDouble };
        for (var kind = 0; kind < _kinds; kind++)
        {
            for (var repeat = 0; repeat < repeats; repeat++)
            {
                new Span<double>(Row<double>(kind), Channels).CopyTo(new(repeated.Row<double>(kind) + (repeat * Channels), Channels));
                new Span<float>(Row<float>(kind), Channels).CopyTo(new(repeated.Row<float>(kind) + (repeat * Channels), Channels));
            }
        }
        return repeated;
    }

    public void Dispose()
    {
        Channels = 0;
        _memory?.Dispose();
    }

    private void RequireDoubleWhereSet<TVector>(int channel, TVector mask)
        where TVector : struct, IVector<TVector, double>
    {
        var lanes = stackalloc double[TVector.Count];
        TVector.Choose(mask, TVector.Broadcast(1), TVector.Zero).Store(lanes);
        for (var lane = 0; lane < TVector.Count; lane++) _needsDouble[channel + lane] |= lanes[lane] != 0;
        AnyNeedsDouble = true;
    }
}
