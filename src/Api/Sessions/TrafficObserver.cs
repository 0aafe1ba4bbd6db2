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
    ResidentSessions resident, Computing computing, SessionActivity activity, TrafficHistory history, TimeProvider time)
{
    // Batches of more elements are large.
    private const int SmallSample = 1 << 16;

    /// <summary>The statistics of a batch that is about to pass; null where it is not looked at.</summary>
    /// <exception cref="LayerException">The batch does not fit the session.</exception>
    public LastBatch? Sample(LayerSession session, Tensor x) =>
        IsLookedAt(session, x.Shape) && TakesSample(session, x.Shape) ? StatisticsOf(session, x) : null;

    /// <summary>
    /// A look at a batch that is about to arrive, at its first samples where it is large; null where it is not looked at.
    /// </summary>
    /// <exception cref="LayerException">The batch does not fit the session.</exception>
    public ArrivingSample? SampleArriving(LayerSession session, Shape shape)
    {
        var samples = (int)Math.Min((long)SmallSample * shape[0] / Math.Max(shape.Count, 1), shape[0]);
        var part = samples == shape[0] ? shape : new Shape([Math.Max(samples, 1), .. shape.Dimensions.Skip(1)]);
        if (samples == 0 || !IsLookedAt(session, part) || !TakesSample(session, shape)) return null;
        return new ArrivingSample(part, x => Inferred(session, StatisticsOf(session, x)));
    }

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

    public void Stepped(LayerSession session, StepChange change, Made<StepReplay> made)
    {
        var (step, layer, now) = (change.Step, made.State.Layer, time.GetUtcNow());
        if (step.Frozen is { } frozen) session.Traffic.Frozen = new ObservedBatch(frozen, now);
        string[] warnings = [.. made.Answer.Warnings.Select(finding => finding.Code)];
        session.Traffic.Add(new StepLine(layer.Version, layer.Running?.BatchesTracked ?? 0, now, step.Count, null, warnings)
        {
            Elapsed = change.Begun is { } begun ? time.GetElapsedTime(begun) : null,
            Moments = StepMoments.Of(step.BatchFor(layer), layer.Running),
        });
        history.Mark(session);
        activity.Touch(session.Current);
    }

    private bool TakesSample(LayerSession session, Shape shape) =>
        (shape.Count <= SmallSample ? session.Traffic.SmallSamples : session.Traffic.LargeSamples).Takes(time);

    private bool IsLookedAt(LayerSession session, Shape shape)
    {
        var batch = computing.BatchOf(session.Current.Layer, shape);
        // Fewer values diverge from anything by chance.
        return batch.Layer.Running is not null && batch.RunningLayout.Count >= BatchNoise.SmallBatch
            && batch.RunningLayout.Statistics == batch.Layer.Features;
    }

    private LastBatch StatisticsOf(LayerSession session, Tensor x)
    {
        using var timed = computing.Begin(PassKind.Moments, x.Shape);
        var moments = computing.BatchOf(session.Current.Layer, x.Shape).RunningMoments(x);
        return new LastBatch(moments.Mean, moments.Variance(unbiased: false), moments.Count) { Samples = x.Shape[0] };
    }
}

/// <summary>The first samples of a batch that is arriving.</summary>
internal sealed class ArrivingSample(Shape shape, Action<Tensor> look) : IDisposable
{
    public Tensor Memory { get; } = Tensor.Rent(shape);

    public void Finish() => look(Memory);

    public void Dispose() => Memory.Dispose();
}

/// <summary>Which of many are looked at: one an interval in the long run, and some more at once after a pause.</summary>
/// <param name="interval">The time between two in the long run.</param>
/// <param name="atOnce">How many may follow each other without it, 1 or more.</param>
internal sealed class SampleRate(TimeSpan interval, int atOnce)
{
    private readonly Lock _lock = new();

    // The clock when it was first asked: far from zero an elapsed time is not exact.
    private long? _start;

    // When the next one would be taken, had all been taken one an interval.
    private TimeSpan _due;

    /// <summary>Whether one is to be looked at now, which then counts as done.</summary>
    public bool Takes(TimeProvider time)
    {
        lock (_lock)
        {
            var now = time.GetElapsedTime(_start ??= time.GetTimestamp());
            if (now < _due - ((atOnce - 1) * interval)) return false;
            _due = (_due > now ? _due : now) + interval;
            return true;
        }
    }
}

/// <summary>Which sessions have moved on this node: for who looks at many of them at once.</summary>
internal sealed class SessionActivity
{
    // Who asks once a second and still misses some sees those that are moving on the next time.
    private const int Kept = 4096;

    private readonly Lock _lock = new();
    private readonly string[] _names = new string[Kept];
    private readonly string[] _ids = new string[Kept];
    private long _moves;
    private TaskCompletionSource? _next;

    public long Moves => Interlocked.Read(ref _moves);

    /// <summary>A session has been created, changed or deleted, or a batch has passed through it.</summary>
    public void Touch(SessionRecord session)
    {
        TaskCompletionSource? told;
        lock (_lock)
        {
            (_names[_moves % Kept], _ids[_moves % Kept]) = (session.Name, session.Id);
            _moves++;
            (told, _next) = (_next, null);
        }
        told?.SetResult();
    }

    /// <summary>The sessions of a scope that have moved since, each once.</summary>
    /// <returns>Their ids, the number of moves now, and what is done when there are more.</returns>
    public (IReadOnlyList<string> Ids, long Moves, Task Next) Since(SessionScope scope, long since)
    {
        lock (_lock)
        {
            var ids = new HashSet<string>();
            for (var i = Math.Max(since, _moves - Kept); i < _moves; i++)
            {
                if (scope.Contains(_names[i % Kept])) ids.Add(_ids[i % Kept]);
            }
            _next ??= new(TaskCreationOptions.RunContinuationsAsynchronously);
            return ([.. ids], _moves, _next.Task);
        }
    }
}

/// <summary>The moments of a step, and the running ones after it: drift and shift are computed of them when somebody looks.</summary>
internal sealed class StepMoments
{
    /// <summary>
    /// Bytes that the moments of one session take at most: 1,024 steps of few channels, 16 of 256, none of more than 4,096.
    /// </summary>
    public const long MostBytes = 1 << 17;

    private const int Values = 4;

    // Either what is to be looked at or what was seen.
    private object _content;

    private StepMoments(LastBatch batch, RunningStatistics running) =>
        (_content, Bytes) = (new Arrays(batch, running), (long)running.Mean.Length * Values * sizeof(double));

    public long Bytes { get; }

    /// <summary>The moments of a step; null where they cannot be compared.</summary>
    public static StepMoments? Of(LastBatch? batch, RunningStatistics? running)
    {
        if (batch is not { Count: > 0, Mean.Length: > 0 } || running is null || batch.Mean.Length != running.Mean.Length) return null;
        var moments = new StepMoments(batch, running);
        if (moments.Bytes > MostBytes) moments.Forget();
        return moments;
    }

    public Digest Look() => _content is Arrays arrays ? arrays.Seen : (Digest)_content;

    /// <summary>Keeps nothing but what is seen in all channels together.</summary>
    public void Forget() => _content = Look();

    /// <summary>
    /// The values of a channel, in the precision of a picture; null where they have been forgotten, and where there is no such channel.
    /// </summary>
    public (float BatchMean, float BatchVariance, float RunningMean, float RunningVariance)? Channel(int channel) =>
        _content is Arrays(var batch, var running) && channel < running.Mean.Length
            ? ((float)batch.Mean[channel], (float)batch.Variance[channel], (float)running.Mean[channel], (float)running.Variance[channel])
            : null;

    /// <summary>What is seen in all channels together.</summary>
    internal sealed record Digest(Drift? Drift, BatchShift? Shift);

    private sealed record Arrays(LastBatch Batch, RunningStatistics Running)
    {
        // Twice at the same time it is the same.
        public Digest Seen => field ??= new(Diagnosis.DriftOf(Batch, Running), BatchShift.Of(Batch.Mean, Batch.Variance, Running));
    }
}
