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

    private readonly NativeBuffer _memory;
    private readonly double* _doubles;
    private readonly float* _floats;
    private readonly bool* _needsDouble;

    /// <param name="channels">Number of channels.</param>
    /// <param name="kinds">Number of constants of each channel.</param>
    public ChannelConstants(int channels, int kinds)
    {
        Channels = channels;
        var count = (long)channels * kinds;
        _memory = NativeBuffer.Rent((count * (sizeof(double) + sizeof(float))) + channels);
        _doubles = (double*)_memory.Pointer;
        _floats = (float*)(_doubles + count);
        _needsDouble = (bool*)(_floats + count);
        new Span<bool>(_needsDouble, channels).Clear();
    }

    public int Channels { get; }

    /// <summary>Whether any channel needs the double path.</summary>
    public bool AnyNeedsDouble { get; private set; }

    public bool NeedsDouble(int channel) => _needsDouble[channel];

    public void RequireDouble(int channel) => _needsDouble[channel] = AnyNeedsDouble = true;

    public double this[int kind, int channel]
    {
        get => _doubles[((nint)kind * Channels) + channel];
        set
        {
            var index = ((nint)kind * Channels) + channel;
            _doubles[index] = value;
            _floats[index] = (float)value;
            var magnitude = Math.Abs(value);
            if (magnitude > float.MaxValue || (magnitude < SmallestNormal && magnitude != 0)) RequireDouble(channel);
        }
    }

    /// <summary>The constants of one kind for all channels, as <see cref="float"/> or <see cref="double"/>.</summary>
    public T* Row<T>(int kind)
        where T : unmanaged
    {
        var offset = (nint)kind * Channels;
        return typeof(T) == typeof(float) ? (T*)(_floats + offset) : (T*)(_doubles + offset);
    }

    public void Dispose() => _memory.Dispose();
}
