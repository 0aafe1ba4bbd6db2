using BnService.Api.Errors;
using BnService.Api.Hosting.Telemetry;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>What a backward pass found.</summary>
/// <param name="Dx">Gradient by x; the caller's to dispose.</param>
/// <param name="Dresidual">Gradient by the residual where one was added; the caller's to dispose.</param>
/// <param name="Gradients">Gradients by gamma and beta.</param>
/// <param name="Layer">The layer that the gradient went through.</param>
/// <param name="Answer">What else is answered: the version, and gamma and beta where they were updated.</param>
/// <param name="IsReplayed">Whether the update was made, and answered, before.</param>
internal sealed record BackwardResult(
    Tensor Dx, Tensor? Dresidual, ParameterGradients Gradients, LayerState Layer, RememberedAnswer Answer, bool IsReplayed)
{
    /// <summary>Names of what an answer holds: the parameters after the update, and those that the gradients were computed with.</summary>
    public const string Gamma = "gamma", Beta = "beta";

    /// <summary>What rounding x to float32 has spoilt; null for nothing, and of what the server has kept.</summary>
    public Finding? Rounding { get; init; }

    private const string GammaBefore = "gamma_before", BetaBefore = "beta_before";

    /// <summary>The parameters after an update, and those that its gradients were computed with, where they were here: it moves what they were.</summary>
    public static Dictionary<string, double[]> ParametersOf(LayerState? before, LayerState after)
    {
        (string Name, double[]? Values)[] arrays = [(Gamma, after.Gamma), (Beta, after.Beta), (GammaBefore, before?.Gamma), (BetaBefore, before?.Beta)];
        return arrays.Where(array => array.Values is not null).ToDictionary(array => array.Name, array => array.Values!);
    }

    /// <summary>The layer with the parameters that gradients were computed with; the layer itself where they were not updated.</summary>
    public static LayerState Before(LayerState layer, RememberedAnswer earlier)
    {
        var (gamma, beta) = (earlier.Arrays.GetValueOrDefault(GammaBefore), earlier.Arrays.GetValueOrDefault(BetaBefore));
        return (gamma ?? beta) is null ? layer : layer with { Gamma = gamma, Beta = beta };
    }
}

/// <summary>Backward: through a retained step, or through x with the session's current state. An update is one more commit.</summary>
internal sealed class BackwardPass(SessionCatalog catalog, RetainedSteps retained, PassMeter passes, ComputeGate gate, ComputeSettings compute)
{
    /// <summary>Through a retained step, with the parameters and statistics that normalized it.</summary>
    public async Task<BackwardResult> ThroughStepAsync(
        LayerSession session, string stepId, Tensor dy, ParameterUpdate? update, ChangeTerms terms, CancellationToken cancellationToken)
    {
        using var step = await HoldAsync(session, stepId, terms, cancellationToken);
        if (step.Statistics is { AreJoint: true })
            throw new ProblemException(ProblemCode.InvalidOption, "step_id names a step that several ranks have made together: its gradient needs them all, and is asked for with sync/{group}/backward");
        RequireOwned(step, update);
        return await RunAsync(session, new(step.Input, step.Layer, step.Statistics), null, dy, update, terms, cancellationToken);
    }

    /// <summary>Through x, which the server has not kept.</summary>
    /// <param name="session">The session.</param>
    /// <param name="input">The input of the forward pass.</param>
    /// <param name="dy">Gradient by its output.</param>
    /// <param name="throughBatch">Whether the gradient flows through the batch's statistics, where the session's mode lets it.</param>
    /// <param name="digits">What the input was before it was rounded, or null.</param>
    /// <param name="update">How the gradients change gamma and beta, or null.</param>
    /// <param name="terms">The terms.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    public async Task<BackwardResult> ThroughInputAsync(
        LayerSession session, BatchInput input, Tensor dy, bool throughBatch, SentDigits? digits, ParameterUpdate? update, ChangeTerms terms,
        CancellationToken cancellationToken)
    {
        input.RequireFit();
        var batch = input.On(catalog.BatchOf(session.Current.Layer, input.X.Shape, compute));
        var layer = batch.Layer;
        var usesBatch = (throughBatch && layer.NormalizesWithBatch) || layer.Running is null;
        batch.RequireMask(input.Mask);
        // Gradients alone poison nothing; an update that would is refused when it is applied.
        StepStatistics? statistics = null;
        if (usesBatch)
        {
            using var turn = await gate.EnterAsync(input.X.Shape, cancellationToken);
            statistics = OfBatch();
            TrainStep.RequireRange(statistics, input.X);
        }
        var rounding = digits?.FindingFrom(layer, statistics);
        return await RunAsync(session, new(input, layer, statistics), OfBatch, dy, update, terms, cancellationToken) with { Rounding = rounding };

        StepStatistics OfBatch()
        {
            using var timed = passes.Begin(PassKind.Moments, input.X.Shape);
            return batch.Measure(input.X, input.Mask, isTraining: throughBatch);
        }
    }

    /// <summary>An update by gradients that were taken elsewhere.</summary>
    /// <param name="session">The session.</param>
    /// <param name="dgamma">Gradient by gamma; null leaves it as it is.</param>
    /// <param name="dbeta">Gradient by beta; null leaves it as it is.</param>
    /// <param name="update">How they change the parameters.</param>
    /// <param name="terms">The terms.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    /// <returns>The parameters after it, by their names, and whether it was made before.</returns>
    public async Task<(RememberedAnswer Answer, bool IsReplayed)> UpdateAsync(
        LayerSession session, double[]? dgamma, double[]? dbeta, ParameterUpdate update, ChangeTerms terms, CancellationToken cancellationToken)
    {
        var committed = await catalog.ChangeAsync(session, new SessionChange(record =>
        {
            terms.Check(record.Layer.Version);
            return record with { Layer = record.Layer.Update(update, dgamma, dbeta) };
        })
        {
            Key = terms.Key,
            Remember = terms.Key is not { } key ? null : (_, after) => [Answer(after) with { Key = key }],
        }, cancellationToken);
        return (committed.Replayed ?? Answer(committed.State), committed.Replayed is not null);

        static RememberedAnswer Answer(SessionRecord after) => new(after.Layer.Version, 0) { Arrays = BackwardResult.ParametersOf(null, after.Layer) };
    }

    /// <summary>Refuses to update parameters of the session by the gradients of a step that was normalized with others.</summary>
    public static void RequireOwned(RetainedStep step, ParameterUpdate? update)
    {
        if (update is not null && step.Input.Own is not null)
            throw new ProblemException(ProblemCode.InvalidOption, "update has nothing to update: the step was made with gamma and beta of the caller's, who applies the gradients to them");
    }

    // Without the step there is no dx; but whoever asks again must not take an update that was made for one that was not.
    private async Task<RetainedStep> HoldAsync(LayerSession session, string stepId, ChangeTerms terms, CancellationToken cancellationToken)
    {
        try
        {
            return retained.Hold(stepId, session.Id);
        }
        catch (ProblemException expired) when (terms.Key is not null)
        {
            if (await catalog.FindAnswerAsync(session, terms.Key, cancellationToken) is { } earlier && earlier.Arrays.Count > 0)
                throw new ProblemException(expired.Code, $"{expired.Message}; the update under Idempotency-Key '{terms.Key.Key}' was made, by version {earlier.Version}: resend x without it");
            throw;
        }
    }

    // A retained step stays as it was and needs no ofBatch; any other is remembered with the answer, and gathered again where it has to be.
    private async Task<BackwardResult> RunAsync(
        LayerSession session, ForwardStep step, Func<StepStatistics>? ofBatch, Tensor dy, ParameterUpdate? update, ChangeTerms terms,
        CancellationToken cancellationToken)
    {
        var shape = step.Input.X.Shape;
        if (!dy.Shape.Equals(shape))
            throw new LayerException(LayerError.ShapeMismatch, $"dy must have the shape of x, {shape}, got {dy.Shape}");
        var dx = Tensor.Rent(shape, dy.Precision);
        var dresidual = step.Input.Residual is null ? null : Tensor.Rent(shape, dy.Precision);
        try
        {
            ParameterGradients gradients;
            using (await gate.EnterAsync(shape, cancellationToken)) gradients = Differentiate(step, dy, dx, dresidual);
            var committed = await catalog.ChangeAsync(session, new SessionChange(record =>
            {
                terms.Check(record.Layer.Version);
                return update is null || shape.Count == 0
                    ? record
                    : record with { Layer = record.Layer.SizedFor(Layout.Of(shape, record.Layer.Options)).Update(update, gradients) };
            })
            {
                Key = terms.Key,
                Remember = terms.Key is not { } key ? null : (_, after) => [Remembered(after) with { Key = key }],
            }, cancellationToken);
            if (committed.Replayed is not { } earlier) return new BackwardResult(dx, dresidual, gradients, step.Layer, Answer(committed.State), false);
            if (Then(earlier) is { } then) gradients = Differentiate(then, dy, dx, dresidual);
            return new BackwardResult(dx, dresidual, gradients, step.Layer, earlier, true);
        }
        catch
        {
            dx.Dispose();
            dresidual?.Dispose();
            throw;
        }

        RememberedAnswer Remembered(SessionRecord after) =>
            ofBatch is null ? Answer(after) : NormalizedWith.Remembering(Answer(after), step.Layer, step.Statistics);

        // What the gradients were computed with: other calls have moved it since, and the update itself has.
        ForwardStep? Then(RememberedAnswer earlier)
        {
            var then = ofBatch is not null && NormalizedWith.Then(earlier, step.Layer, step.Statistics, ofBatch) is var (layer, statistics)
                ? step with { Layer = layer, Statistics = statistics }
                : step;
            var before = BackwardResult.Before(then.Layer, earlier);
            if (!ReferenceEquals(before, then.Layer)) then = then with { Layer = before };
            return ReferenceEquals(then, step) ? null : then;
        }

        RememberedAnswer Answer(SessionRecord after) => new(after.Layer.Version, after.Layer.Running?.BatchesTracked ?? 0)
        {
            Arrays = update is null ? [] : BackwardResult.ParametersOf(step.Layer, after.Layer),
        };
    }

    private ParameterGradients Differentiate(ForwardStep step, Tensor dy, Tensor dx, Tensor? dresidual)
    {
        using var timed = passes.Begin(PassKind.Gradients, step.Input.X.Shape);
        return Batch.Of(step.Layer, step.Input.X.Shape, compute).Gradients(
            step.Input.X, dy, step.Statistics, step.Input.Residual, dx, dresidual);
    }

    private sealed record ForwardStep(BatchInput Input, LayerState Layer, StepStatistics? Statistics);
}
