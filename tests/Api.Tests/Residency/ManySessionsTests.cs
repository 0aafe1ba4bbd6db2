namespace BnService.Api.Tests.Residency;

/// <summary>Far more sessions than find room in memory.</summary>
public sealed class ManySessionsTests : IDisposable
{
    private static readonly Batch X = Batch.Random(1, 8, 3);

    private readonly string _folder = Directory.CreateTempSubdirectory("bn-residency").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>Every step is counted once and every statistic is that of its own session, by name and by id, wherever the session was.</summary>
    [Theory]
    [InlineData("1024")]
    [InlineData("30000")]
    public async Task Sessions_that_come_and_go_keep_exact_statistics_while_they_are_trained(string bytes)
    {
        const int Sessions = 40, Steps = 12;
        using var service = OnFile(bytes);
        var ids = new string[Sessions];
        for (var i = 0; i < Sessions; i++)
            ids[i] = (await (await service.CreateAsync($$"""{"name":"s{{i}}","num_features":3,"momentum":null}""")).GetAsync())["id"].GetString()!;
        await Task.WhenAll(Enumerable.Range(0, Steps).Select(step => Task.Run(async () =>
        {
            var random = new Random(step);
            foreach (var i in Enumerable.Range(0, Sessions).OrderBy(_ => random.Next()))
            {
                // In any order, several at a session at once.
                var session = new SessionClient(service.Client, (step + i) % 2 == 0 ? $"s{i}" : ids[i]);
                var version = (await session.TrainAsync(Batch.Random((100 * i) + step, 8, 3))).Expect(200).Version;
                Assert.InRange((await session.GetAsync()).Expect(200).Version, version, Steps + 1);
                Assert.InRange((await session.InferAsync(X)).Expect(200).Version, version, Steps + 1);
            }
        })));
        for (var i = 0; i < Sessions; i++)
        {
            var stats = (await new SessionClient(service.Client, $"s{i}").StatsAsync()).Expect(200);
            Assert.Equal((Steps + 1, Steps), (stats.Version, stats["num_batches_tracked"].GetInt64()));
            // The cumulative average, whatever the order of the steps.
            var batches = Enumerable.Range(0, Steps).Select(step => new ReferenceLayer(3).StatisticsOf(Batch.Random((100 * i) + step, 8, 3))).ToList();
            Accuracy.Doubles_are([.. Enumerable.Range(0, 3).Select(c => batches.Average(batch => batch.Mean[c]))], stats.Numbers("running_mean"), "mean");
            Accuracy.Doubles_are([.. Enumerable.Range(0, 3).Select(c => batches.Average(batch => batch.Variance[c] * 8 / 7))], stats.Numbers("running_var"), "variance");
        }
        Assert.InRange(service.ResidentBytes, 0, long.Parse(bytes, System.Globalization.CultureInfo.InvariantCulture));
        // Nothing is counted of what is not there.
        for (var i = 0; i < Sessions; i++) (await new SessionClient(service.Client, $"s{i}").DeleteAsync()).Expect(204);
        Assert.Equal((0, 0L), (service.ResidentCount, service.ResidentBytes));
        foreach (var id in ids.Concat(Enumerable.Range(0, Sessions).Select(i => $"s{i}")))
            (await service.Client.GetAsync($"/v1/sessions/{id}")).ExpectProblem("session-not-found");
    }

    [Fact]
    public async Task Sessions_that_are_created_and_deleted_under_load_leave_nothing_in_memory()
    {
        using var service = OnFile("20000");
        await Task.WhenAll(Enumerable.Range(0, 6).Select(worker => Task.Run(async () =>
        {
            for (var round = 0; round < 30; round++)
            {
                var name = $"w{(worker + round) % 8}";
                await service.Client.PostAsync("/v1/sessions", $$"""{"name":"{{name}}","num_features":3}""");
                var session = new SessionClient(service.Client, name);
                Assert.Contains((await session.TrainAsync(X)).Status, (int[])[200, 404]);
                Assert.Contains((await session.InferAsync(X)).Status, (int[])[200, 404]);
                if (round % 3 == 0) Assert.Contains((await session.DeleteAsync()).Status, (int[])[204, 404]);
                else Assert.Contains((await session.GetAsync()).Status, (int[])[200, 404]);
            }
        })));
        for (var i = 0; i < 8; i++)
        {
            var session = new SessionClient(service.Client, $"w{i}");
            Assert.Contains((await session.DeleteAsync()).Status, (int[])[204, 404]);
            (await session.GetAsync()).ExpectProblem("session-not-found");
            (await session.InferAsync(X)).ExpectProblem("session-not-found");
        }
        Assert.Equal((0, 0L), (service.ResidentCount, service.ResidentBytes));
    }

    [Fact]
    public async Task A_store_in_memory_takes_no_more_than_there_is_room_for()
    {
        using var service = Service.With(("Sessions:MaxResidentBytes", "20000"));
        var sessions = new List<SessionClient>();
        Answer refused;
        while (true)
        {
            refused = await service.Client.PostAsync("/v1/sessions", """{"num_features":16}""");
            if (refused.Status != 201) break;
            sessions.Add(new SessionClient(service.Client, refused.Name));
            Assert.InRange(sessions.Count, 1, 20);
        }
        refused.ExpectProblem("limit-reached", "Sessions:MaxResidentBytes allows 20000");
        Assert.InRange(sessions.Count, 4, 20);
        // What is there goes on, as far as it does not grow; and one that goes makes room.
        (await sessions[0].InferAsync(Batch.Random(1, 4, 16))).Expect(200);
        (await sessions[0].PutRunningStatsAsync($$"""{"running_mean":{{Batch.Array(Enumerable.Repeat(0.5, 16))}}}""")).Expect(200);
        await FillAsync(sessions);
        (await sessions[^1].DeleteAsync()).Expect(204);
        (await service.Client.PostAsync("/v1/sessions", """{"num_features":16}""")).Expect(201);
    }

    [Fact]
    public async Task A_list_pages_through_thousands_of_which_few_are_in_memory()
    {
        const int Sessions = 2500;
        using var service = OnFile("20000");
        await Task.WhenAll(Enumerable.Range(0, 50).Select(worker => Task.Run(async () =>
        {
            for (var i = worker; i < Sessions; i += 50) await service.CreateAsync($$$"""{"name":"n{{{i:D5}}}","kind":"{{{(i % 5 == 0 ? "batch_renorm" : "batch_norm")}}}","num_features":3,"labels":{"i":"{{{i}}}"}}""");
        })));
        (await new SessionClient(service.Client, "n00007").TrainAsync(X)).Expect(200);
        foreach (var (query, expected) in new[] { ("limit=1000", Sessions), ("limit=7&prefix=n001", 100), ("limit=300&kind=batch_renorm", Sessions / 5), ("prefix=n0000", 10) })
        {
            var (names, cursor) = (new List<string>(), "");
            do
            {
                var page = (await service.Client.GetAsync($"/v1/sessions?{query}{cursor}")).Expect(200);
                foreach (var session in page["sessions"].EnumerateArray())
                {
                    var name = session.GetProperty("name").GetString()!;
                    Assert.Equal(int.Parse(name.AsSpan(1), System.Globalization.CultureInfo.InvariantCulture), int.Parse(session.GetProperty("labels").GetProperty("i").GetString()!, System.Globalization.CultureInfo.InvariantCulture));
                    Assert.Equal(name == "n00007" ? 2 : 1, session.GetProperty("version").GetInt32());
                    names.Add(name);
                }
                cursor = page["next_cursor"].GetString() is { } next ? $"&cursor={next}" : "";
            }
            while (cursor.Length > 0);
            Assert.Equal((expected, expected), (names.Count, names.Distinct().Count()));
        }
        Assert.InRange(service.ResidentBytes, 1, 20000);
    }

    // Until not another byte of a state has room.
    private static async Task FillAsync(List<SessionClient> sessions)
    {
        foreach (var session in sessions)
        {
            var answer = await session.TrainAsync(Batch.Random(1, 4, 16));
            if (answer.Status == 200) continue;
            answer.ExpectProblem("limit-reached", "Sessions:MaxResidentBytes");
            Assert.InRange((await session.GetAsync()).Version, 1, 2);
            return;
        }
        Assert.Fail("states have grown beyond the limit");
    }

    private Service OnFile(string bytes) => Service.With(
        ("Storage:Engine", "sqlite"), ("Storage:Path", Path.Combine(_folder, $"{bytes}.db")), ("Sessions:MaxResidentBytes", bytes));
}
