using System.Diagnostics;
using System.Globalization;
using BnService.EndToEnd.Harness;
using Microsoft.Data.Sqlite;

namespace BnService.EndToEnd.Faults;

/// <summary>Some look through very many sessions while another trains: it does not wait for them.</summary>
[Collection(PostgresTests.Name)]
public sealed class SearchTests(PostgresServer postgres) : IDisposable
{
    private const int Searchers = 4;
    private const string Step = """{"x":{"shape":[2,3],"data":[1,2,3,4,5,7]},"retain":false}""";

    // The tests of others run at the same time; where all that look had the database to themselves, it was thirty times.
    private const double MostTimes = 6;

    private readonly string _folder = Directory.CreateTempSubdirectory("bn-search").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("postgres", "search=nosuch")]
    [InlineData("postgres", "include=total&kind=batch_norm&health=drifting")]
    [InlineData("sqlite", "search=nosuch")]
    public async Task A_step_is_about_as_fast_while_four_look_for_sessions(string engine, string query)
    {
        var sessions = Soak.Of(30_000, 100_000);
        var file = Path.Combine(_folder, "bn.db");
        (string, string)[] environment =
        [
            ("Storage__Engine", engine), ("Storage__Path", file), ("Storage__ConnectionString", engine == "sqlite" ? "" : await postgres.CreateDatabaseAsync()),
            ("Serilog__MinimumLevel__Override__BnService.Request", "Fatal"),
        ];
        using (var first = await ServiceProcess.StartAsync(environment))
        {
            foreach (var name in (string[])["model", "trained"]) (await first.Client.PostAsync("/v1/sessions", $$"""{"name":"{{name}}","num_features":3}""")).Expect(201);
            first.Kill();
        }
        await MultiplyAsync(environment[2].Item2, file, sessions);
        using var service = await ServiceProcess.StartAsync(environment);
        using var http = new HttpClient { BaseAddress = service.Address, Timeout = TimeSpan.FromMinutes(2) };
        await MedianAsync(http, TimeSpan.FromSeconds(1));
        var (searches, refused, isOver) = (0, 0, false);
        var alone = await MedianAsync(http, TimeSpan.FromSeconds(Soak.Of(1, 10)));
        var searching = Enumerable.Range(0, Searchers).Select(_ => Task.Run(async () =>
        {
            while (!Volatile.Read(ref isOver))
            {
                using var answer = await http.GetAsync(new Uri($"/v1/sessions?limit=50&{query}", UriKind.Relative));
                if ((int)answer.StatusCode == 503) Interlocked.Increment(ref refused);
                else answer.EnsureSuccessStatusCode();
                Interlocked.Increment(ref searches);
            }
        })).ToList();
        await Task.Delay(300);
        var beside = await MedianAsync(http, TimeSpan.FromSeconds(Soak.Of(2, 10)));
        Volatile.Write(ref isOver, true);
        await Task.WhenAll(searching);
        Soak.Report(string.Create(CultureInfo.InvariantCulture,
            $"{engine}, {sessions} sessions, ?{query}: a step takes {alone:F2} ms, beside {Searchers} that search {beside:F2} ms ({searches} searches, {refused} refused)"));
        Assert.True(searches > refused);
        Assert.True(beside < MostTimes * alone, $"{beside} ms beside searches, {alone} ms alone");
    }

    private static async Task<double> MedianAsync(HttpClient http, TimeSpan duration)
    {
        var (taken, begun) = (new List<double>(), Stopwatch.StartNew());
        while (begun.Elapsed < duration)
        {
            var started = Stopwatch.GetTimestamp();
            using var content = new StringContent(Step, null, "application/json");
            using var answer = await http.PostAsync(new Uri("/v1/sessions/trained/train-step", UriKind.Relative), content);
            answer.EnsureSuccessStatusCode();
            taken.Add(Stopwatch.GetElapsedTime(started).TotalMilliseconds);
        }
        return taken.Order().ElementAt(taken.Count / 2);
    }

    // As many sessions as there are to be, each as the one that is there.
    private static async Task MultiplyAsync(string connectionString, string file, int sessions)
    {
        if (connectionString.Length > 0)
        {
            await PostgresServer.ExecuteAsync(connectionString, string.Create(CultureInfo.InvariantCulture, $"""
                INSERT INTO bn_names SELECT 'team-' || n % 100 || '/layer-' || n, md5(n::text), s.writes FROM bn_sessions AS s, generate_series(1, {sessions}) AS n WHERE s.name = 'model';
                INSERT INTO bn_sessions (id, name, kind, version, created_at, header, state, writes)
                SELECT md5(n::text), 'team-' || n % 100 || '/layer-' || n, s.kind, s.version, s.created_at - n * 1000, s.header, s.state, s.writes
                FROM bn_sessions AS s, generate_series(1, {sessions}) AS n WHERE s.name = 'model';
                """));
            await PostgresServer.ExecuteAsync(connectionString, "VACUUM ANALYZE bn_sessions");
            return;
        }
        await using var connection = new SqliteConnection($"Data Source={file};Pooling=false");
        await connection.OpenAsync();
        await using var command = connection.CreateCommand();
        command.CommandText = string.Create(CultureInfo.InvariantCulture, $"""
            WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {sessions})
            INSERT INTO sessions (id, name, kind, version, created_at, header, state)
            SELECT 'id' || n, 'team-' || (n % 100) || '/layer-' || n, s.kind, s.version, s.created_at - n * 1000, s.header, s.state
            FROM sessions AS s, numbers WHERE s.name = 'model'
            """);
        await command.ExecuteNonQueryAsync();
    }
}
