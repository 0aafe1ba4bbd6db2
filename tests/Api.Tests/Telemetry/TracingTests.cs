using System.Collections.Concurrent;
using System.Diagnostics;
using System.Net;

namespace BnService.Api.Tests.Telemetry;

/// <summary>Spans of requests, whose context the caller may bring, and where they are sent to.</summary>
public sealed class TracingTests
{
    private const string Request = "Microsoft.AspNetCore.Hosting.HttpRequestIn";
    private static readonly Batch X = Traffic.X;

    [Fact]
    public async Task A_train_step_is_read_summed_committed_normalized_and_written()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"name":"traced","num_features":2}""");
        var spans = await SpansOfAsync(trace => session.TrainAsync($$"""{"x":{{X.Json}},"retain":false}""", trace));
        Assert.Equal(["commit", "moments", "normalize", "read", "write"], spans.Select(span => span.OperationName).Order());
        var parents = spans.Select(span => span.ParentSpanId).Distinct().ToList();
        Assert.Single(parents);
        var moments = spans.Single(span => span.OperationName == "moments");
        Assert.Equal("[16, 2]", moments.GetTagItem("bnservice.shape"));
        Assert.Equal(32, moments.GetTagItem("bnservice.elements"));
        Assert.Equal(2L, spans.Single(span => span.OperationName == "commit").GetTagItem("bnservice.version"));
        var (read, write) = (spans.Single(span => span.OperationName == "read"), spans.Single(span => span.OperationName == "write"));
        Assert.True(read.StartTimeUtc + read.Duration <= write.StartTimeUtc, "written before it was read");
    }

    [Fact]
    public async Task The_parts_of_other_calls_are_seen_as_well()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"name":"traced","num_features":2}""");
        var step = (await session.TrainAsync(X, retain: true)).Expect(200).StepId!;
        var model = new ModelClient(service.Client, session);
        Assert.Equal(["moments", "normalize", "read", "write"], Names(await SpansOfAsync(trace => session.SendAsync(HttpMethod.Post, "inference", ServiceClient.JsonContent($$"""{"x":{{X.Json}}}"""), trace))));
        Assert.Equal(["commit", "gradients", "read", "write"], Names(await SpansOfAsync(trace => session.BackwardAsync($$"""{"step_id":"{{step}}","dy":{{X.Json}}}""", trace))));
        Assert.Equal(["moments", "normalize", "read", "write"], Names(await SpansOfAsync(trace => model.InferAsync(ModelClient.Request(ModelClient.Input(X)), trace))));
        // Large: it is answered while it arrives.
        var large = Batch.Random(3, 32768, 2);
        Assert.Equal(["moments", "normalize", "read", "write"], Names(await SpansOfAsync(trace => session.PostAsync("inference", Forms.Npy, ArrayFile.Of(large), trace))));
    }

    [Fact]
    public async Task The_caller_s_trace_is_taken_over_and_named_in_problems()
    {
        using var service = new Service();
        var trace = ActivityTraceId.CreateRandom().ToHexString();
        var answer = await service.Client.GetAsync("/v1/sessions/nosuch", ("traceparent", $"00-{trace}-b7ad6b7169203331-01"));
        Assert.Equal(trace, answer["trace_id"].GetString());
        // What is no trace is not taken over, and there is one all the same.
        answer = await service.Client.GetAsync("/v1/sessions/nosuch", ("traceparent", "00-nonsense-01"));
        Assert.Matches("^[0-9a-f]{32}$", answer["trace_id"].GetString());
    }

    [Fact]
    public async Task Traces_and_metrics_are_sent_where_an_endpoint_is_configured()
    {
        using var collector = new HttpListener();
        var port = Collect(collector);
        var received = new ConcurrentDictionary<string, long>();
        _ = Task.Run(async () =>
        {
            while (collector.IsListening)
            {
                var context = await collector.GetContextAsync();
                using var body = new MemoryStream();
                await context.Request.InputStream.CopyToAsync(body);
                if (context.Request.ContentType == "application/x-protobuf") received.AddOrUpdate(context.Request.Url!.AbsolutePath, body.Length, (_, length) => length + body.Length);
                context.Response.Close();
            }
        });
        using var service = await ServiceProcess.StartAsync(("Telemetry__Otlp__Endpoint", $"http://127.0.0.1:{port}"),
            ("Telemetry__Otlp__Protocol", "http"), ("Telemetry__Otlp__Interval", "00:00:00.200"));
        var session = await service.Client.CreateAsync("""{"name":"sent","num_features":2}""");
        (await session.TrainAsync(X)).Expect(200);
        await Eventually.TrueAsync(() => received.GetValueOrDefault("/v1/traces") > 0 && received.GetValueOrDefault("/v1/metrics") > 0,
            "nothing was sent");
        Assert.Equal(["/v1/metrics", "/v1/traces"], received.Keys.Order());
    }

    [Theory]
    [InlineData("Telemetry:Otlp:Endpoint", "collector")]
    [InlineData("Telemetry:Otlp:Endpoint", "ftp://collector")]
    [InlineData("Telemetry:Otlp:Protocol", "carrier-pigeon")]
    [InlineData("Telemetry:Otlp:Interval", "00:00:00")]
    [InlineData("Telemetry:TraceRatio", "1.5")]
    [InlineData("Telemetry:SessionSeries", "-1")]
    [InlineData("Telemetry:LogFormat", "yaml")]
    public async Task Wrong_settings_end_the_start(string key, string value)
    {
        var (exitCode, _, errors) = await ServiceProcess.RunAsync([$"--{key}", value]);
        Assert.Equal(1, exitCode);
        Assert.Contains($"configuration: {key} must be", errors, StringComparison.Ordinal);
        Assert.Contains($"got '{value}'", errors, StringComparison.Ordinal);
    }

    private static IEnumerable<string> Names(IEnumerable<Activity> spans) => spans.Select(span => span.OperationName).Order();

    // The spans below a request, whose trace no other test has.
    private static async Task<List<Activity>> SpansOfAsync(Func<(string, string), Task<Answer>> call)
    {
        var (trace, ended) = (ActivityTraceId.CreateRandom(), new ConcurrentQueue<Activity>());
        using var listener = new ActivityListener
        {
            ShouldListenTo = source => source.Name is "BnService" or "Microsoft.AspNetCore",
            Sample = (ref ActivityCreationOptions<ActivityContext> _) => ActivitySamplingResult.AllDataAndRecorded,
            ActivityStopped = activity =>
            {
                if (activity.TraceId == trace) ended.Enqueue(activity);
            },
        };
        ActivitySource.AddActivityListener(listener);
        (await call(("traceparent", $"00-{trace}-b7ad6b7169203331-01"))).Expect(200);
        await Eventually.TrueAsync(() => ended.Any(span => span.OperationName == Request), "no request was seen");
        var request = ended.Single(span => span.OperationName == Request);
        Assert.Equal("b7ad6b7169203331", request.ParentSpanId.ToHexString());
        Assert.Equal("traced", request.GetTagItem("bnservice.session"));
        var spans = ended.Where(span => span != request).ToList();
        Assert.All(spans, span => Assert.Equal(request.SpanId, span.ParentSpanId));
        return spans;
    }

    private static int Collect(HttpListener collector)
    {
        // It has no port of its own choice.
        for (var port = Random.Shared.Next(20000, 32000); ; port++)
        {
            try
            {
                collector.Prefixes.Clear();
                collector.Prefixes.Add($"http://127.0.0.1:{port}/");
                collector.Start();
                return port;
            }
            catch (HttpListenerException)
            {
                // Taken.
            }
        }
    }
}
