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

    // Vectors of constants are loaded whole, also for the last channels.
    private const int Padding = 16;

    private readonly NativeBuffer _memory;
    private readonly int _kinds;
    private readonly int _row;
    private readonly double* _doubles;
    private readonly float* _floats;
    private readonly bool* _needsDouble;

    /// <param name="channels">Number of channels.</param>
    /// <param name="kinds">Number of constants of each channel.</param>
    public ChannelConstants(int channels, int kinds)
    {
        (Channels, _kinds, _row) = (channels, kinds, (channels + Padding - 1) / Padding * Padding);
        var count = (long)_row * kinds;
        _memory = NativeBuffer.Rent((count * (sizeof(double) + sizeof(float))) + channels);
        _doubles = (double*)_memory.Pointer;
        _floats = (float*)(_doubles + count);
        _needsDouble = (bool*)(_floats + count);
        new Span<bool>(_needsDouble, channels).Clear();
    }

    /// <summary>Number of channels; 0 once the memory has been given back.</summary>
    public int Channels { get; private set; }

    /// <summary>Whether any channel needs the double path.</summary>
    public bool AnyNeedsDouble { get; private set; }

    public bool NeedsDouble(int channel) => _needsDouble[channel];

    public void RequireDouble(int channel) => _needsDouble[channel] = AnyNeedsDouble = true;

    public double this[int kind, int channel]
    {
        get => _doubles[((nint)kind * _row) + channel];
        set
        {
            var index = ((nint)kind * _row) + channel;
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
        var offset = (nint)kind * _row;
        return typeof(T) == typeof(float) ? (T*)(_floats + offset) : (T*)(_doubles + offset);
    }

    /// <summary>The same constants, the channels standing side by side <paramref name="repeats"/> times.</summary>
    public ChannelConstants Repeated(int repeats)
    {
        var repeated = new ChannelConstants(Channels * repeats, _kinds) { AnyNeedsDouble = AnyNeedsDouble };
        for (var kind = 0; kind < _kinds; kind++)
        {
            for (var channel = 0; channel < repeated.Channels; channel++)
            {
                repeated.Row<double>(kind)[channel] = Row<double>(kind)[channel % Channels];
                repeated.Row<float>(kind)[channel] = Row<float>(kind)[channel % Channels];
            }
        }
        return repeated;
    }

    public void Dispose()
    {
        Channels = 0;
        _memory.Dispose();
    }
}
