using BnService.Api.Contracts;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Errors;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Sessions;
using BnService.Api.Wire;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Endpoints;

/// <summary>The calls of the main job: train-step, inference, backward.</summary>
internal static class LayerEndpoints
{
    /// <summary>Maps the calls.</summary>
    public static void MapLayer(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/sessions/{session}").WithTags("Layer");
        group.MapPost("/train-step", TrainStep).Needs(Role.Trainer).Reads<TrainStepRequest>(MediaTypes.Tensors).Answers<TrainStepResponse>(forms: MediaTypes.Tensors).FindsSession().ChangesState().RemembersAnswer()
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.BatchTooSmall, ProblemCode.NonFiniteInput, ProblemCode.InvalidOption,
                ProblemCode.LimitReached, ProblemCode.NoRunningStatistics)
            .Describe("TrainStep", "Train on a batch", "Normalizes the batch with its own statistics (biased variance), applies gamma and beta, and moves the running statistics by one step.");
        group.MapPost("/inference", Infer).Needs(Role.Reader).Reads<InferenceRequest>(MediaTypes.Tensors).Answers<InferenceResponse>(forms: MediaTypes.Tensors).FindsVersion().ReadsRecent().HasQuery("version")
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.BatchTooSmall, ProblemCode.NonFiniteInput, ProblemCode.InvalidOption, ProblemCode.LimitReached,
                ProblemCode.NoRunningStatistics)
            .Describe("Inference", "Infer a batch", "Normalizes with the running statistics and changes nothing; a single example is fine. `version` picks a snapshot. With several nodes the state may be up to Storage:RefreshMs behind another node's, unless Bn-Min-Version asks for more.");
        group.MapPost("/backward", Backward).Needs(Role.Trainer).Reads<BackwardRequest>(MediaTypes.Tensors).Answers<BackwardResponse>(forms: MediaTypes.Tensors).FindsSession().ChangesState().RemembersAnswer()
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.BatchTooSmall, ProblemCode.NonFiniteInput, ProblemCode.InvalidOption,
                ProblemCode.StepExpired, ProblemCode.LimitReached)
            .Describe("Backward", "Gradients of a batch", "Gradients by x, gamma and beta, through a retained step (`step_id`) or through `x` sent again. With `update` they are applied to gamma and beta in the same call.");
        group.MapPost("/update", Update).Needs(Role.Trainer).Reads<UpdateParametersRequest>(MediaTypes.Named).Answers<ParametersResponse>(forms: MediaTypes.Named).FindsSession().ChangesState().RemembersAnswer()
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.NonFiniteInput, ProblemCode.InvalidOption, ProblemCode.LimitReached)
            .Describe("UpdateParameters", "Apply gradients from elsewhere", "The session's optimizer takes `dgamma` and `dbeta` that a client has summed itself, over several backward calls (accumulation) or several machines, as `update` of backward takes its own.");
    }

    private static async Task<IResult> Update(
        string session, Body<UpdateParametersRequest> body, ChangeHeaders headers, SessionScope scope, SessionCatalog catalog, BackwardPass backward,
        CancellationToken cancellationToken)
    {
        var found = await catalog.GetAsync(scope, session, cancellationToken);
        var request = await body.ReadAsync();
        var update = request.Update.ToUpdate();
        var (answer, isReplayed) = await backward.UpdateAsync(found, request.Dgamma, request.Dbeta, update, headers.Terms, cancellationToken);
        var parameters = new ParametersResponse
        {
            Gamma = answer.Arrays.GetValueOrDefault(BackwardResult.Gamma),
            Beta = answer.Arrays.GetValueOrDefault(BackwardResult.Beta),
            Version = answer.Version,
        };
        return new Answer<ParametersResponse>(parameters, answer.Version) { IsReplayed = isReplayed };
    }

    private static async Task<IResult> TrainStep(
        string session, Body<TrainStepRequest> body, ChangeHeaders headers, SessionScope scope, SessionCatalog catalog, TrainStep training,
        PassMeter passes, ComputeSettings compute, CancellationToken cancellationToken)
    {
        var found = await catalog.GetAsync(scope, session, cancellationToken);
        await body.OpenAsync();
        var layer = found.Current.Layer;
        var digits = body.Digits(layer.Options, layer.NormalizesWithBatch, request => request.X);
        using var gathered = new ArrivingBatch(catalog, found, digits, passes, compute);
        var request = await body.ReadAsync(gathered, layer.Options.Precision, WholeOutputs(layer.Options, layer.Running is null || !layer.Options.Kind.IsOverBatch), digits is not null);
        var input = new BatchInput(request.X, request.Residual, request.Mask) { Own = OwnParameters.Of(request.Gamma, request.Beta) };
        var step = await training.RunAsync(found, input, gathered, request.Retain, headers.Terms, cancellationToken);
        if (step.HasTakenInput) (request.X, request.Residual) = (null!, null); // retained: no longer this request's to give back
        return new Answer<TrainStepResponse>(Response(step), step.Version) { IsReplayed = step.IsReplayed };
    }

    // Where y is not computed where it is sent from, it lies in memory as a whole; over the channels of positions, so do the rows of x.
    private static int WholeOutputs(NormalizerOptions options, bool isWhole) =>
        options.IsOverChannels ? 2 : isWhole || options.Precision == Precision.Float64 ? 1 : 0;

    private static async Task<IResult> Infer(
        string session, string? version, Body<InferenceRequest> body, MinVersion least, HttpContext context, SessionScope scope, SessionCatalog catalog, Snapshots snapshots,
        Inference inference, TrafficObserver observer, CancellationToken cancellationToken)
    {
        var found = await catalog.GetRecentAsync(scope, session, least.Value, cancellationToken);
        var layer = await snapshots.LayerAsync(found, QueryNumber.Version(version), cancellationToken);
        await body.OpenAsync();
        if (StreamedOutput.InputOf(body.Message, Negotiation.Of(context).Answer) is { } x && inference.RunArriving(layer, x.Shape, OwnParameters.Of(body.Message!.Begun!.Gamma, body.Message.Begun.Beta)) is { } arriving)
            return new StreamedOutput(body.Message.Bytes, x, arriving, observer.SampleArriving(found, x.Shape)).ToAnswer(layer.Version);
        var options = layer.Options;
        var digits = body.Digits(options, layer.Running is null, request => request.X);
        var request = await body.ReadAsync(digits, options.Precision, WholeOutputs(options, layer.Running is null), digits is not null);
        var sample = observer.Sample(found, request.X);
        var input = new BatchInput(request.X, request.Residual, null) { Own = OwnParameters.Of(request.Gamma, request.Beta) };
        var (y, rounding) = await inference.RunAsync(layer, input, digits, cancellationToken);
        observer.Inferred(found, sample);
        var answer = new InferenceResponse { Y = y, Version = layer.Version, Warnings = DiagnosticsEndpoints.Warnings(rounding) };
        return new Answer<InferenceResponse>(answer, layer.Version) { Rounding = rounding };
    }

    private static async Task<IResult> Backward(
        string session, Body<BackwardRequest> body, ChangeHeaders headers, SessionScope scope, SessionCatalog catalog, BackwardPass backward,
        CancellationToken cancellationToken)
    {
        var found = await catalog.GetAsync(scope, session, cancellationToken);
        await body.OpenAsync();
        var digits = DigitsOf(body, found.Current.Layer);
        var request = await body.ReadAsync(digits, found.Current.Layer.Options.Precision, keepsText: digits is not null);
        RequireStepOrInput(request);
        var update = request.Update?.ToUpdate();
        var result = request.StepId is { } stepId
            ? await backward.ThroughStepAsync(found, stepId, request.Dy, update, headers.Terms, cancellationToken)
            : await backward.ThroughInputAsync(found, InputOf(request), request.Dy, request.Mode != BackwardMode.Inference, digits, update, headers.Terms, cancellationToken);
        return new Answer<BackwardResponse>(Response(result), result.Answer.Version) { IsReplayed = result.IsReplayed, Rounding = result.Rounding };
    }

    /// <summary>Watches the digits of what a gradient goes through; null where float32 has all of them.</summary>
    internal static SentDigits? DigitsOf(Body<BackwardRequest> body, LayerState layer) =>
        body.Digits(layer.Options, layer.Running is null || (layer.NormalizesWithBatch && !body.Says("mode", "inference"u8)), request => request.X);

    /// <summary>Refuses a gradient of which it is not clear what it goes through.</summary>
    /// <exception cref="ProblemException">Both or neither of step_id and x, or something that belongs to the other one.</exception>
    internal static void RequireStepOrInput(BackwardRequest request)
    {
        if (request.StepId is null == request.X is null) throw Invalid("send either step_id or x with dy, and not both");
        if (request is { StepId: not null, Mode: not null }) throw Invalid("mode belongs to x; with step_id the step decides");
        if (request.StepId is not null && (request.Mask is not null || request.Residual is not null))
            throw Invalid("mask and residual belong to x; with step_id the step knows them");
        if ((request.Gamma ?? request.Beta) is null) return;
        if (request.StepId is not null) throw Invalid("gamma and beta belong to x; with step_id the step knows them");
        if (request.Update is not null)
            throw Invalid("update has nothing to update: gamma and beta of this call are the caller's, who applies the gradients to them; send them or update");
    }

    /// <summary>The input of a forward pass, which the request brings.</summary>
    internal static BatchInput InputOf(BackwardRequest request) =>
        new(request.X!, request.Residual, request.Mask) { Own = OwnParameters.Of(request.Gamma, request.Beta) };

    /// <summary>A train-step in the contract's terms.</summary>
    internal static TrainStepResponse Response(TrainStepResult step) => new()
    {
        Y = step.Y,
        StepId = step.StepId,
        BatchMean = step.Mean,
        BatchVar = step.Variance,
        Count = step.Count,
        NumBatchesTracked = step.BatchesTracked,
        Version = step.Version,
        Warnings = [.. step.Warnings.Select(DiagnosticsEndpoints.Report)],
    };

    /// <summary>Gradients in the contract's terms.</summary>
    internal static BackwardResponse Response(BackwardResult result) => new()
    {
        Dx = result.Dx,
        Dresidual = result.Dresidual,
        Dgamma = result.Layer.Gamma is null ? null : result.Gradients.DGamma,
        Dbeta = result.Layer.Beta is null ? null : result.Gradients.DBeta,
        Version = result.Answer.Version,
        Gamma = result.Answer.Arrays.GetValueOrDefault(BackwardResult.Gamma),
        Beta = result.Answer.Arrays.GetValueOrDefault(BackwardResult.Beta),
        ParameterShape = result.Layer.Options.ParameterShape(result.Dx.Shape),
        Warnings = DiagnosticsEndpoints.Warnings(result.Rounding),
    };

    private static ProblemException Invalid(string detail) => new(ProblemCode.InvalidOption, detail);
}
