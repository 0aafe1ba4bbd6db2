using BnService.Core.Layers;
using BnService.Core.Statistics;

namespace BnService.Api.Sessions;

/// <summary>What a step was in each channel, in the precision of a picture: mean and variance of the batch, and the running ones after it.</summary>
internal sealed class ChannelTrace
{
    /// <summary>Bytes that the traces of one session take at most: 1,024 steps of few channels, 16 of 256, none of more than 4,096.</summary>
    public const long MostBytes = 1 << 16;

    private const int Values = 4;

    private readonly float[] _values;

    private ChannelTrace(float[] values) => _values = values;

    /// <summary>Bytes that it takes.</summary>
    public long Bytes => (long)_values.Length * sizeof(float);

    /// <summary>The trace of a step; null where a single one would be too large.</summary>
    public static ChannelTrace? Of(LastBatch batch, RunningStatistics running)
    {
        var channels = running.Mean.Length;
        if (batch.Mean.Length != channels || (long)channels * Values * sizeof(float) > MostBytes || channels == 0) return null;
        var values = new float[channels * Values];
        for (var c = 0; c < channels; c++)
        {
            values[c * Values] = (float)batch.Mean[c];
            values[(c * Values) + 1] = (float)batch.Variance[c];
            values[(c * Values) + 2] = (float)running.Mean[c];
            values[(c * Values) + 3] = (float)running.Variance[c];
        }
        return new ChannelTrace(values);
    }

    /// <summary>The values of a channel; null where there is no such channel.</summary>
    public (float BatchMean, float BatchVariance, float RunningMean, float RunningVariance)? Channel(int channel) =>
        (long)channel * Values >= _values.Length
            ? null
            : (_values[channel * Values], _values[(channel * Values) + 1], _values[(channel * Values) + 2], _values[(channel * Values) + 3]);
}
