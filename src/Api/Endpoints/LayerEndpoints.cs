using BnService.Api.Contracts;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Hosting.Problems;
using BnService.Api.Sessions;
using BnService.Api.Wire;
using BnService.Core;
using BnService.Core.Statistics;

namespace BnService.Api.Endpoints;

/// <summary>The calls of the main job: train-step, inference, backward.</summary>
internal static class LayerEndpoints
{
    /// <summary>Maps the calls.</summary>
    public static void MapLayer(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/sessions/{session}").WithTags("Layer");
        group.MapPost("/train-step", TrainStep).Reads<TrainStepRequest>(MediaTypes.Tensors).Answers<TrainStepResponse>(forms: MediaTypes.Tensors).FindsSession().ChangesState()
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.BatchTooSmall, ProblemCode.NonFiniteInput, ProblemCode.InvalidOption,
                ProblemCode.LimitReached, ProblemCode.NoRunningStatistics)
            .Describe("TrainStep", "Train on a batch", "Normalizes the batch with its own statistics (biased variance), applies gamma and beta, and moves the running statistics by one step.");
        group.MapPost("/inference", Infer).Reads<InferenceRequest>(MediaTypes.Tensors).Answers<InferenceResponse>(forms: MediaTypes.Tensors).FindsSession()
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.BatchTooSmall, ProblemCode.NonFiniteInput, ProblemCode.InvalidOption, ProblemCode.LimitReached,
                ProblemCode.NoRunningStatistics)
            .Describe("Inference", "Infer a batch", "Normalizes with the running statistics and changes nothing; a single example is fine.");
        group.MapPost("/backward", Backward).Reads<BackwardRequest>(MediaTypes.Tensors).Answers<BackwardResponse>(forms: MediaTypes.Tensors).FindsSession().ChangesState()
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.BatchTooSmall, ProblemCode.NonFiniteInput, ProblemCode.InvalidOption,
                ProblemCode.StepExpired, ProblemCode.LimitReached)
            .Describe("Backward", "Gradients of a batch", "Gradients by x, gamma and beta, through a retained step (`step_id`) or through `x` sent again. With `update` they are applied to gamma and beta in the same call.");
    }

    private static async Task<IResult> TrainStep(
        string session, Incoming<TrainStepRequest> body, Precondition ifMatch, SessionCatalog catalog, TrainStep training,
        TrafficObserver observer, ComputeSettings compute, CancellationToken cancellationToken)
    {
        var found = await catalog.GetAsync(session, cancellationToken);
        using var gathered = new ArrivingBatch(catalog, found, compute);
        var request = await body.ReadAsync(gathered);
        var input = new BatchInput(request.X, request.Residual, request.Mask.ToMask());
        var frozen = found.Current.Layer.NormalizesWithBatch ? null : observer.Sample(found, request.X);
        var step = await training.RunAsync(found, input, gathered, request.Retain, ifMatch.Check, cancellationToken);
        if (step.StepId is not null) (request.X, request.Residual) = (null!, null); // retained: no longer this request's to give back
        return new Answer<TrainStepResponse>(Response(step, observer.Stepped(found, step, frozen)), step.State.Layer.Version);
    }

    private static async Task<IResult> Infer(
        string session, Incoming<InferenceRequest> body, HttpContext context, SessionCatalog catalog, Inference inference, TrafficObserver observer,
        CancellationToken cancellationToken)
    {
        var found = await catalog.GetAsync(session, cancellationToken);
        if (StreamedInference.InputOf(body.Message, Negotiation.Of(context).Answer) is { } x && inference.RunArriving(found, x.Shape) is { } arriving)
            return new StreamedInference(new(body.Message.Bytes!, x, arriving.Output, observer.SampleArriving(found, x.Shape)), x.Shape, arriving.Version);
        var request = await body.ReadAsync(null);
        var sample = observer.Sample(found, request.X);
        var (y, version) = inference.Run(found, new BatchInput(request.X, request.Residual, null));
        observer.Inferred(found, sample);
        return new Answer<InferenceResponse>(new InferenceResponse { Y = y, Version = version }, version);
    }

    private static async Task<IResult> Backward(
        string session, Body<BackwardRequest> body, Precondition ifMatch, SessionCatalog catalog, BackwardPass backward,
        CancellationToken cancellationToken)
    {
        var request = body.Value;
        if (request.StepId is null == request.X is null) throw Invalid("send either step_id or x with dy, and not both");
        if (request is { StepId: not null, Mode: not null }) throw Invalid("mode belongs to x; with step_id the step decides");
        if (request.StepId is not null && (request.Mask is not null || request.Residual is not null))
            throw Invalid("mask and residual belong to x; with step_id the step knows them");
        var update = request.Update?.ToUpdate();
        var found = await catalog.GetAsync(session, cancellationToken);
        var result = request.StepId is { } stepId
            ? await backward.ThroughStepAsync(found, stepId, request.Dy, update, ifMatch.Check, cancellationToken)
            : await backward.ThroughInputAsync(found, new(request.X!, request.Residual, request.Mask.ToMask()), request.Dy, request.Mode != BackwardMode.Inference, update, ifMatch.Check, cancellationToken);
        return new Answer<BackwardResponse>(Response(result, update is not null), result.State.Layer.Version);
    }

    private static TrainStepResponse Response(TrainStepResult step, IReadOnlyList<Finding> findings) => new()
    {
        Y = step.Y,
        StepId = step.StepId,
        BatchMean = step.Mean,
        BatchVar = step.Variance,
        Count = step.Count,
        NumBatchesTracked = step.State.Layer.Running?.BatchesTracked ?? 0,
        Version = step.State.Layer.Version,
        Warnings = [.. findings.Select(DiagnosticsEndpoints.Report)],
    };

    private static BackwardResponse Response(BackwardResult result, bool updated)
    {
        var layer = result.State.Layer;
        return new BackwardResponse
        {
            Dx = result.Dx,
            Dresidual = result.Dresidual,
            Dgamma = layer.Gamma is null ? null : result.Gradients.DGamma,
            Dbeta = layer.Beta is null ? null : result.Gradients.DBeta,
            Version = layer.Version,
            Gamma = updated ? layer.Gamma : null,
            Beta = updated ? layer.Beta : null,
        };
    }

    private static ProblemException Invalid(string detail) => new(ProblemCode.InvalidOption, detail);
}
