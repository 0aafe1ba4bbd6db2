using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Limits;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Sessions;
using BnService.Api.Wire;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Endpoints;

/// <summary>The calls of the main job: train-step, inference and backward; alone, and joined with those of other ranks.</summary>
internal static class LayerEndpoints
{
    private const string AboutTrainStep =
        "Normalizes the batch with its own statistics (biased variance), applies gamma and beta, and moves the running statistics "
        + "by one step.";

    private const string AboutInference =
        "Normalizes with the running statistics and changes nothing; a single example is fine. `version` picks a snapshot. With "
        + "several nodes the state may be up to Storage:RefreshMs behind another node's, unless Bn-Min-Version asks for more.";

    private const string AboutBackward =
        "Gradients by x, gamma and beta, through a retained step (`step_id`) or through `x` sent again. With `update` they are "
        + "applied to gamma and beta in the same call.";

    private const string AboutUpdate =
        "The session's optimizer takes `dgamma` and `dbeta` that a client has summed itself, over several backward calls "
        + "(accumulation) or several machines, as `update` of backward takes its own.";

    private const string AboutSyncTrainStep =
        "Normalizes this rank's part of a batch with the statistics of the parts of all `world_size` ranks, each of which makes "
        + "this call with its `rank`, on any node; the calls wait for each other. The running statistics move once. Parts may have "
        + "different sizes, and may be empty. A rank that does not come ends the step for all, and nothing has changed. To a frozen "
        + "session there is nothing to wait for.";

    private const string AboutSyncBackward =
        "Gradients of this rank's part of a batch, through the statistics of the parts of all ranks: by x, and this part's own by "
        + "gamma and beta, whose sum over the ranks is that of the whole batch. `update`, the same for all ranks, applies that sum "
        + "once.";

    /// <summary>Maps the calls of a session.</summary>
    public static void MapLayer(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/sessions/{session}").WithTags("Layer");
        group.MapPost("/train-step", TrainStep).Trains().Fails(ProblemCode.NoRunningStatistics)
            .Describe("TrainStep", "Train on a batch", AboutTrainStep);
        group.MapPost("/inference", Infer).Needs(Role.Reader)
            .Reads<InferenceRequest>(MediaTypes.Tensors).Answers<InferenceResponse>(forms: MediaTypes.Tensors)
            .FindsVersion().ReadsRecent().HasQuery("version").FailsByBatch().Fails(ProblemCode.NoRunningStatistics)
            .Describe("Inference", "Infer a batch", AboutInference);
        group.MapPost("/backward", Backward).TakesBack()
            .Describe("Backward", "Gradients of a batch", AboutBackward);
        group.MapPost("/update", Update).Needs(Role.Trainer)
            .Reads<UpdateParametersRequest>(MediaTypes.Named).Answers<ParametersResponse>(forms: MediaTypes.Named).Changes()
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.NonFiniteInput, ProblemCode.InvalidOption, ProblemCode.LimitReached)
            .Describe("UpdateParameters", "Apply gradients from elsewhere", AboutUpdate);
    }

    /// <summary>Maps the calls that the ranks of a group make together.</summary>
    public static void MapSync(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/sessions/{session}/sync/{group}").WithTags("Synchronized");
        group.MapPost("/train-step", JoinTrainStep).Trains().JoinsRanks().Fails(ProblemCode.NoRunningStatistics)
            .Describe("SyncTrainStep", "Train on a part of a batch", AboutSyncTrainStep);
        group.MapPost("/backward", JoinBackward).TakesBack().JoinsRanks()
            .Describe("SyncBackward", "Gradients of a part of a batch", AboutSyncBackward);
    }

    private static Task<IResult> TrainStep([AsParameters] ChangingCall call, Body<TrainStepRequest> body, TrainStep training) =>
        TrainAsync(call.Found, body, training);

    private static Task<IResult> JoinTrainStep([AsParameters] RankCall call, Body<TrainStepRequest> body, TrainStep training) =>
        TrainAsync(call.Found, body, training);

    private static async Task<IResult> TrainAsync(SessionToChange found, Body<TrainStepRequest> body, TrainStep training)
    {
        await body.OpenAsync();
        var layer = found.Layer;
        var digits = body.Digits(layer.Options, layer.NormalizesWithBatch, request => request.X);
        using var arriving = training.Arriving(found.Session, digits);
        var outputs = WholeOutputs(layer.Options, layer.Running is null || !layer.Options.Kind.IsOverBatch);
        var request = await body.ReadAsync(arriving, layer.Options.Precision, outputs, keepsText: digits is not null);
        var input = new BatchInput(request.X, request.Residual, request.Mask) { Own = OwnParameters.Of(request.Gamma, request.Beta) };
        var step = await training.RunAsync(new(found.Session, found.Join, found.Terms, input, arriving, request.Retain), found.Aborted);
        if (step.HasTakenInput) (request.X, request.Residual) = (null!, null); // retained: no longer this request's to give back
        return new Answer<TrainStepResponse>(Response(step), step.Replay.Version) { IsReplayed = step.IsReplayed };
    }

    private static async Task<IResult> Infer(
        [AsParameters] ReadingCall call, Body<InferenceRequest> body, Inference inference, TrafficObserver observer)
    {
        var (session, layer, context) = call.Found;
        await body.OpenAsync();
        if (StreamedOutput.InputOf(body.Message, Negotiation.Of(context).Answer) is { } x && body.Message!.Begun is { } begun
            && inference.RunArriving(layer, x.Shape, OwnParameters.Of(begun.Gamma, begun.Beta)) is { } arriving)
        {
            var sampled = observer.SampleArriving(session, x.Shape);
            return new StreamedOutput(body.Message.Bytes, x, arriving, sampled).ToAnswer(layer.Version);
        }
        var digits = body.Digits(layer.Options, layer.Running is null, request => request.X);
        var outputs = WholeOutputs(layer.Options, layer.Running is null);
        var request = await body.ReadAsync(digits, layer.Options.Precision, outputs, keepsText: digits is not null);
        var sample = observer.Sample(session, request.X);
        var input = new BatchInput(request.X, request.Residual, null) { Own = OwnParameters.Of(request.Gamma, request.Beta) };
        var (y, rounding) = await inference.RunAsync(layer, input, digits, context.RequestAborted);
        observer.Inferred(session, sample);
        var answer = new InferenceResponse { Y = y, Version = layer.Version, Warnings = DiagnosticsEndpoints.Warnings(rounding) };
        return new Answer<InferenceResponse>(answer, layer.Version) { Rounding = rounding };
    }

    private static Task<IResult> Backward([AsParameters] ChangingCall call, Body<BackwardRequest> body, Differentiation gradients) =>
        TakeBackAsync(call.Found, body, gradients);

    private static Task<IResult> JoinBackward([AsParameters] RankCall call, Body<BackwardRequest> body, Differentiation gradients) =>
        TakeBackAsync(call.Found, body, gradients);

    private static async Task<IResult> TakeBackAsync(SessionToChange found, Body<BackwardRequest> body, Differentiation gradients)
    {
        await body.OpenAsync();
        var layer = found.Layer;
        var usesBatch = layer.Running is null || (layer.NormalizesWithBatch && !body.Says("mode", "inference"u8));
        var digits = body.Digits(layer.Options, usesBatch, request => request.X);
        var request = await body.ReadAsync(digits, layer.Options.Precision, keepsText: digits is not null);
        RequireStepOrInput(request);
        var call = new BackwardCall(found.Session, found.Join, found.Terms, request.Dy, request.Update?.ToUpdate());
        var result = request.StepId is { } stepId
            ? await gradients.ThroughStepAsync(call, stepId, found.Aborted)
            : await gradients.ThroughInputAsync(call, InputOf(request), request.Mode != BackwardMode.Inference, digits, found.Aborted);
        return new Answer<BackwardResponse>(Response(result), result.Replay.Version)
        {
            IsReplayed = result.IsReplayed,
            Rounding = result.Rounding,
        };
    }

    private static async Task<IResult> Update(
        [AsParameters] ChangingCall call, Body<UpdateParametersRequest> body, Differentiation gradients)
    {
        var (request, found) = (await body.ReadAsync(), call.Found);
        var change = new UpdateChange(request.Update.ToUpdate(), request.Dgamma, request.Dbeta, found.Terms);
        var (replay, isReplayed) = await gradients.UpdateAsync(found.Session, change, found.Aborted);
        var parameters = new ParametersResponse { Gamma = replay.After?.Gamma, Beta = replay.After?.Beta, Version = replay.Version };
        return new Answer<ParametersResponse>(parameters, replay.Version) { IsReplayed = isReplayed };
    }

    // Where y is not computed where it is sent from, it lies in memory as a whole; over the channels of positions, so do the rows of x.
    private static int WholeOutputs(NormalizerOptions options, bool isWhole) =>
        options.IsOverChannels ? 2 : isWhole || options.Precision == Precision.Float64 ? 1 : 0;

    // A gradient of which it is not clear what it goes through.
    private static void RequireStepOrInput(BackwardRequest request)
    {
        if (request.StepId is null == request.X is null) throw Invalid("send either step_id or x with dy, and not both");
        if (request is { StepId: not null, Mode: not null }) throw Invalid("mode belongs to x; with step_id the step decides");
        if (request.StepId is not null && (request.Mask is not null || request.Residual is not null))
            throw Invalid("mask and residual belong to x; with step_id the step knows them");
        if ((request.Gamma ?? request.Beta) is null) return;
        if (request.StepId is not null) throw Invalid("gamma and beta belong to x; with step_id the step knows them");
        if (request.Update is null) return;
        throw Invalid("update has nothing to update: gamma and beta of this call are the caller's, who applies the gradients to them; "
            + "send them or update");
    }

    private static BatchInput InputOf(BackwardRequest request) =>
        new(request.X!, request.Residual, request.Mask) { Own = OwnParameters.Of(request.Gamma, request.Beta) };

    private static TrainStepResponse Response(TrainStepResult result) => new()
    {
        Y = result.Y,
        StepId = result.StepId,
        BatchMean = result.Step.Mean,
        BatchVar = result.Step.Variance,
        Count = result.Step.Count,
        NumBatchesTracked = result.Replay.BatchesTracked,
        Version = result.Replay.Version,
        Warnings = [.. result.Warnings.Select(DiagnosticsEndpoints.Report)],
    };

    private static BackwardResponse Response(BackwardResult result) => new()
    {
        Dx = result.Dx,
        Dresidual = result.Dresidual,
        Dgamma = result.Layer.Gamma is null ? null : result.Gradients.DGamma,
        Dbeta = result.Layer.Beta is null ? null : result.Gradients.DBeta,
        Version = result.Replay.Version,
        Gamma = result.Replay.After?.Gamma,
        Beta = result.Replay.After?.Beta,
        ParameterShape = result.Layer.Options.ParameterShape(result.Dx.Shape),
        Warnings = DiagnosticsEndpoints.Warnings(result.Rounding),
    };

    private static ProblemException Invalid(string detail) => new(ProblemCode.InvalidOption, detail);

    private static RouteHandlerBuilder Trains(this RouteHandlerBuilder route) => route.Needs(Role.Trainer)
        .Reads<TrainStepRequest>(MediaTypes.Tensors).Answers<TrainStepResponse>(forms: MediaTypes.Tensors).Changes().FailsByBatch();

    private static RouteHandlerBuilder TakesBack(this RouteHandlerBuilder route) => route.Needs(Role.Trainer)
        .Reads<BackwardRequest>(MediaTypes.Tensors).Answers<BackwardResponse>(forms: MediaTypes.Tensors).Changes().FailsByBatch()
        .Fails(ProblemCode.StepExpired);

    private static RouteHandlerBuilder Changes(this RouteHandlerBuilder route) => route.FindsSession().ChangesState().RemembersAnswer();

    private static RouteHandlerBuilder FailsByBatch(this RouteHandlerBuilder route) => route.Fails(
        ProblemCode.ShapeMismatch, ProblemCode.BatchTooSmall, ProblemCode.NonFiniteInput, ProblemCode.InvalidOption,
        ProblemCode.LimitReached);

    private static RouteHandlerBuilder JoinsRanks(this RouteHandlerBuilder route) =>
        route.Takes(Place.Rank).HasQuery(SessionToChange.Rank, SessionToChange.WorldSize).Fails(ProblemCode.SyncTimeout);
}
