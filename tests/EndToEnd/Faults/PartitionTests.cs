using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using BnService.EndToEnd.Harness;
using Npgsql;

namespace BnService.EndToEnd.Faults;

/// <summary>
/// The way between a node and its database drops all packets, without telling anybody: what needs no database is answered as ever, and
/// what does is refused before long. The bounds are several times what is needed, and a fraction of what it was when threads waited for
/// the database.
/// </summary>
[Collection(PostgresTests.Name)]
public sealed class PartitionTests(PostgresServer postgres)
{
    private const int Clients = 40, Sessions = 10;
    private const string Step = """{"x":{"shape":[2,3],"data":[1,2,3,4,5,7]},"retain":false}""", Batch = """{"x":{"shape":[1,3],"data":[1,2,3]}}""";

    private static readonly TimeSpan AtOnce = TimeSpan.FromSeconds(3), Soon = TimeSpan.FromSeconds(12);

    [Fact]
    public async Task A_silent_database_holds_nobody_up_for_long()
    {
        var dark = TimeSpan.FromSeconds(Soak.Of(7, 30));
        var database = new NpgsqlConnectionStringBuilder(await postgres.CreateDatabaseAsync());
        using var wire = CutWire.To(database.Port);
        database.Port = wire.Port;
        using var service = await ServiceProcess.StartAsync(
            ("Storage__Engine", "postgres"), ("Storage__ConnectionString", database.ConnectionString),
            ("Serilog__MinimumLevel__Override__BnService.Request", "Fatal"));
        for (var i = 0; i < Sessions; i++) (await service.Client.PostAsync("/v1/sessions", $$"""{"name":"s{{i}}","num_features":3}""")).Expect(201);
        using var http = new HttpClient { BaseAddress = service.Address, Timeout = TimeSpan.FromMinutes(2) };
        var (isOver, isDark, taken) = (false, false, new ConcurrentDictionary<string, (TimeSpan Longest, int Refused, int Answered)>());
        async Task<int> CallAsync(string what, string path, string? body)
        {
            var begun = (At: Stopwatch.GetTimestamp(), IsDark: Volatile.Read(ref isDark));
            using var content = body is null ? null : new StringContent(body, null, "application/json");
            using var request = new HttpRequestMessage(body is null ? HttpMethod.Get : HttpMethod.Post, path) { Content = content };
            using var answer = await http.SendAsync(request);
            var (elapsed, status) = (Stopwatch.GetElapsedTime(begun.At), (int)answer.StatusCode);
            var isRefused = status == 503;
            taken.AddOrUpdate(what, _ => (elapsed, isRefused ? 1 : 0, isRefused ? 0 : 1), (_, known) =>
                (elapsed > known.Longest ? elapsed : known.Longest, known.Refused + (isRefused ? 1 : 0), known.Answered + (isRefused ? 0 : 1)));
            Assert.True(status is 200 or 503, $"{what} answered {status}: {await answer.Content.ReadAsStringAsync()}");
            if (begun.IsDark && Volatile.Read(ref isDark)) Assert.Equal(what is "steps" or "stats", isRefused);
            return status;
        }
        var training = Enumerable.Range(0, Clients).Select(client => Task.Run(async () =>
        {
            while (!Volatile.Read(ref isOver))
            {
                var status = client % 2 == 0
                    ? await CallAsync("steps", $"/v1/sessions/s{client % Sessions}/train-step", Step)
                    : await CallAsync("stats", $"/v1/sessions/s{client % Sessions}/stats", null);
                if (status == 503) await Task.Delay(200);
            }
        })).ToList();
        var serving = ((string What, string Path, string? Body)[])
            [("live", "/health/live", null), ("ready", "/health/ready", null), ("inference", "/v1/sessions/s1/inference", Batch), ("infer of others", "/v1/sessions/s2/inference", Batch)];
        training.AddRange(serving.Select(call => Task.Run(async () =>
        {
            while (!Volatile.Read(ref isOver))
            {
                await CallAsync(call.What, call.Path, call.Body);
                await Task.Delay(20);
            }
        })));
        // All that is to be in memory has come there.
        await Eventually.TrueAsync(() => taken.Count == serving.Length + 2 && taken.Values.All(call => call.Answered > 2), "the service does not answer");
        taken.Clear();
        wire.Darken();
        Volatile.Write(ref isDark, true);
        await Task.Delay(dark);
        var threads = await ThreadsAsync(http);
        Volatile.Write(ref isDark, false);
        wire.Light();
        var back = Stopwatch.StartNew();
        var of = taken.ToDictionary();
        while (await CallAsync("steps again", "/v1/sessions/s3/train-step", Step) == 503)
        {
            Assert.True(back.Elapsed < Soon, $"no step {back.Elapsed} after the database is back");
            await Task.Delay(50);
        }
        var recovered = back.Elapsed;
        Volatile.Write(ref isOver, true);
        await Task.WhenAll(training);
        Assert.Equal("", service.Errors);
        Soak.Report(string.Create(CultureInfo.InvariantCulture,
            $"a silent database for {dark.TotalSeconds:F0} s, {threads} threads: {string.Join(", ", of.Select(call => $"{call.Key} {call.Value.Longest.TotalSeconds:F2} s at most ({call.Value.Refused} refused)"))}, back after {recovered.TotalSeconds:F1} s"));
        foreach (var (what, _, _) in serving) Assert.True(of[what].Longest < AtOnce, $"{what} took {of[what].Longest}");
        foreach (var what in (string[])["steps", "stats"]) Assert.True(of[what].Longest < Soon && of[what].Refused > 0, $"{what} took {of[what]}");
    }

    private static async Task<int> ThreadsAsync(HttpClient http)
    {
        var page = await http.GetStringAsync(new Uri("/metrics", UriKind.Relative));
        var line = page.Split('\n').First(line => line.StartsWith("bnservice_threadpool_threads", StringComparison.Ordinal));
        return int.Parse(line.Split(' ')[^1], CultureInfo.InvariantCulture);
    }
}
