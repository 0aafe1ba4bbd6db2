using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Layers;

/// <summary>A part of a batch that is normalized with statistics of its own: a ghost batch, or the whole batch.</summary>
/// <param name="Layout">How it is laid out.</param>
/// <param name="Start">Its first element in the batch.</param>
/// <param name="FirstSample">Its first sample in the batch.</param>
/// <param name="Samples">Number of its samples.</param>
/// <param name="Moments">Its statistics; with a mask those of what counts.</param>
/// <param name="IsMasked">Whether the mask leaves some of it out.</param>
/// <param name="Correction">r and d of batch renormalization; null for other kinds.</param>
public sealed record BatchPart(
    Layout Layout, int Start, int FirstSample, int Samples, Moments Moments, bool IsMasked, Renormalization? Correction);

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
        Parts.Select(part => part.Layout.Reduction == Reduction.Channels ? part.Moments : AverageOverSamples(part.Moments, features));

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

/// <summary>
/// Which values of a batch count in its statistics: those of whole samples, or of positions in them, with all their channels.
/// </summary>
/// <param name="Shape">[N], or the shape of the batch without its channel axis.</param>
/// <param name="Values">True for what counts, row-major.</param>
public sealed record BatchMask(Shape Shape, bool[] Values)
{
    /// <summary>A mask with a value per sample.</summary>
    public static BatchMask OfSamples(params bool[] values)
    {
        ArgumentNullException.ThrowIfNull(values);
        return new(new Shape([values.Length]), values);
    }

    /// <summary>Refuses a mask that does not fit a batch.</summary>
    /// <param name="batch">The batch's shape.</param>
    /// <param name="options">The layer's options.</param>
    /// <exception cref="LayerException">It does not fit, or belongs to another kind.</exception>
    public void RequireFit(Shape batch, NormalizerOptions options)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(options);
        if (!options.Kind.IsOverBatch)
        {
            throw new LayerException(LayerError.InvalidOption,
                $"mask belongs to batch_norm and batch_renorm; {options.Kind.WireName} normalizes each sample by itself");
        }
        if (Shape.Rank == 1 && Shape[0] == batch[0]) return;
        var positions = Positions(batch, options.ChannelAxis);
        if (options.Granularity == Granularity.PerActivation)
        {
            throw new LayerException(LayerError.ShapeMismatch,
                $"mask must have the shape [{batch[0]}], one value per sample, got {Shape}: with granularity per_activation " +
                "all statistics have the same number of values");
        }
        if (positions.Equals(Shape)) return;
        var orPositions = positions.Rank == 1 ? "" : $", or {positions}, the shape of x without its channel axis";
        throw new LayerException(LayerError.ShapeMismatch,
            $"mask must have the shape [{batch[0]}], one value per sample{orPositions}; got {Shape}");
    }

    /// <summary>The mask with a value for each value of a statistic, in their order: a sample's is that of all its positions.</summary>
    internal bool[] Expanded(int count)
    {
        if (Values.Length == 0 || Values.Length == count) return Values;
        var (each, expanded) = (count / Values.Length, new bool[count]);
        for (var i = 0; i < Values.Length; i++) expanded.AsSpan(i * each, each).Fill(Values[i]);
        return expanded;
    }

    private static Shape Positions(Shape batch, int channelAxis)
    {
        var axis = channelAxis < 0 ? batch.Rank + channelAxis : channelAxis;
        return new([.. batch.Dimensions.RemoveAt(axis)]);
    }
}
