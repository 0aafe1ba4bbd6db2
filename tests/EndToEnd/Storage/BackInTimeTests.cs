using System.Globalization;
using BnService.Api.Storage;
using BnService.EndToEnd.Faults;
using BnService.EndToEnd.Harness;

namespace BnService.EndToEnd.Storage;

/// <summary>A backup is restored under running nodes: they take what the database has for the truth, and go on with it.</summary>
[Collection(PostgresTests.Name)]
public sealed class BackInTimeTests(PostgresServer server) : IAsyncLifetime
{
    private const int Nodes = 3, Sessions = 4;

    private PostgresStores _stores = null!;

    public async Task InitializeAsync() => _stores = await PostgresStores.NewAsync(server);

    public async Task DisposeAsync() => await _stores.DisposeAsync();

    [Fact]
    public async Task Two_states_of_one_version_are_told_apart()
    {
        var store = await _stores.OpenAsync();
        Assert.True(await store.TryInsertAsync(Session(1, mark: 11), default));
        Assert.Equal(new StoredVersion(1, 11), await store.FindVersionAsync("a", default));
        Assert.False(await store.TryUpdateAsync(Session(2, mark: 12), new StoredVersion(1, 10), [], default));
        Assert.False(await store.TryUpdateAsync(Session(1), new StoredVersion(1, 10), [new StoredAnswer("", "k", default)], default));
        Assert.True(await store.TryUpdateAsync(Session(2, mark: 12), new StoredVersion(1, 11), [], default));
        Assert.False(await store.TryDeleteAsync("a", new StoredVersion(2, 11), default));
        // What is only remembered leaves the state as it is.
        for (var i = 0; i < 3; i++) Assert.True(await store.TryUpdateAsync(Session(2), new StoredVersion(2, 12), [new StoredAnswer("", $"{i}", default)], default));
        Assert.Equal(3L, await _stores.AskAsync("SELECT count(*) FROM bn_answers"));
        Assert.False(await store.TryForgetAnswerAsync("a", "", "1", new StoredVersion(2, 11), default));
        Assert.True(await store.TryForgetAnswerAsync("a", "", "1", new StoredVersion(2, 12), default));
        Assert.Equal("0 2", await _stores.AskAsync("SELECT string_agg(key, ' ' ORDER BY key) FROM bn_answers"));
        Assert.True(await store.TryUpdateAsync(Session(3, mark: 13), new StoredVersion(2, 12), [], default));
        var found = (await store.FindAsync("a", long.MaxValue, default))!;
        Assert.Equal(new StoredVersion(3, 13), found.Stored);
        Assert.Equal([true, true, false, false, false], new StoredVersion[] { new(3, 13), new(1, 11), new(3, 12), new(2, 9), new(4, 13) }.Select(earlier => found.Follows(earlier)));
        for (var version = 4L; version < 50; version++)
            Assert.True(await store.TryUpdateAsync(Session(version, mark: 10 + version), new StoredVersion(version - 1, 9 + version), [], default));
        Assert.Null((await store.FindAsync("a", long.MaxValue, default))!.Follows(new StoredVersion(3, 12)));
        Assert.True(await store.TryDeleteAsync("a", new StoredVersion(49, 59), default));
    }

    /// <summary>The whole database, or nothing but what is no sign of the writes in the rows of sessions.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Nodes_go_on_with_what_was_restored(bool isWhole)
    {
        using var cluster = await Cluster.StartAsync(Nodes, _stores.ConnectionString);
        foreach (var session in Enumerable.Range(0, Sessions))
            (await cluster.Client(0).PostAsync("/v1/sessions", Operation.Options($"s{session}"))).Expect(201);
        var numbers = new int[Sessions];
        await TrainAsync(TimeSpan.FromSeconds(0.5));
        await _stores.AskAsync("CREATE TABLE saved_sessions AS TABLE bn_sessions; CREATE TABLE saved_answers AS TABLE bn_answers");
        await TrainAsync(TimeSpan.FromSeconds(0.5));
        var training = TrainAsync(TimeSpan.FromSeconds(1.5));
        await Task.Delay(300);
        await _stores.AskAsync(isWhole
            ? """
              BEGIN; DELETE FROM bn_sessions; INSERT INTO bn_sessions TABLE saved_sessions; DELETE FROM bn_answers; INSERT INTO bn_answers TABLE saved_answers; COMMIT
              """
            : "UPDATE bn_sessions AS s SET version = o.version, header = o.header, state = o.state FROM saved_sessions AS o WHERE o.id = s.id");
        await training;
        // Nobody asks for anything: the nodes leave the database alone, which counts a moment late. Nodes that tried for ever made 5,000 a second.
        var before = await TransactionsAsync();
        await Task.Delay(1000);
        Assert.InRange(await TransactionsAsync() - before, 0, 2000);
        for (var i = 0; i < Sessions; i++)
        {
            var stored = Convert.ToInt64(await _stores.AskAsync($"SELECT version FROM bn_sessions WHERE name = 's{i}'"), CultureInfo.InvariantCulture);
            var states = new List<string>();
            for (var node = 0; node < Nodes; node++)
            {
                states.Add((await new SessionClient(cluster.Client(node), $"s{i}").GetStateAsync()).Expect(200).Text);
                Assert.Equal(stored + node, (await new SessionClient(cluster.Client(node), $"s{i}").StatsAsync()).Expect(200).Version);
                Assert.NotNull(await cluster.TryAsync(node, new Operation($"s{i}", ++numbers[i])));
            }
            Assert.Equal(Nodes, states.Distinct().Count());
        }

        async Task TrainAsync(TimeSpan time)
        {
            using var isOver = new CancellationTokenSource(time);
            await Task.WhenAll(Enumerable.Range(0, Sessions).Select(async session =>
            {
                // Each step is one node's after the other: all of them have the session in memory.
                for (var (turn, tries) = (session, 0); !isOver.IsCancellationRequested; turn++)
                {
                    if (await cluster.TryAsync(turn, new Operation($"s{session}", ++numbers[session])) is null) Assert.True(++tries < 20, "no node answers");
                }
            }));
        }
    }

    private async Task<long> TransactionsAsync() => Convert.ToInt64(
        await _stores.AskAsync("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"),
        CultureInfo.InvariantCulture);

    private static StoredSession Session(long version, long mark = 0) =>
        new("a", "name a", "batch_norm", version, DateTimeOffset.UnixEpoch, new byte[] { (byte)version }, new byte[10]) { Mark = mark };
}
