namespace BnService.Core.Statistics;

/// <summary>The largest of the channels' values, and whose it is.</summary>
/// <param name="Channel">The channel.</param>
/// <param name="Value">Its value, finite.</param>
public sealed record Largest(int Channel, double Value)
{
    /// <summary>The largest finite value over channels; null where none is finite.</summary>
    /// <param name="channels">Number of channels.</param>
    /// <param name="valueOf">Value of a channel.</param>
    public static Largest? Of(int channels, Func<int, double> valueOf)
    {
        ArgumentNullException.ThrowIfNull(valueOf);
        var (channel, largest) = (-1, double.NegativeInfinity);
        for (var c = 0; c < channels; c++)
        {
            var value = valueOf(c);
            if (double.IsFinite(value) && value > largest) (channel, largest) = (c, value);
        }
        return channel < 0 ? null : new Largest(channel, largest);
    }
}
