using BnService.Api.Hosting.Telemetry;
using BnService.Core.Layers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>A train-step that is asked for.</summary>
/// <param name="Session">The session.</param>
/// <param name="Join">With whom it is made.</param>
/// <param name="Terms">The conditions.</param>
/// <param name="Input">The batch; taken over if <paramref name="Retain"/>, which the result tells.</param>
/// <param name="Arriving">What was found out of the batch while it arrived, or null.</param>
/// <param name="Retain">Whether to keep what backward needs.</param>
internal sealed record TrainStepCall(
    LayerSession Session, IJoin Join, ChangeTerms Terms, BatchInput Input, ArrivingBatch? Arriving, bool Retain);

/// <summary>What a train-step did.</summary>
/// <param name="Y">The normalized batch; the caller's to dispose.</param>
/// <param name="StepId">Names the retained step, or null.</param>
/// <param name="Step">The step: its statistics.</param>
/// <param name="Replay">Its answer, but for the batch's own part.</param>
/// <param name="Warnings">What the caller should know about the batch.</param>
internal sealed record TrainStepResult(
    TensorSource Y, string? StepId, PreparedStep Step, StepReplay Replay, IReadOnlyList<Finding> Warnings)
{
    public bool HasTakenInput { get; init; }

    public bool IsReplayed { get; init; }
}

/// <summary>
/// A train-step: the batch's moments depend on x alone and are gathered while it arrives; the commit is O(features); the beginning of y is
/// computed while the store makes the commit durable, and the rest while it is sent, which begins when the commit is durable.
/// </summary>
internal sealed class TrainStep(
    Commits commits, Alone alone, RetainedSteps retained, TrafficObserver observer, Computing computing, TimeProvider time)
{
    /// <summary>A batch of a call that is about to arrive.</summary>
    /// <param name="session">The session.</param>
    /// <param name="digits">What the numbers were before they were rounded; null where float32 has all of their digits.</param>
    public ArrivingBatch Arriving(LayerSession session, SentDigits? digits) => new(computing, session, digits);

    /// <summary>Normalizes a batch and moves the session's statistics.</summary>
    /// <param name="call">The call.</param>
    /// <param name="cancellationToken">Ends waiting for the store and for other ranks.</param>
    public async Task<TrainStepResult> RunAsync(TrainStepCall call, CancellationToken cancellationToken)
    {
        var begun = time.GetTimestamp();
        call.Input.RequireFit();
        while (true)
        {
            var batch = call.Input.On(computing.BatchOf(call.Session.Current.Layer, call.Input.X.Shape));
            var step = new PreparedStep(batch, null) { Own = call.Input.Own };
            if (await commits.FindAsync(call.Session, call.Terms.Key, cancellationToken) is { } earlier)
                return await ReplayAsync(call, step, StepReplay.Of(earlier), cancellationToken);
            batch.RequireMask(call.Input.Mask);
            // The running statistics are the same to every rank: there is nothing to wait for.
            var result = call.Join.IsAlone || !step.Layer.NormalizesWithBatch
                ? await MakeAsync(call, step, begun, cancellationToken)
                : await JoinAsync(call, step, cancellationToken);
            if (result is not null) return result;
        }
    }

    // Null where the call has been answered, or the session's mode been changed, since the step was prepared.
    private async Task<TrainStepResult?> MakeAsync(TrainStepCall call, PreparedStep step, long begun, CancellationToken cancellationToken)
    {
        var bytes = BytesToRetain(call, step);
        var (measured, y) = await MeasuredAsync(call, step, cancellationToken);
        try
        {
            step = measured with { Id = StepId(call) };
            if (call.Arriving?.LostFrom(step.Mean, step.Variance) is { } lost) step = step with { Lost = lost };
            // Once it is committed it must not fail for want of memory.
            var ofOutput = y is null ? Computing.OutputBytes(step.Batch, step.Statistics, call.Input.X) : 0;
            MemoryAccount.Expect(Commits.AnswerBytes + (64L * step.Layer.Features) + ofOutput);
            var change = new StepChange(step, call.Terms, observer) { Begun = begun };
            var committing = alone.CommitAsync(call.Session, change, cancellationToken);
            // What follows is the same whatever the store answers, and done while it writes.
            if (y is null)
            {
                // The change is on its way: it is answered however long its turn takes.
                using var turn = await computing.EnterAsync(call.Input.X.Shape, CancellationToken.None);
                y = computing.Output(step.Batch, step.Statistics, call.Input, isAhead: !committing.IsCompleted);
            }
            if (await committing is not Made<StepReplay> made)
            {
                y.Dispose();
                return null;
            }
            if (step.MovedTo(made.Before.Layer) is { } moved)
            {
                // First the old one goes: there is memory for one.
                y.Dispose();
                y = computing.Output(moved.Batch, moved.Statistics, call.Input);
                step = moved;
            }
            return Retained(call, new(y, step.Id, step, made.Answer, made.Answer.Warnings), bytes);
        }
        catch
        {
            y?.Dispose();
            throw;
        }
    }

    private async Task<TrainStepResult> JoinAsync(TrainStepCall call, PreparedStep step, CancellationToken cancellationToken)
    {
        var bytes = BytesToRetain(call, step);
        Moments own;
        using (await computing.EnterAsync(call.Input.X.Shape, cancellationToken)) own = OwnMoments(call, step.Batch);
        own.RequireFinite(call.Input.X, step.Layer.Options);
        var change = new StepChange(step, call.Terms, observer) { Own = own, Mask = call.Input.Mask, RankStepId = StepId(call) };
        var committed = (Replayed<StepReplay>)await call.Join.CommitAsync(call.Session, change, cancellationToken);
        var result = Result(call, step.As(committed.Answer.With, call.Input, null), committed.Answer, change.RankStepId);
        return Retained(call, result, bytes);
    }

    private async Task<TrainStepResult> ReplayAsync(
        TrainStepCall call, PreparedStep step, StepReplay replay, CancellationToken cancellationToken)
    {
        var own = replay.With.IsOwn ? await StatisticsAsync(call, step.Batch, cancellationToken) : null;
        return Result(call, step.As(replay.With, call.Input, own), replay, replay.StepId) with { IsReplayed = true };
    }

    // Null statistics where the running ones normalize the batch; y where it has to be computed together with the statistics.
    private async ValueTask<(PreparedStep Step, TensorSource? Y)> MeasuredAsync(
        TrainStepCall call, PreparedStep step, CancellationToken cancellationToken)
    {
        var (x, layer) = (call.Input.X, step.Layer);
        if (!layer.NormalizesWithBatch)
        {
            layer.RequireStatistics();
            using var looking = await computing.EnterAsync(x.Shape, cancellationToken);
            return (step with { Frozen = observer.Sample(call.Session, x) }, null);
        }
        if (layer.MovesWithBatch)
        {
            var statistics = await StatisticsAsync(call, step.Batch, cancellationToken);
            statistics.RequireFinite(x, layer.Options);
            return (step with { Statistics = statistics }, null);
        }
        var y = Tensor.Rent(x.Shape, x.Precision);
        try
        {
            using var turn = await computing.EnterAsync(x.Shape, cancellationToken);
            using var timed = computing.Begin(PassKind.Normalize, x.Shape);
            var statistics = step.Batch.MeasureAndWrite(x, call.Input.Residual, y);
            statistics.RequireFinite(x, layer.Options);
            return (step with { Statistics = statistics }, y);
        }
        catch
        {
            y.Dispose();
            throw;
        }
    }

    private async ValueTask<StepStatistics> StatisticsAsync(TrainStepCall call, Batch batch, CancellationToken cancellationToken)
    {
        using var turn = await computing.EnterAsync(call.Input.X.Shape, cancellationToken);
        return Arrived(call, batch) is { } arrived ? batch.Measure(call.Input.X, null, arrived) : computing.Measure(batch, call.Input);
    }

    private Moments OwnMoments(TrainStepCall call, Batch batch)
    {
        if (Arrived(call, batch) is { } arrived) return batch.OwnMoments(call.Input.X, null, arrived);
        using var timed = computing.Begin(PassKind.Moments, call.Input.X.Shape);
        return batch.OwnMoments(call.Input.X, call.Input.Mask);
    }

    private static Moments? Arrived(TrainStepCall call, Batch batch) =>
        call.Input.Mask is null && batch.GathersWhole ? call.Arriving?.Finish() : null;

    private TrainStepResult Result(TrainStepCall call, PreparedStep step, StepReplay replay, string? stepId)
    {
        var warnings = replay.Warnings;
        // What a rank has sent only that rank knows.
        if (replay.With.Joint is not null
            && Diagnosis.OfRounding(call.Arriving?.LostFrom(step.Mean, step.Variance), step.Mean, step.Variance) is { } rounding)
        {
            warnings = [rounding, .. warnings];
        }
        return new(computing.Output(step.Batch, step.Statistics, call.Input), stepId, step, replay, warnings);
    }

    private long BytesToRetain(TrainStepCall call, PreparedStep step)
    {
        if (!call.Retain) return 0;
        var bytes = RetainedStep.BytesOf(call.Input, step.Batch.Layout, step.Layer.Options.GhostBatchSize);
        retained.RequireRoom(bytes);
        return bytes;
    }

    private string? StepId(TrainStepCall call) => !call.Retain ? null : retained.NewId(call.Session.Id, call.Terms.Key);

    private TrainStepResult Retained(TrainStepCall call, TrainStepResult result, long bytes)
    {
        if (result.StepId is null) return result;
        var kept = new RetainedStep(result.StepId, call.Session.Id, call.Input, result.Step.Layer, result.Step.Statistics, bytes);
        // The output reads the batch after it may have been dropped again.
        if (result.Y is ComputedOutput computed) computed.Hold(kept);
        retained.Add(kept);
        // Deleted since the commit: its steps have been dropped already, without this one.
        if (call.Session.IsGone) retained.Drop(call.Session.Id);
        return result with { HasTakenInput = true };
    }
}
