namespace BnService.Api.Tests.Telemetry;

/// <summary>
/// What the stock Grafana boards of ASP.NET Core ask for (19924, and 19925 for one endpoint; github.com/dotnet/aspire, src/Grafana) is at
/// <c>/metrics</c> under OpenTelemetry's names, and so is what the other meters of ASP.NET Core and the runtime tell.
/// </summary>
public sealed class BoardTests
{
    private const string Duration = "http_server_request_duration_seconds";
    private static readonly (string, string) Step = ("http_route", "/v1/sessions/{session}/train-step"), Post = ("http_request_method", "POST");

    [Fact]
    public async Task The_boards_of_ASP_NET_Core_fill()
    {
        using var service = Service.OnKestrel(("Limits:RequestsPerSecond", "1000"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        for (var i = 0; i < 3; i++) (await session.TrainAsync(Traffic.X)).Expect(200);
        (await session.TrainAsync("""{"x":[[1,2,3]]}""")).Expect(422);
        (await service.Client.GetAsync("/v1/nosuch")).Expect(404);
        await Eventually.TrueAsync(() => Page().Value(Duration + "_count") >= 6, "the requests are not counted");
        var page = Page();
        // Requests, errors and their durations, of all and of one endpoint.
        Assert.Equal(3, page.Value(Duration + "_count", Step, Post, ("http_response_status_code", "200"), ("network_protocol_version", "1.1"), ("url_scheme", "http")));
        Assert.Equal(3, page.Value(Duration + "_bucket", Step, Post, ("http_response_status_code", "200"), ("le", "+Inf")));
        Assert.True(page.Value(Duration + "_sum", Step) > 0);
        // A refusal belongs to its endpoint, though it is written where exceptions are handled.
        Assert.Equal(1, page.Value(Duration + "_count", Step, Post, ("http_response_status_code", "422")));
        Assert.Equal(1, page.Value(Duration + "_count", ("http_response_status_code", "404"), ("aspnetcore_request_is_unhandled", "true")));
        Assert.Equal(0, page.Families[Duration].Samples.Count(sample => sample.Labels.ContainsKey("error_type")));
        // The scrape itself, on its connection.
        Assert.InRange(page.Value("http_server_active_requests", ("http_request_method", "GET"), ("url_scheme", "http")), 1, 2);
        Assert.True(page.Value("kestrel_active_connections") >= 1);
        Assert.Equal(1, page.Value("aspnetcore_routing_match_attempts_total", ("aspnetcore_routing_match_status", "failure")));
        Assert.Equal(4, page.Value("aspnetcore_routing_match_attempts_total", ("aspnetcore_routing_match_status", "success"), Step));
        Assert.True(page.Value("aspnetcore_rate_limiting_requests_total", ("aspnetcore_rate_limiting_result", "acquired")) >= 5);
        Assert.Equal(1, page.Value("aspnetcore_diagnostics_exceptions_total", ("error_type", "BnService.Core.LayerException")));

        Exposition Page() => Exposition.OfAsync(service).GetAwaiter().GetResult();
    }

    [Fact]
    public async Task A_connection_is_measured_when_it_has_ended()
    {
        using var service = Service.OnKestrel();
        using (var connection = await service.ConnectAsync()) await connection.WriteHeadAsync("GET", "/health/live", ("Connection", "close"));
        await Eventually.TrueAsync(() => Exposition.OfAsync(service).GetAwaiter().GetResult().Value("kestrel_connection_duration_seconds_count") >= 1, "no connection has ended");
    }

    [Theory]
    [InlineData("dotnet_process_cpu_time_seconds_total", "counter")]
    [InlineData("dotnet_process_cpu_count", "untyped")]
    [InlineData("dotnet_process_memory_working_set_bytes", "gauge")]
    [InlineData("dotnet_gc_collections_total", "counter")]
    [InlineData("dotnet_gc_heap_total_allocated_bytes_total", "counter")]
    [InlineData("dotnet_gc_pause_time_seconds_total", "counter")]
    [InlineData("dotnet_jit_compiled_methods_total", "counter")]
    [InlineData("dotnet_monitor_lock_contentions_total", "counter")]
    [InlineData("dotnet_thread_pool_work_item_count_total", "counter")]
    [InlineData("dotnet_timer_count", "untyped")]
    [InlineData("dotnet_assembly_count", "untyped")]
    public async Task The_runtime_tells_of_itself(string family, string type)
    {
        using var service = new Service();
        Assert.Equal(type, (await Exposition.OfAsync(service)).Families[family].Type);
    }

    [Fact]
    public async Task Services_of_one_process_do_not_count_together()
    {
        using var one = new Service();
        using var other = new Service();
        for (var i = 0; i < 5; i++) (await one.Client.GetAsync("/v1/nosuch")).Expect(404);
        await Eventually.EqualAsync(5, () => Of(one));
        Assert.Equal(0, Of(other));

        static double Of(Service service) => Exposition.OfAsync(service).GetAwaiter().GetResult().Value(Duration + "_count", ("http_response_status_code", "404"));
    }
}
