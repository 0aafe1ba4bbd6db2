using System.Reflection;
using BnService.Api.Contracts;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Memory;
using BnService.Api.Errors;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Sessions;
using BnService.Api.Wire;
using BnService.Api.Wire.OpenInference;
using Microsoft.AspNetCore.Mvc;
using Microsoft.Extensions.Options;

namespace BnService.Api.Endpoints;

/// <summary>
/// The Open Inference Protocol (KServe v2; kserve/open-inference-protocol, inference_rest.md) with Triton's extensions for binary
/// tensors, statistics, the repository and model configuration. A session is a model.
/// </summary>
internal static class OpenInferenceEndpoints
{
    // It says whether models are to be ready, and nothing else.
    private const int MostIndexBytes = 64 << 10;

    private static readonly ServerMetadata Server = new(
        Model.Platform,
        typeof(Model).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion.Split('+')[0],
        ["binary_tensor_data", "statistics", "model_repository", "model_configuration"]);

    public static void MapOpenInference(this IEndpointRouteBuilder routes)
    {
        // The protocol has a description of its own; the service's document is about its own calls.
        var group = routes.MapGroup("/v2").ExcludeFromDescription();
        group.MapGet("", () => new Answer<ServerMetadata>(Server)).Needs(Role.Reader);
        group.MapGet("/health/live", () => new Answer<ServerLive>(new ServerLive())).NeedsNoKey();
        group.MapGet("/health/ready", Ready).NeedsNoKey();
        group.MapGet("/models/stats", AllStatistics).Needs(Role.Reader);
        group.MapPost("/repository/index", Index).Needs(Role.Reader);
        foreach (var path in (string[])["/models/{session}", "/models/{session}/versions/{version}"])
        {
            var model = group.MapGroup(path);
            model.MapGet("", Metadata).Needs(Role.Reader);
            model.MapGet("/ready", (Model found) => new Answer<ModelReady>(new ModelReady(found.Name))).Needs(Role.Reader);
            model.MapGet("/config", Configuration).Needs(Role.Reader);
            model.MapGet("/stats", Statistics).Needs(Role.Reader);
            model.MapPost("/infer", Infer).Needs(Role.Reader).WithMetadata(new CompressedAnswerAttribute());
        }
    }

    private static Answer<ServerReady> Ready(Readiness readiness) => readiness.IsReady
        ? new(new ServerReady())
        : throw new ProblemException(ProblemCode.Overloaded, "the service is starting or stopping");

    private static async Task<Answer<ModelMetadata>> Metadata(Model model, Snapshots snapshots, CancellationToken cancellationToken)
    {
        ModelTensor Tensor(string name) => new(name, Datatypes.Described(model.Precision), [-1, .. model.Row]);
        var versions = (await snapshots.ListAsync(model.Session, cancellationToken))
            .Select(snapshot => Model.VersionText(snapshot.Version));
        return new(new ModelMetadata(
            model.Name, [.. versions.Reverse()], Model.Platform, [Tensor(InferText.Input)], [Tensor(InferText.Output)]));
    }

    private static Answer<ModelConfig> Configuration(Model model)
    {
        ModelConfigTensor Tensor(string name) => new(name, Datatypes.Configured(model.Precision), [-1, .. model.Row]);
        return new(new ModelConfig(model.Name, Model.Platform, 0, [Tensor(InferText.Input)], [Tensor(InferText.Output)]));
    }

    private static async Task Infer([AsParameters] InferCall call)
    {
        var (model, context, limits) = (call.Model, call.Context, call.Limits.Value);
        using var timing = new InferenceTiming(model.Session.Traffic.InferencesOf(model.Version), call.Time);
        var bytes = new RequestBytes(context.Request, limits.MaxBodyBytes);
        var header = context.Request.Headers[InferText.LengthHeader];
        if (header.Count == 0 && bytes.Length is { } length)
            await call.ReserveAsync(MemoryNeed.OfText<InferenceRequest>(length, model.Precision));
        using var reading = Spans.Of(Spans.Read);
        using var request = await InferRequest.OpenAsync(bytes, header, model.Row, model.Precision);
        MessageLimits.RequireTensor(limits, InferText.Input, request.Header.Shape);
        var answer = new InferAnswer(model.Name, model.Version, request.Header);
        if (call.StreamOf(request, bytes) is { } stream) await call.AnswerAsync(stream, request, answer, timing);
        else await call.AnswerAsync(request, answer, timing, reading);
    }

    private static IResult Statistics(Model model) => List(
        new[] { Entry(model.Name, model.Version, model.Session.Traffic.InferencesOf(model.Version).Totals) }.ToAsyncEnumerable());

    private static async Task<IResult> AllStatistics([AsParameters] ModelsCall call)
    {
        // One page of sessions after another is in memory, with all that is stored of them.
        if (RequestMemory.Of(call.Context) is { } memory) await memory.ReserveAsync(SessionLists.BytesOfPage);
        return List(call.All().Select(model =>
            Entry(model.Session.Name, model.Version, call.Catalog.TrafficOf(model.Session)?.InferencesOf(model.Version).Totals
                ?? default)));
    }

    private static IResult List(IAsyncEnumerable<ModelStatistics> models) => TypedResults.Json(
        new ModelStatisticsList(models), ContractJson.Context.ModelStatisticsList, MediaTypes.Json);

    private static ModelStatistics Entry(string name, string version, InferenceTotals totals) => new(
        name,
        version,
        totals.LastInference?.ToUnixTimeMilliseconds() ?? 0,
        totals.Samples,
        totals.Infer.Count,
        new InferenceStatistics(
            Duration(totals.Success),
            Duration(totals.Fail),
            Duration(totals.Queue),
            Duration(totals.Input),
            Duration(totals.Infer),
            Duration(totals.Output)));

    private static DurationStatistic Duration(TimesTaken times) => new(times.Count, times.Nanoseconds);

    private static async Task<IResult> Index([AsParameters] ModelsCall call, IOptions<LimitOptions> limits)
    {
        using var body = await BodyBuffer.ReadAsync(call.Context.Request, Math.Min(limits.Value.MaxBodyBytes, MostIndexBytes));
        var isReadyAsked = IndexRequest.AsksForReady(body.Bytes);
        return TypedResults.Json(
            call.All().Where(model => !isReadyAsked || model.Session.Damage == Damage.None).Select(Entry),
            ContractJson.Context.IAsyncEnumerableRepositoryEntry, MediaTypes.Json);
    }

    // Every session is ready, but for those that are damaged.
    private static RepositoryEntry Entry((SessionSummary Session, string Version) model) => model.Session.Damage == Damage.None
        ? new(model.Session.Name, model.Version, "READY", "")
        : new(model.Session.Name, model.Version, "UNAVAILABLE", "its stored state is damaged");
}

/// <summary>A call about all models.</summary>
internal readonly record struct ModelsCall(
    HttpContext Context, SessionScope Scope, [property: FromServices] SessionCatalog Catalog, [property: FromServices] Snapshots Snapshots)
{
    /// <summary>The live state of each session, and after it its snapshots.</summary>
    public IAsyncEnumerable<(SessionSummary Session, string Version)> All() => Snapshots.AllAsync(Scope, Context.RequestAborted)
        .SelectMany(found => found.Versions.Select(Model.VersionText).Prepend(Model.Live).Select(version => (found.Session, version)));
}

/// <summary>An infer call.</summary>
internal sealed record InferCall(
    Model Model,
    HttpContext Context,
    [property: FromServices] Inference Inference,
    [property: FromServices] TrafficObserver Observer,
    [property: FromServices] IOptions<LimitOptions> Limits,
    [property: FromServices] TimeProvider Time)
{
    /// <summary>The output where it can be sent while the input arrives; null where it cannot.</summary>
    public StreamedOutput? StreamOf(InferRequest request, RequestBytes bytes)
    {
        // A body that does not say how long it is may go on after the input.
        if (bytes.Length is null) return null;
        if (request is not { Header.IsOutputBinary: true, Incoming: { Bytes: >= StreamedOutput.FewestBytes } x }) return null;
        if (StreamedOutput.MayBeBeyond(x) || Inference.RunArriving(Model.Layer, x.Shape) is not { } arriving) return null;
        return new StreamedOutput(bytes, x, arriving, Observer.SampleArriving(Model.Session, x.Shape));
    }

    /// <summary>Answers with the output while the input arrives.</summary>
    public Task AnswerAsync(StreamedOutput stream, InferRequest request, InferAnswer answer, InferenceTiming timing)
    {
        // Arriving, computing and sending are one: what they take together is counted as computing.
        timing.Arrived();
        timing.Read();
        var (head, samples) = (answer.Begin(Context.Response), request.Header.Shape[0]);
        return stream.SendAsync(Context, head, request.Header.OutputDatatype, () => timing.Answered(samples));
    }

    public ValueTask ReserveAsync(long bytes) => RequestMemory.Of(Context)?.ReserveAsync(bytes) ?? ValueTask.CompletedTask;

    /// <summary>Answers with the output of the whole input.</summary>
    public async Task AnswerAsync(InferRequest request, InferAnswer answer, InferenceTiming timing, Span reading)
    {
        if (request.Incoming is { } incoming)
            await ReserveAsync(MemoryNeed.OfParts<InferenceRequest>([incoming], null, Model.Precision));
        var digits = request.MayBeRounded
            ? new SentDigits(SentDigits.LayoutOf(Model.Layer.Options, Model.Layer.Running is null)) { Again = request.ShowAgain }
            : null;
        var input = await request.ReadAsync(digits);
        timing.Arrived();
        var sample = Observer.Sample(Model.Session, input);
        timing.Read();
        reading.Dispose();
        var (y, rounding) = await Inference.RunAsync(Model.Layer, new BatchInput(input, null, null), digits, Context.RequestAborted);
        using var owned = y;
        Observer.Inferred(Model.Session, sample);
        answer.Warning = rounding;
        if (rounding is not null) Context.Response.Headers[DiagnosticsEndpoints.WarningsHeader] = rounding.Code;
        using var writing = Spans.Of(Spans.Write);
        await answer.WriteAsync(Context.Response, y, () => timing.Answered(input.Shape[0]));
    }
}
