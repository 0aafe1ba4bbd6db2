using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Core.Layers;

/// <summary>A part of a batch that is normalized with statistics of its own: a ghost batch, or the whole batch.</summary>
/// <param name="Plan">How it is laid out.</param>
/// <param name="Start">Its first element in the batch.</param>
/// <param name="FirstSample">Its first sample in the batch.</param>
/// <param name="Samples">Number of its samples.</param>
/// <param name="Moments">Its statistics; with a mask those of what counts.</param>
/// <param name="IsMasked">Whether the mask leaves some of it out.</param>
/// <param name="Correction">r and d of batch renormalization; null for other kinds.</param>
public sealed record BatchPart(
    Layout Plan, int Start, int FirstSample, int Samples, Moments Moments, bool IsMasked, Renormalization? Correction);

/// <summary>The statistics of one batch, of its own values: what a train-step normalizes with and what its backward needs.</summary>
/// <param name="Parts">The parts, one behind the other; they are the whole batch.</param>
/// <param name="Mask">Which of the values of a statistic count, in their order; null for all.</param>
public sealed record StepStatistics(IReadOnlyList<BatchPart> Parts, bool[]? Mask)
{
    /// <summary>
    /// Whether the moments are those of the batches of several ranks together, of which this batch is one's (synchronized batch
    /// normalization). See <see cref="Batch.Join"/>.
    /// </summary>
    public bool AreJoint { get; init; }

    /// <summary>Number of samples of the batch; null where other ranks have some of them.</summary>
    public long? Samples => AreJoint ? null : Parts.Sum(part => (long)part.Samples);

    /// <summary>The moments of the whole batch: the exact union of its parts.</summary>
    public Moments Moments { get; } = Parts.Select(part => part.Moments).Aggregate(Moments.Merge);

    /// <summary>The moments as a layer's running statistics take them: one after the other.</summary>
    /// <remarks>Statistics per sample and channel are averaged over the samples, as PyTorch's instance normalization does.</remarks>
    /// <param name="features">Number of statistics of the layer.</param>
    public IEnumerable<Moments> Steps(int features) =>
        Parts.Select(part => part.Plan.Reduction == Reduction.Channels ? part.Moments : AverageOverSamples(part.Moments, features));

    /// <summary>Whether every mean and variance is a finite number, which holds if and only if every value was.</summary>
    public bool IsFinite => Parts.All(part => part.Moments.IsFinite);

    private static Moments AverageOverSamples(Moments moments, int features)
    {
        var samples = moments.Channels / features;
        var (mean, m2) = (new double[features], new double[features]);
        for (var i = 0; i < moments.Channels; i++)
        {
            mean[i % features] += moments.Mean[i] / samples;
            m2[i % features] += moments.M2[i] / samples;
        }
        return new Moments(moments.Channels == 0 ? 0 : moments.Count, mean, new double[features], m2);
    }
}
