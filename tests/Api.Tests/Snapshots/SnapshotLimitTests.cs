namespace BnService.Api.Tests.Snapshots;

/// <summary>What a snapshot is refused for, how many there may be, and that they are as durable as the session.</summary>
public sealed class SnapshotLimitTests(Service service) : IClassFixture<Service>
{
    private static readonly Batch X = Batch.Random(1, 16, 3);

    [Theory]
    [InlineData("{}")]
    [InlineData("""{"description":null}""")]
    [InlineData("""{"description":""}""")]
    [InlineData("""{"description":"Zeile\nü 日本 😀 \"<&"}""")]
    public async Task A_description_is_kept_as_it_is(string body)
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        var created = (await session.SnapshotAsync(body)).Expect(201);
        using var sent = System.Text.Json.JsonDocument.Parse(body);
        var expected = sent.RootElement.TryGetProperty("description", out var description) ? description.GetString() : null;
        Assert.Equal(expected, created["description"].GetString());
        Assert.Equal(expected, (await session.GetSnapshotAsync(1))["description"].GetString());
        Assert.Equal(expected, (await session.SnapshotsAsync())["snapshots"][0].GetProperty("description").GetString());
    }

    [Fact]
    public async Task A_description_has_at_most_256_characters()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        (await session.SnapshotAsync($$"""{"description":"{{new string('d', 257)}}"}""")).ExpectProblem("invalid-option", "description has at most 256 characters, got 257");
        Assert.Equal(0, (await session.SnapshotsAsync())["snapshots"].GetArrayLength());
        (await session.SnapshotAsync($$"""{"description":"{{new string('d', 256)}}"}""")).Expect(201);
    }

    [Theory]
    [InlineData("""{"description":5}""", "invalid-option")]
    [InlineData("""{"description":["a"]}""", "invalid-option")]
    [InlineData("""{"description":"a"}}""", "malformed-body")]
    [InlineData("[]", "malformed-body")]
    public async Task What_is_no_request_freezes_nothing(string body, string code)
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        (await session.SnapshotAsync(body)).ExpectProblem(code);
        Assert.Equal(0, (await session.SnapshotsAsync())["snapshots"].GetArrayLength());
    }

    [Fact]
    public async Task A_version_that_is_not_the_expected_one_is_not_frozen()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        (await session.TrainAsync(X)).Expect(200);
        (await session.SnapshotAsync(null, ("If-Match", "\"1\""))).ExpectProblem("version-conflict", "at version \"2\"");
        Assert.Equal(0, (await session.SnapshotsAsync())["snapshots"].GetArrayLength());
        (await session.SnapshotAsync(null, ("If-Match", "\"2\""))).Expect(201);
        (await session.SnapshotAsync(null, ("If-Match", "\"2\""))).Expect(200);
    }

    [Fact]
    public async Task There_are_as_many_snapshots_of_a_session_as_are_allowed()
    {
        using var own = Service.With(("Limits:MaxSnapshots", "3"));
        var (session, other) = (await own.CreateAsync("""{"num_features":3}"""), await own.CreateAsync("""{"num_features":3}"""));
        for (var i = 0; i < 3; i++)
        {
            (await session.SnapshotAsync()).Expect(201);
            (await session.TrainAsync(X)).Expect(200);
        }
        (await session.RefusedAsync(s => s.SnapshotAsync())).ExpectProblem("limit-reached", "has 3 snapshots", "Limits:MaxSnapshots");
        (await other.SnapshotAsync()).Expect(201);
        (await session.DeleteSnapshotAsync(2)).Expect(204);
        (await session.SnapshotAsync()).Expect(201);
        // What is frozen already needs no room.
        (await session.SnapshotAsync()).Expect(200);
        Assert.Equal([4, 3, 1], (await session.SnapshotsAsync())["snapshots"].EnumerateArray().Select(snapshot => snapshot.GetProperty("version").GetInt32()));
    }

    [Fact]
    public async Task Frozen_many_times_at_once_a_version_is_one_snapshot()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        for (var round = 0; round < 5; round++)
        {
            var answers = await Task.WhenAll(Enumerable.Range(0, 20).Select(i => Task.Run(() => session.SnapshotAsync($$"""{"description":"{{i}}"}"""))));
            var created = Assert.Single(answers, answer => answer.Status == 201);
            Assert.All(answers, answer => Assert.Equal(created.Text, answer.Text));
            (await session.TrainAsync(X)).Expect(200);
        }
        Assert.Equal(5, (await session.SnapshotsAsync())["snapshots"].GetArrayLength());
    }

    /// <summary>In memory are a few of many; all of them are there.</summary>
    [Fact]
    public async Task Every_one_of_many_snapshots_can_be_used_at_once()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        var expected = new List<string>();
        for (var version = 1; version <= 40; version++)
        {
            (await session.SnapshotAsync()).Expect(201);
            expected.Add((await session.InferAsync(X)).Expect(200).Text);
            (await session.TrainAsync(Batch.Random(version, 16, 3))).Expect(200);
        }
        await Task.WhenAll(Enumerable.Range(0, 400).Select(i => Task.Run(async () =>
            Assert.Equal(expected[i % 40], (await session.InferAsync(X, (i % 40) + 1)).Expect(200).Text))));
    }

    /// <summary>What was found a moment before it was deleted must not be remembered for ever.</summary>
    [Fact]
    public async Task A_snapshot_that_is_deleted_while_it_is_read_is_gone()
    {
        var store = new WatchedStore { IsShared = false };
        using var own = Service.Node(store, "one");
        var session = await own.CreateAsync("""{"num_features":3}""");
        (await session.SnapshotAsync()).Expect(201);
        store.AfterNextSnapshot = async () => (await session.DeleteSnapshotAsync(1)).Expect(204);
        Assert.Contains((await session.InferAsync(X, 1)).Status, (int[])[200, 404]);
        (await session.InferAsync(X, 1)).ExpectProblem("version-not-found");
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Snapshots_survive_the_end_of_the_process(bool isKilled)
    {
        var folder = Directory.CreateTempSubdirectory("bn-snapshots").FullName;
        (string, string)[] storage = [("Storage__Engine", "sqlite"), ("Storage__Path", Path.Combine(folder, "bn.db"))];
        string inferred, details, list;
        using (var first = await ServiceProcess.StartAsync(storage))
        {
            var session = await first.Client.CreateAsync("""{"name":"kept","num_features":3}""");
            (await session.TrainAsync(X)).Expect(200);
            (await session.BackwardAsync(X, X, update: """{"optimizer":"adam"}""")).Expect(200);
            (await session.SnapshotAsync("""{"description":"kept"}""")).Expect(201);
            inferred = (await session.InferAsync(X)).Text;
            details = (await session.GetSnapshotAsync(3)).Expect(200).Text;
            list = (await session.SnapshotsAsync()).Text;
            (await session.TrainAsync(Batch.Random(2, 16, 3))).Expect(200);
            if (isKilled) first.Kill();
            else
            {
                first.Terminate();
                await first.ExitAsync();
            }
        }
        using (var second = await ServiceProcess.StartAsync(storage))
        {
            var session = new SessionClient(second.Client, "kept");
            Assert.Equal((list, details), ((await session.SnapshotsAsync()).Text, (await session.GetSnapshotAsync(3)).Text));
            Assert.Equal(inferred, (await session.InferAsync(X, 3)).Text);
            Assert.Equal(5, (await session.RestoreAsync(3)).Expect(200).Version);
            Assert.Equal(inferred.Replace("\"version\":3", "\"version\":5", StringComparison.Ordinal), (await session.InferAsync(X)).Text);
            (await session.DeleteSnapshotAsync(3)).Expect(204);
            (await session.InferAsync(X, 3)).ExpectProblem("version-not-found");
        }
        Directory.Delete(folder, recursive: true);
    }
}
