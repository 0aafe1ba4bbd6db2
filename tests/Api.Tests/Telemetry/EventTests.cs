using System.Text.Json;

namespace BnService.Api.Tests.Telemetry;

/// <summary>Log events tell of which trace and which session they are.</summary>
public sealed class EventTests
{
    private const string Trace = "0af7651916cd43dd8448eb211c80319c";
    private static readonly (string, string) Parent = ("traceparent", $"00-{Trace}-b7ad6b7169203331-01");

    [Fact]
    public async Task In_JSON_every_event_of_a_request_has_its_trace_and_session()
    {
        // With the framework's own events there are several of each request.
        using var service = await ServiceProcess.StartAsync(("Telemetry__LogFormat", "json"), ("Serilog__MinimumLevel__Override__Microsoft.AspNetCore", "Information"));
        var session = await service.Client.CreateAsync("""{"name":"told","num_features":2}""");
        var problem = (await session.TrainAsync("""{"x":[[1,2,3]],"retain":false}""", Parent)).ExpectProblem("shape-mismatch");
        Assert.Equal(Trace, problem["trace_id"].GetString());
        await Eventually.TrueAsync(() => EventsOf(service).Any(IsOfRequest), "the request is not logged");
        var events = EventsOf(service);
        Assert.True(events.Count > 2, $"{events.Count} events");
        Assert.All(events, one => Assert.Matches("^[0-9a-f]{16}$", one.GetProperty("SpanId").GetString()));
        // Before routing nothing is known of a session.
        var known = events.SkipWhile(one => !one.GetProperty("MessageTemplate").GetString()!.StartsWith("Executing endpoint", StringComparison.Ordinal)).ToList();
        Assert.True(known.Count > 1, $"{known.Count} events behind routing");
        Assert.All(known, one => Assert.Equal("told", one.GetProperty("Properties").GetProperty("Session").GetString()));
    }

    [Fact]
    public async Task In_text_the_line_of_a_request_ends_with_its_trace()
    {
        using var service = await ServiceProcess.StartAsync(("Telemetry__LogFormat", "text"));
        (await service.Client.GetAsync("/v1/sessions/nosuch", Parent)).Expect(404);
        await Eventually.TrueAsync(() => service.Output.Any(line => line.Contains("session nosuch answered 404", StringComparison.Ordinal)), "the request is not logged");
        Assert.EndsWith($" trace {Trace}", service.Output.Single(line => line.Contains("session nosuch answered 404", StringComparison.Ordinal)), StringComparison.Ordinal);
        // What is of no request has no trace.
        Assert.Contains(service.Output, line => line.Contains("Now listening on", StringComparison.Ordinal) && !line.Contains("trace", StringComparison.Ordinal));
    }

    private static bool IsOfRequest(JsonElement one) => one.GetProperty("Properties").GetProperty("SourceContext").GetString() == "BnService.Request";

    private static List<JsonElement> EventsOf(ServiceProcess service)
    {
        var events = new List<JsonElement>();
        foreach (var line in service.Output)
        {
            using var json = JsonDocument.Parse(line);
            if (json.RootElement.TryGetProperty("TraceId", out var trace) && trace.GetString() == Trace) events.Add(json.RootElement.Clone());
        }
        return events;
    }
}
