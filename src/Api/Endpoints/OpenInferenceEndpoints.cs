using System.Globalization;
using System.Reflection;
using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Memory;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Sessions;
using BnService.Api.Wire;
using BnService.Api.Wire.OpenInference;
using BnService.Core.Layers;
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

    private static readonly ServerMetadata Server = new()
    {
        Name = Model.Platform,
        Version = typeof(OpenInferenceEndpoints).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion.Split('+')[0],
        Extensions = ["binary_tensor_data", "statistics", "model_repository", "model_configuration"],
    };

    /// <summary>Maps the calls.</summary>
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
            model.MapGet("/ready", (Model found) => new Answer<ModelReady>(new ModelReady { Name = found.Name })).Needs(Role.Reader);
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
        ModelTensor Tensor(string name) => new() { Name = name, Datatype = Datatypes.Described(model.Precision), Shape = [-1, .. model.Row] };
        return new(new ModelMetadata
        {
            Name = model.Name,
            Versions = [.. (await snapshots.ListAsync(model.Session, cancellationToken)).Select(snapshot => Text(snapshot.Version)).Reverse()],
            Platform = Model.Platform,
            Inputs = [Tensor(InferText.Input)],
            Outputs = [Tensor(InferText.Output)],
        });
    }

    private static Answer<ModelConfig> Configuration(Model model)
    {
        ModelConfigTensor Tensor(string name) => new() { Name = name, DataType = Datatypes.Configured(model.Precision), Dims = [-1, .. model.Row] };
        return new(new ModelConfig
        {
            Name = model.Name,
            Platform = Model.Platform,
            Input = [Tensor(InferText.Input)],
            Output = [Tensor(InferText.Output)],
        });
    }

    private static async Task Infer(
        Model model, HttpContext context, Inference inference, TrafficObserver observer, IOptions<LimitOptions> limits, TimeProvider time)
    {
        using var timing = new InferenceTiming(model.Session.Traffic.InferencesOf(model.Version), time);
        var bytes = new RequestBytes(context.Request, limits.Value.MaxBodyBytes);
        var (memory, header) = (RequestMemory.Of(context), context.Request.Headers[InferText.LengthHeader]);
        if (memory is not null && header.Count == 0 && bytes.Length is { } length) await memory.ReserveAsync(MemoryNeed.OfText<InferenceRequest>(length, model.Precision));
        using var reading = Spans.Of(Spans.Read);
        using var request = await InferRequest.OpenAsync(bytes, header, model.Row, model.Precision);
        TensorLimits.Require(limits.Value, InferText.Input, request.Header.Shape);
        var (answer, shape) = (new InferAnswer(model.Name, model.Version, request.Header), request.Header.Shape);
        // Of a body that says how long it is nothing but the input is left.
        if (bytes.Length is not null && request is { Header.IsOutputBinary: true, Incoming: { Bytes: >= StreamedOutput.FewestBytes } x }
            && !StreamedInference.MayBeBeyond(x) && inference.RunArriving(model.Layer, shape) is { } arriving)
        {
            // Arriving, computing and sending are one: what they take together is counted as computing.
            timing.Arrived();
            timing.Read();
            var output = new StreamedOutput(bytes, x, arriving, observer.SampleArriving(model.Session, shape));
            await output.SendAsync(context, answer.Begin(context.Response), request.Header.OutputDatatype, () => timing.Answered(shape[0]));
            return;
        }
        if (memory is not null && request.Incoming is { } incoming) await memory.ReserveAsync(MemoryNeed.OfParts<InferenceRequest>([incoming], null, model.Precision));
        var digits = request.MayBeRounded ? DigitsOf(request, model.Layer) : null;
        var input = await request.ReadAsync(digits);
        timing.Arrived();
        var sample = observer.Sample(model.Session, input);
        timing.Read();
        reading.Dispose();
        var (y, rounding) = await inference.RunAsync(model.Layer, new BatchInput(input, null, null), digits, context.RequestAborted);
        using var owned = y;
        observer.Inferred(model.Session, sample);
        if (rounding is not null)
        {
            answer = new InferAnswer(model.Name, model.Version, request.Header) { Warning = rounding };
            context.Response.Headers[DiagnosticsEndpoints.WarningsHeader] = rounding.Code;
        }
        using var writing = Spans.Of(Spans.Write);
        await answer.WriteAsync(context.Response, y, () => timing.Answered(shape[0]));
    }

    private static SentDigits DigitsOf(InferRequest request, LayerState layer) =>
        new(SentDigits.LayoutOf(layer.Options, layer.Running is null)) { Again = request.ShowAgain };

    private static IResult Statistics(Model model) => TypedResults.Json(
        new ModelStatisticsList { ModelStats = new[] { Entry(model.Name, model.Version, model.Session.Traffic.InferencesOf(model.Version).Totals) }.ToAsyncEnumerable() },
        ContractJson.Context.ModelStatisticsList, MediaTypes.Json);

    private static async Task<IResult> AllStatistics(
        HttpContext context, SessionScope scope, SessionCatalog catalog, Snapshots snapshots, CancellationToken cancellationToken)
    {
        await ReservePageAsync(context);
        return TypedResults.Json(
            new ModelStatisticsList
            {
                ModelStats = Versions(scope, snapshots, cancellationToken)
                    .Select(model => Entry(model.Session.Name, model.Version, catalog.TrafficOf(model.Session)?.InferencesOf(model.Version).Totals ?? default)),
            },
            ContractJson.Context.ModelStatisticsList, MediaTypes.Json);
    }

    // A page of sessions after the other is in memory, with all that is stored of them.
    private static ValueTask ReservePageAsync(HttpContext context) =>
        RequestMemory.Of(context) is { } memory ? memory.ReserveAsync(SessionLists.BytesOfPage) : ValueTask.CompletedTask;

    // The live state of each session, and behind it its snapshots.
    private static IAsyncEnumerable<(SessionSummary Session, string Version)> Versions(
        SessionScope scope, Snapshots snapshots, CancellationToken cancellationToken) =>
        snapshots.AllAsync(scope, cancellationToken).SelectMany(found => found.Versions.Select(Text).Prepend(Model.Live).Select(version => (found.Session, version)));

    private static string Text(long version) => version.ToString(CultureInfo.InvariantCulture);

    private static ModelStatistics Entry(string name, string version, InferenceTotals totals) => new()
    {
        Name = name,
        Version = version,
        LastInference = totals.LastInference?.ToUnixTimeMilliseconds() ?? 0,
        InferenceCount = totals.Samples,
        ExecutionCount = totals.Infer.Count,
        InferenceStats = new InferenceStatistics
        {
            Success = Duration(totals.Success),
            Fail = Duration(totals.Fail),
            Queue = Duration(totals.Queue),
            ComputeInput = Duration(totals.Input),
            ComputeInfer = Duration(totals.Infer),
            ComputeOutput = Duration(totals.Output),
        },
    };

    private static DurationStatistic Duration(TimesTaken times) => new(times.Count, times.Nanoseconds);

    private static async Task<IResult> Index(
        HttpContext context, SessionScope scope, Snapshots snapshots, IOptions<LimitOptions> limits, CancellationToken cancellationToken)
    {
        using var body = await BodyBuffer.ReadAsync(context.Request, Math.Min(limits.Value.MaxBodyBytes, MostIndexBytes));
        var isReadyAsked = IndexRequest.AsksForReady(body.Bytes);
        return TypedResults.Json(
            Versions(scope, snapshots, cancellationToken).Where(model => !isReadyAsked || model.Session.Damage == Damage.None).Select(Entry),
            ContractJson.Context.IAsyncEnumerableRepositoryEntry, MediaTypes.Json);
    }

    // Every session is ready, but for those that are damaged.
    private static RepositoryEntry Entry((SessionSummary Session, string Version) model) => model.Session.Damage == Damage.None
        ? new() { Name = model.Session.Name, Version = model.Version, State = "READY", Reason = "" }
        : new() { Name = model.Session.Name, Version = model.Version, State = "UNAVAILABLE", Reason = "its stored state is damaged" };
}
