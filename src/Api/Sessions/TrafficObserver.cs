using BnService.Api.Hosting.Telemetry;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>
/// Looks at what passes through sessions: the moments of inference batches, which nobody else computes, and a line per train-step.
/// Moments of a small batch cost as much as its inference, so that of many small ones only some are looked at; of a large one its first
/// samples are, once a second at most.
/// </summary>
internal sealed class TrafficObserver(
    SessionCatalog catalog, ResidentSessions resident, PassMeter passes, ComputeSettings compute, SessionActivity activity, TrafficHistory history, TimeProvider time)
{
    // Batches of more elements are large.
    private const int SmallSample = 1 << 16;

    /// <summary>The statistics of a batch that is about to pass; null where it is not looked at.</summary>
    /// <exception cref="LayerException">The batch does not fit the session.</exception>
    public LastBatch? Sample(LayerSession session, Tensor x) =>
        IsLookedAt(session, x.Shape) && TakesSample(session, x.Shape) ? StatisticsOf(session, x) : null;

    /// <summary>A look at a batch that is about to arrive, at its first samples where it is large; null where it is not looked at.</summary>
    /// <exception cref="LayerException">The batch does not fit the session.</exception>
    public ArrivingSample? SampleArriving(LayerSession session, Shape shape)
    {
        var samples = (int)Math.Min((long)SmallSample * shape[0] / Math.Max(shape.Count, 1), shape[0]);
        var part = samples == shape[0] ? shape : new Shape([Math.Max(samples, 1), .. shape.Dimensions.Skip(1)]);
        if (samples == 0 || !IsLookedAt(session, part) || !TakesSample(session, shape)) return null;
        return new ArrivingSample(part, x => Inferred(session, StatisticsOf(session, x)));
    }

    /// <summary>Remembers an inference batch.</summary>
    public void Inferred(LayerSession session, LastBatch? sample)
    {
        if (sample is null) return;
        var (now, running) = (time.GetUtcNow(), session.Current.Layer.Running);
        session.Traffic.Inference = new ObservedBatch(sample, now);
        session.Traffic.Add(new InferenceLine(now, sample.Count, running is null ? null : Diagnosis.DriftOf(sample, running)));
        resident.Measure(session);
        history.Mark(session);
        activity.Touch(session.Current);
    }

    /// <summary>Remembers a train-step.</summary>
    /// <param name="session">The session.</param>
    /// <param name="layer">The layer after the step.</param>
    /// <param name="step">The step.</param>
    /// <param name="elapsed">From the batch's arrival until the step was stored; null where it waited for other ranks.</param>
    public void Stepped(LayerSession session, LayerState layer, PreparedStep step, TimeSpan? elapsed)
    {
        var (batch, now) = (step.BatchFor(layer), time.GetUtcNow());
        var compared = layer.Running is { } running && batch is { Count: > 0 } && batch.Mean.Length == running.Mean.Length ? batch : null;
        if (step.Frozen is { } frozen) session.Traffic.Frozen = new ObservedBatch(frozen, now);
        session.Traffic.Add(new StepLine(layer.Version, layer.Running?.BatchesTracked ?? 0, now, step.Count,
            layer.Running is null ? null : Diagnosis.DriftOf(batch, layer.Running), [.. step.Answer(layer).Warnings.Select(finding => finding.Code)])
        {
            Elapsed = elapsed,
            Shift = compared is { } against ? BatchShift.Of(against.Mean, against.Variance, layer.Running!) : null,
            Trace = compared is null ? null : ChannelTrace.Of(compared, layer.Running!),
        });
        history.Mark(session);
        activity.Touch(session.Current);
    }

    private bool TakesSample(LayerSession session, Shape shape) =>
        (shape.Count <= SmallSample ? session.Traffic.SmallSamples : session.Traffic.LargeSamples).Takes(time);

    private bool IsLookedAt(LayerSession session, Shape shape)
    {
        var batch = catalog.BatchOf(session.Current.Layer, shape, compute);
        // Fewer values diverge from anything by chance.
        return batch.Layer.Running is not null && batch.RunningLayout.Count >= BatchNoise.SmallBatch
            && batch.RunningLayout.Statistics == batch.Layer.Features;
    }

    private LastBatch StatisticsOf(LayerSession session, Tensor x)
    {
        using var timed = passes.Begin(PassKind.Moments, x.Shape);
        var moments = Batch.Of(session.Current.Layer, x.Shape, compute).RunningMoments(x);
        return new LastBatch(moments.Mean, moments.Variance(unbiased: false), moments.Count) { Samples = x.Shape[0] };
    }
}

/// <summary>The first samples of a batch that is arriving.</summary>
/// <param name="shape">Their shape.</param>
/// <param name="look">What is done with them.</param>
internal sealed class ArrivingSample(Shape shape, Action<Tensor> look) : IDisposable
{
    /// <summary>Where they are put.</summary>
    public Tensor Memory { get; } = Tensor.Rent(shape);

    /// <summary>Looks at them, once they are there.</summary>
    public void Finish() => look(Memory);

    /// <inheritdoc/>
    public void Dispose() => Memory.Dispose();
}
