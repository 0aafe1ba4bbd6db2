using System.Text.RegularExpressions;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Storage;
using Microsoft.Extensions.DependencyInjection;

namespace BnService.Api.Tests.Telemetry;

/// <summary>What <c>/metrics</c> shows: its form, and that it is what has happened.</summary>
public sealed partial class MetricsTests
{
    private static readonly Batch X = Traffic.X;

    [Fact]
    public async Task Every_family_is_documented_and_what_is_documented_is_there()
    {
        using var traffic = new Traffic();
        await traffic.HappenAsync("m");
        var shown = (await Exposition.OfAsync(traffic.Service)).Families.Values.Where(family => IsOwn(family.Name)).Select(family => (family.Name, family.Type)).ToList();
        // A request is counted when its answer has ended: the first scrape may come before the last one has.
        var documented = DocumentedFamily().Matches(await File.ReadAllTextAsync(Path.Combine(Repository.Root, "README.md")))
            .Select(row => (row.Groups[1].Value, row.Groups[2].Value)).ToList();
        // In this process nothing is received through Kestrel's memory.
        Assert.Equal(documented.Order(), shown.Order());
    }

    [Fact]
    public async Task Labels_are_those_that_are_documented()
    {
        using var traffic = new Traffic();
        await traffic.HappenAsync("m");
        var page = await Exposition.OfAsync(traffic.Service);
        var documented = DocumentedFamily().Matches(await File.ReadAllTextAsync(Path.Combine(Repository.Root, "README.md"))).ToDictionary(row => row.Groups[1].Value, row => row.Groups[3].Value);
        foreach (var family in page.Families.Values.Where(family => IsOwn(family.Name)))
        {
            var labels = documented[family.Name] == "the same" ? "`method`, `call`, `status`" : documented[family.Name];
            var expected = labels == "–" ? [] : labels.Split(", ").Select(label => label.Trim('`'));
            Assert.All(family.Samples, sample => Assert.Equal(expected.Order(), sample.Labels.Keys.Where(label => label != "le").Order()));
        }
    }

    [Fact]
    public async Task Triton_has_its_nine_names()
    {
        using var traffic = new Traffic();
        await traffic.HappenAsync("m");
        var page = await Exposition.OfAsync(traffic.Service, "/metrics/triton");
        Assert.Equal(9, page.Families.Count);
        Assert.All(page.Families.Values, family => Assert.Equal("counter", family.Type));
        Assert.Equal(1, page.Value("nv_inference_request_success", ("model", "m"), ("version", "live")));
        Assert.Equal(1, page.Value("nv_inference_request_failure", ("model", "m"), ("version", "live")));
        Assert.Equal(16, page.Value("nv_inference_count", ("model", "m")));
        Assert.True(page.Value("nv_inference_request_duration_us", ("model", "m")) > 0);
    }

    [Fact]
    public async Task What_is_counted_is_what_has_happened()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"name":"counted","num_features":2}""");
        var (body, read) = ($$"""{"x":{{X.Json}},"retain":false}""", 0);
        for (var i = 0; i < 5; i++) read += (await session.TrainAsync(body)).Expect(200).Body.Length;
        for (var i = 0; i < 3; i++) (await session.InferAsync("""{"x":[[1,2,3]]}""")).Expect(422);
        (await session.TrainAsync(body, ("Idempotency-Key", "k"))).Expect(200);
        (await session.TrainAsync(body, ("Idempotency-Key", "k"))).Expect(200);
        (await service.Client.GetAsync("/v1/nosuch")).Expect(404);
        (await service.Client.SendAsync(new HttpMethod("BREW"), "/v1/sessions", null)).Expect(405);
        (string, string)[] steps = [("call", "/v1/sessions/{session}/train-step"), ("method", "POST"), ("status", "200")];
        await EventuallyAsync(service, "bnservice_http_requests_total", 7, steps);
        var page = await Exposition.OfAsync(service);
        Assert.Equal(7, page.Value("bnservice_http_request_duration_seconds_count", steps));
        Assert.Equal(7 * body.Length, page.Value("bnservice_http_request_bytes_total", steps));
        Assert.True(page.Value("bnservice_http_response_bytes_total", steps) > read);
        Assert.Equal(3, page.Value("bnservice_http_requests_total", ("call", "/v1/sessions/{session}/inference"), ("status", "422")));
        Assert.Equal(1, page.Value("bnservice_http_requests_total", ("call", "(none)"), ("status", "404")));
        Assert.Equal(1, page.Value("bnservice_http_requests_total", ("method", "_OTHER"), ("status", "405")));
        Assert.Equal(1, page.Value("bnservice_idempotent_replays_total"));
        Assert.Equal(6, page.Value("bnservice_commits_total"));
        Assert.Equal(6, page.Value("bnservice_commit_group_changes_sum"));
        Assert.Equal(7, page.Value("bnservice_commit_wait_duration_seconds_count"));
        Assert.Equal(6, page.Value("bnservice_session_train_steps_total", ("session", "counted")));
        Assert.Equal(6, page.Value("bnservice_session_batches_tracked", ("session", "counted")));
        // The repetition is normalized as well; refused batches are not.
        Assert.Equal(7 * 32, page.Value("bnservice_elements_total", ("operation", "normalize")));
        Assert.Equal(7, page.Value("bnservice_kernel_duration_seconds_count", ("operation", "moments")));
        Assert.Equal(1, page.Value("bnservice_sessions"));
        Assert.Equal(1, page.Value("bnservice_sessions_resident"));
        Assert.Equal(1, page.Value("bnservice_http_requests_active"));
    }

    [Fact]
    public async Task Repetitions_at_the_same_time_are_no_conflict_of_nodes()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"num_features":2}""");
        for (var i = 0; i < 20; i++)
        {
            var key = ("Idempotency-Key", $"k{i}");
            var answers = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => session.TrainAsync($$"""{"x":{{X.Json}}}""", key)));
            Assert.All(answers, answer => Assert.Equal(i + 2, answer.Expect(200).Version));
        }
        Assert.Equal(0, (await Exposition.OfAsync(service)).Value("bnservice_commit_conflicts_total"));
    }

    [Fact]
    public async Task A_conflict_is_counted_and_so_is_a_store_that_is_away()
    {
        using var traffic = new Traffic();
        var session = await traffic.Service.CreateAsync("""{"num_features":2}""");
        (await session.TrainAsync(X)).Expect(200);
        var before = await Exposition.OfAsync(traffic.Service);
        Assert.Equal(0, before.Value("bnservice_commit_conflicts_total"));
        Assert.Equal(0, before.Value("bnservice_commit_failures_total"));
        await traffic.OvertakenAsync(session);
        var overtaken = await Exposition.OfAsync(traffic.Service);
        Assert.Equal(1, overtaken.Value("bnservice_commit_conflicts_total"));
        Assert.Equal(2, overtaken.Value("bnservice_commits_total"));
        await traffic.AwayAsync(session);
        var away = await Exposition.OfAsync(traffic.Service);
        Assert.Equal(1, away.Value("bnservice_commit_failures_total"));
        Assert.Equal(1, away.Value("bnservice_store_errors_total", ("error", "unavailable")));
        Assert.Equal(1, away.Value("bnservice_commit_conflicts_total"));
    }

    [Fact]
    public async Task Sessions_that_come_and_go_while_they_are_counted_are_counted_once()
    {
        var (store, time) = (new WatchedStore { IsShared = false }, new ManualTime());
        using var service = Service.Replacing(services => services.AddSingleton<ISessionStore>(store).AddSingleton<TimeProvider>(time));
        store.BeforeNextCount = async () =>
        {
            await service.CreateAsync("""{"num_features":2}""");
            (await (await service.CreateAsync("""{"num_features":2}""")).DeleteAsync()).Expect(204);
        };
        await Exposition.OfAsync(service);
        time.JumpBy(TimeSpan.FromSeconds(11));
        Assert.Equal(1, (await Exposition.OfAsync(service)).Value("bnservice_sessions"));
    }

    [Fact]
    public async Task A_store_that_is_away_keeps_no_scrape_waiting()
    {
        using var traffic = new Traffic();
        traffic.Store.IsAway = true;
        Assert.Empty((await Exposition.OfAsync(traffic.Service)).Families.GetValueOrDefault("bnservice_sessions")?.Samples ?? []);
    }

    [Fact]
    public async Task Retained_steps_and_synchronized_steps_are_counted()
    {
        using var service = Service.With(("Sync:Timeout", "00:00:00.200"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.TrainAsync(X, retain: true)).Expect(200);
        var ranks = new RankGroup(session, service.Client, 2);
        await ranks.AllAsync(200, rank => ranks.TrainAsync(rank, X));
        (await ranks.TrainAsync(0, X)).ExpectProblem("sync-timeout");
        var page = await Exposition.OfAsync(service);
        Assert.Equal(1, page.Value("bnservice_retained_steps"));
        Assert.Equal(service.RetainedBytes, page.Value("bnservice_retained_memory_bytes"));
        Assert.Equal(1, page.Value("bnservice_sync_steps_total", ("call", "train-step"), ("outcome", "made")));
        Assert.Equal(1, page.Value("bnservice_sync_steps_total", ("call", "train-step"), ("outcome", "timeout")));
        Assert.Equal(3, page.Value("bnservice_sync_wait_duration_seconds_count"));
    }

    [Fact]
    public async Task Scrapes_at_the_same_time_are_whole_pages_each()
    {
        using var traffic = new Traffic();
        await traffic.HappenAsync("m");
        var pages = await Task.WhenAll(Enumerable.Range(0, 16).Select(_ => Task.Run(() => Exposition.OfAsync(traffic.Service))));
        var names = pages[0].Families.Keys.ToList();
        Assert.All(pages, page => Assert.Equal(names, page.Families.Keys));
    }

    [Theory]
    [InlineData("plain")]
    [InlineData("a\"b\\c\nd")]
    [InlineData("\\n")]
    [InlineData("{}, =\u00e9\u4e2d")]
    public void Odd_labels_come_out_as_they_went_in(string value)
    {
        var text = new PrometheusText();
        text.Family("odd", "gauge", "A \\ and\na line.");
        text.Sample("odd", $"{PrometheusText.Label("one", value)},{PrometheusText.Label("two", "2")}", double.NegativeInfinity);
        var sample = Exposition.Parse(System.Text.Encoding.UTF8.GetString(text.Written)).Families["odd"].Samples.Single();
        Assert.Equal(value, sample.Labels["one"]);
        Assert.Equal("2", sample.Labels["two"]);
        Assert.Equal(double.NegativeInfinity, sample.Value);
    }

    // The others are ASP.NET Core's and the runtime's.
    private static bool IsOwn(string family) => family.StartsWith("bnservice_", StringComparison.Ordinal) || family.StartsWith("nv_", StringComparison.Ordinal);

    private static Task EventuallyAsync(Service service, string name, double value, params (string, string)[] labels) =>
        Eventually.EqualAsync(value, () => Exposition.OfAsync(service).GetAwaiter().GetResult().Value(name, labels));

    [GeneratedRegex(@"^\| `([a-z_]+)` \| (counter|gauge|histogram|untyped) \| ([^|]+) \|", RegexOptions.Multiline)]
    private static partial Regex DocumentedFamily();
}
