using BnService.Api.Errors;
using BnService.Api.Hosting.Telemetry;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>Gradients that are asked for.</summary>
/// <param name="Session">The session.</param>
/// <param name="Join">With whom they are taken.</param>
/// <param name="Terms">The conditions.</param>
/// <param name="Dy">Gradient by the output; of ranks its memory is used.</param>
/// <param name="Update">How the gradients change gamma and beta, or null; the same for all ranks.</param>
internal sealed record BackwardCall(LayerSession Session, IJoin Join, ChangeTerms Terms, Tensor Dy, ParameterUpdate? Update);

/// <summary>What backward found.</summary>
/// <param name="Dx">Gradient by x; the caller's to dispose.</param>
/// <param name="Dresidual">Gradient by the residual where one was added; the caller's to dispose.</param>
/// <param name="Gradients">Gradients by gamma and beta.</param>
/// <param name="Layer">The layer that the gradient went through.</param>
/// <param name="Replay">What else is answered: the version, and gamma and beta where they were updated.</param>
/// <param name="IsReplayed">Whether the update was made, and answered, before.</param>
internal sealed record BackwardResult(
    Tensor Dx, Tensor? Dresidual, ParameterGradients Gradients, LayerState Layer, GradientReplay Replay, bool IsReplayed)
{
    /// <summary>What rounding x to float32 has spoilt; null for nothing, and for what the server has kept.</summary>
    public Finding? Rounding { get; init; }
}

/// <summary>
/// Backward: through a retained step, or through x with the session's current state. An update is one more commit. Ranks add their gradient
/// sums, each takes its gradient by x from those of all, and gamma and beta are updated once with the gradients of the whole batch.
/// </summary>
internal sealed class Differentiation(Commits commits, RetainedSteps retained, Computing computing)
{
    /// <summary>Through a retained step, with the parameters and statistics that normalized it.</summary>
    public async Task<BackwardResult> ThroughStepAsync(BackwardCall call, string stepId, CancellationToken cancellationToken)
    {
        using var step = await HoldAsync(call, stepId, cancellationToken);
        if (step.Statistics is { } statistics && statistics.AreJoint == call.Join.IsAlone)
        {
            throw new ProblemException(ProblemCode.InvalidOption, call.Join.IsAlone
                ? "step_id names a step that several ranks have made together: its gradient needs them all, and is asked for with "
                    + "sync/{group}/backward"
                : "step_id names a step that was not synchronized: its gradient is its own, and asked for with backward");
        }
        if (call.Update is not null && step.Input.Own is not null)
        {
            throw new ProblemException(ProblemCode.InvalidOption,
                "update has nothing to update: the step was made with gamma and beta of the caller's, who applies the gradients to them");
        }
        var earlier = await EarlierAsync(call, cancellationToken);
        var batch = computing.BatchOf(step.Layer, step.Input.X.Shape);
        return await RunAsync(call, new(step.Input, batch, step.Statistics) { IsRetained = true }, earlier, cancellationToken);
    }

    /// <summary>Through x, which the server has not kept.</summary>
    /// <param name="call">The call.</param>
    /// <param name="input">The input of the train-step or inference.</param>
    /// <param name="throughBatch">Whether the gradient flows through the batch's statistics, where the session's mode lets it.</param>
    /// <param name="digits">What the input was before it was rounded, or null.</param>
    /// <param name="cancellationToken">Ends waiting.</param>
    public async Task<BackwardResult> ThroughInputAsync(
        BackwardCall call, BatchInput input, bool throughBatch, SentDigits? digits, CancellationToken cancellationToken)
    {
        input.RequireFit();
        var batch = input.On(computing.BatchOf(call.Session.Current.Layer, input.X.Shape));
        var layer = batch.Layer;
        batch.RequireMask(input.Mask);
        input.RequireGradient(call.Dy);
        var earlier = await EarlierAsync(call, cancellationToken);
        var usesBatch = (throughBatch && layer.NormalizesWithBatch) || layer.Running is null;
        // A repetition goes the way that the call went.
        if (earlier is not null) usesBatch = call.Join.IsAlone ? earlier.With!.IsOwn : earlier.Sums is not null;
        var step = new ForwardStep(input, batch, null) { IsTraining = throughBatch };
        if (usesBatch && call.Join.IsAlone) step = await MeasuredAsync(step, cancellationToken);
        else if (usesBatch) step = await JoinedAsync(call, step, earlier, cancellationToken);
        var rounding = digits?.FindingFrom(step.Layer, step.Statistics);
        return await RunAsync(call, step, earlier, cancellationToken) with { Rounding = rounding };
    }

    /// <summary>An update by gradients that were taken elsewhere; null leaves a parameter as it is.</summary>
    /// <returns>The parameters after it, and whether it was made before.</returns>
    public async Task<(GradientReplay Replay, bool IsReplayed)> UpdateAsync(
        LayerSession session, UpdateChange change, CancellationToken cancellationToken)
    {
        if (await commits.FindAsync(session, change.Terms.Key, cancellationToken) is { } earlier) return (change.Read(earlier), true);
        return await commits.CommitAsync(session, change, cancellationToken) switch
        {
            Made<GradientReplay> made => (made.Answer, false),
            var other => (((Replayed<GradientReplay>)other).Answer, true),
        };
    }

    // Without the step there is no dx; but an update that was made must not be taken for one that was not.
    private async Task<RetainedStep> HoldAsync(BackwardCall call, string stepId, CancellationToken cancellationToken)
    {
        try
        {
            return retained.Hold(stepId, call.Session.Id);
        }
        catch (ProblemException expired) when (call.Terms.Key is not null)
        {
            if (await EarlierAsync(call, cancellationToken) is not { After: not null } earlier) throw;
            throw new ProblemException(expired.Code,
                $"{expired.Message}; the update under Idempotency-Key '{call.Terms.Key.Key}' was made, by version {earlier.Version}: "
                + "resend x without it");
        }
    }

    private async ValueTask<GradientReplay?> EarlierAsync(BackwardCall call, CancellationToken cancellationToken) =>
        await commits.FindAsync(call.Session, call.Terms.Key, cancellationToken) is { } replay ? GradientReplay.Of(replay) : null;

    private async ValueTask<ForwardStep> MeasuredAsync(ForwardStep step, CancellationToken cancellationToken)
    {
        using var turn = await computing.EnterAsync(step.Shape, cancellationToken);
        var statistics = computing.Measure(step.Batch, step.Input, step.IsTraining);
        // Gradients alone poison nothing; an update that would is refused when it is applied.
        statistics.RequireRange(step.Input.X);
        return step with { Statistics = statistics };
    }

    // The statistics of all ranks once more, which move nothing.
    private async ValueTask<ForwardStep> JoinedAsync(
        BackwardCall call, ForwardStep step, GradientReplay? earlier, CancellationToken cancellationToken)
    {
        // A repetition finds both halves of what was done, or the first one.
        var terms = call.Terms.Key is { } key ? call.Terms with { Key = key with { Topic = MomentsChange.Name } } : call.Terms;
        Moments own;
        using (await computing.EnterAsync(step.Shape, cancellationToken))
        using (computing.Begin(PassKind.Moments, step.Shape)) own = step.Batch.OwnMoments(step.Input.X, step.Input.Mask);
        if (earlier is null) call.Terms.Check(call.Session.Current.Layer.Version);
        var change = new MomentsChange(step.Batch, own, step.Input.Mask, terms);
        var with = await commits.FindAsync(call.Session, terms.Key, cancellationToken) is { } half
            ? change.Read(half)
            : ((Replayed<NormalizedReplay>)await call.Join.CommitAsync(call.Session, change, cancellationToken)).Answer;
        var (batch, statistics) = with.With.Apply(step.Batch, step.Input, null);
        return step with { Batch = batch, Statistics = statistics };
    }

    private async Task<BackwardResult> RunAsync(
        BackwardCall call, ForwardStep step, GradientReplay? earlier, CancellationToken cancellationToken)
    {
        step.Input.RequireGradient(call.Dy);
        while (true)
        {
            var isMeasured = step.IsRetained || step.Statistics is not null || !call.Join.IsAlone;
            if (!isMeasured && earlier is { With.IsOwn: true }) step = await MeasuredAsync(step, cancellationToken);
            // What the gradients were computed with: other calls have moved it since, and the update itself has.
            var then = earlier is null ? step : step.As(earlier, call.Join.IsAlone);
            if (await TryRunAsync(call, then, earlier, cancellationToken) is { } result) return result;
            earlier = await EarlierAsync(call, cancellationToken);
        }
    }

    // Null where the same call has been made meanwhile.
    private async Task<BackwardResult?> TryRunAsync(
        BackwardCall call, ForwardStep step, GradientReplay? earlier, CancellationToken cancellationToken)
    {
        var (input, batch) = (step.Input, step.Batch);
        var isJoint = !call.Join.IsAlone && step.Statistics is not null;
        var dx = Tensor.Rent(step.Shape, call.Dy.Precision);
        var dresidual = input.Residual is null ? null : Tensor.Rent(step.Shape, call.Dy.Precision);
        // What the two halves of ranks share is also the gradient by the residual; without one it lies in dy's memory.
        var shared = dresidual ?? call.Dy;
        try
        {
            var change = new GradientChange(step, call.Update, call.Terms);
            // The turn is over before other ranks are waited for, which may come here.
            using (await computing.EnterAsync(step.Shape, cancellationToken))
            using (computing.Begin(PassKind.Gradients, step.Shape))
            {
                change = isJoint
                    ? change with { Sums = batch.SumGradients(input.X, call.Dy, step.Statistics!, input.Residual, shared) }
                    : change with { Gradients = batch.Gradients(input.X, call.Dy, step.Statistics, input.Residual, dx, dresidual) };
            }
            var answer = earlier ?? await CommitAsync(call, change, cancellationToken);
            if (answer is null)
            {
                dx.Dispose();
                dresidual?.Dispose();
                return null;
            }
            var gradients = change.Gradients;
            if (isJoint)
            {
                using var timed = computing.Begin(PassKind.Gradients, step.Shape);
                gradients = batch.JoinedGradients(input.X, shared, step.Statistics!, change.Sums!, answer.Sums!, dx);
            }
            return new BackwardResult(dx, dresidual, gradients!, step.Layer, answer, earlier is not null);
        }
        catch
        {
            dx.Dispose();
            dresidual?.Dispose();
            throw;
        }
    }

    private static async Task<GradientReplay?> CommitAsync(BackwardCall call, GradientChange change, CancellationToken cancellationToken) =>
        await call.Join.CommitAsync(call.Session, change, cancellationToken) switch
        {
            Made<GradientReplay> made => made.Answer,
            Replayed<GradientReplay> told when !call.Join.IsAlone => told.Answer,
            _ => null,
        };
}
