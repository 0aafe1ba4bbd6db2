using BnService.Api.Storage;
using BnService.Api.Storage.Postgres;
using BnService.EndToEnd.Harness;
using Npgsql;

namespace BnService.EndToEnd.Faults;

/// <summary>A standby follows the database, and takes its place: the nodes find it, without what it has not got.</summary>
[Collection(PostgresTests.Name)]
public sealed class FailoverTests(PostgresServer primary) : IAsyncLifetime
{
    private const int Nodes = 2, Sessions = 4;

    private string _database = "";
    private int _numbers;
    private PostgresServer _standby = null!;

    public async Task InitializeAsync()
    {
        _database = await primary.CreateDatabaseAsync();
        _standby = await primary.StartStandbyAsync();
    }

    public async Task DisposeAsync()
    {
        await _standby.DisposeAsync();
        await primary.DropDatabaseAsync(_database);
    }

    [Fact]
    public async Task Nodes_go_on_with_the_standby_that_is_promoted()
    {
        await using var stores = PostgresStores.Of(Hosts(_standby, primary));
        using var cluster = await Cluster.StartAsync(Nodes, stores.ConnectionString);
        await CreateAsync(cluster);
        await TrainAsync(cluster, 20);
        await _standby.CatchUpAsync(primary);
        // From here on the standby is behind, as an asynchronous one may be.
        await _standby.ConfigureAsync("primary_conninfo", "");
        var lost = await TrainAsync(cluster, 20);
        using var isOver = new CancellationTokenSource();
        var meanwhile = Task.Run(() => TrainAsync(cluster, int.MaxValue, isOver.Token));
        await Task.Delay(300);
        await primary.StopAsync(StopMode.Kill);
        await Task.Delay(700);
        await _standby.PromoteAsync();
        await Task.Delay(1500);
        await isOver.CancelAsync();
        await meanwhile;
        var after = await TrainAsync(cluster, 10);
        for (var i = 0; i < Sessions; i++)
        {
            var stored = await PostgresServer.ExecuteAsync(Of(_standby), $"SELECT version FROM bn_sessions WHERE name = 's{i}'");
            Assert.Equal(after[i], stored);
            Assert.Single((await Task.WhenAll(Enumerable.Range(0, Nodes).Select(async node =>
                (await new SessionClient(cluster.Client(node), $"s{i}").GetStateAsync()).Expect(200).Text))).Distinct());
        }
        Soak.Report($"failover: versions {string.Join(' ', lost)} before, {string.Join(' ', after)} after");
    }

    /// <summary>A primary that has been made a standby goes on to answer, and its connections are good.</summary>
    [Fact]
    public async Task A_server_that_takes_no_writes_any_more_is_left()
    {
        await using var stores = PostgresStores.Of(Hosts(primary, _standby));
        var store = await stores.OpenAsync();
        Assert.True(await store.TryInsertAsync(Session(1), default));
        await _standby.CatchUpAsync(primary);
        try
        {
            await primary.ConfigureAsync("default_transaction_read_only", "on");
            await _standby.PromoteAsync();
            var isWritten = false;
            for (var i = 0; i < 200 && !isWritten; i++) isWritten = await TryWriteAsync(store);
            Assert.True(isWritten);
            Assert.Equal(2, (await store.FindVersionAsync("a", default))?.Number);
            Assert.Equal(2L, await PostgresServer.ExecuteAsync(Of(_standby), "SELECT version FROM bn_sessions"));
        }
        finally
        {
            var writing = _database + ";Options=-c default_transaction_read_only=off";
            await PostgresServer.ExecuteAsync(writing, "ALTER SYSTEM RESET default_transaction_read_only");
            await PostgresServer.ExecuteAsync(writing, "SELECT pg_reload_conf()");
        }
    }

    /// <summary>Nobody has told it of the other one: two servers of one database take writes.</summary>
    [Fact]
    public async Task A_primary_that_comes_back_beside_the_one_that_has_taken_its_place_is_not_used()
    {
        await using var stores = PostgresStores.Of(Hosts(primary, _standby));
        var store = await stores.OpenAsync();
        Assert.True(await store.TryInsertAsync(Session(1), default));
        await _standby.CatchUpAsync(primary);
        await primary.StopAsync(StopMode.Kill);
        await _standby.PromoteAsync();
        var isWritten = false;
        for (var i = 0; i < 200 && !isWritten; i++) isWritten = await TryWriteAsync(store);
        Assert.True(isWritten);
        await primary.StartAsync();
        for (var found = 0; found < 5;)
        {
            // As the end of every connection does, the first server of the list is looked for anew.
            await PostgresServer.ExecuteAsync(
                Of(_standby), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'BnService'");
            await Task.Delay(100);
            try
            {
                Assert.Equal(2, (await store.FindVersionAsync("a", default))?.Number);
                found++;
            }
            catch (StorageUnavailableException)
            {
                // The only server that is used has just ended all connections.
            }
        }
        Assert.Equal(1L, await PostgresServer.ExecuteAsync(Of(primary), "SELECT version FROM bn_sessions"));
    }

    [Fact]
    public async Task A_standby_alone_is_waited_for_and_ends_the_start_with_what_it_is()
    {
        // With tables and without: what a standby cannot do is not what is missing.
        await using (var stores = PostgresStores.Of(_database)) await stores.OpenAsync();
        await _standby.CatchUpAsync(primary);
        var time = new ManualTime();
        await using var alone = PostgresStores.Of(Of(_standby));
        var opening = alone.OpenAsync(time: time);
        await Eventually.TrueAsync(() => alone.Log.Text.Contains("Waiting for", StringComparison.Ordinal), "it is not waited for");
        Assert.False(opening.IsCompleted);
        for (var i = 0; i < 100 && !opening.IsCompleted; i++)
        {
            time.AdvanceBy(TimeSpan.FromSeconds(1));
            await Task.Delay(50);
        }
        var refusal = await Assert.ThrowsAsync<StorageUnusableException>(() => opening);
        Assert.Contains("it is a standby (in recovery), which takes no writes", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("Host=a,b", refusal.Message, StringComparison.Ordinal);
        await _standby.PromoteAsync();
        Assert.True(await (await alone.OpenAsync()).TryInsertAsync(Session(1), default));
    }

    private static async Task<bool> TryWriteAsync(PostgresSessionStore store)
    {
        try
        {
            return await store.TryUpdateAsync(Session(2), 1, [], default);
        }
        catch (StorageUnavailableException)
        {
            await Task.Delay(50);
            return false;
        }
    }

    private string Of(PostgresServer server) => new NpgsqlConnectionStringBuilder(_database) { Port = server.Port }.ConnectionString;

    private string Hosts(params PostgresServer[] servers) => new NpgsqlConnectionStringBuilder(_database)
    {
        Host = string.Join(',', servers.Select(server => $"127.0.0.1:{server.Port}")),
    }.ConnectionString;

    private static async Task CreateAsync(Cluster cluster)
    {
        foreach (var session in Enumerable.Range(0, Sessions))
            (await cluster.Client(0).PostAsync("/v1/sessions", Operation.Options($"s{session}"))).Expect(201);
    }

    // Steps of each session, on one node after the other, each of which is answered with 200 or 503.
    private Task<long[]> TrainAsync(Cluster cluster, int steps, CancellationToken isOver = default) =>
        Task.WhenAll(Enumerable.Range(0, Sessions).Select(session => TrainAsync(cluster, session, steps, isOver)));

    // The version of the last one that was made.
    private async Task<long> TrainAsync(Cluster cluster, int session, int steps, CancellationToken isOver)
    {
        var version = 0L;
        for (var (turn, made) = (session, 0); made < steps && !isOver.IsCancellationRequested; turn++)
        {
            var next = await cluster.TryAsync(turn, new Operation($"s{session}", Interlocked.Increment(ref _numbers)));
            if (next is null) await Task.Delay(20, CancellationToken.None);
            else (version, made) = (next.Value, made + 1);
        }
        return version;
    }

    private static StoredSession Session(long version) =>
        new("a", "name a", "batch_norm", version, DateTimeOffset.UnixEpoch, new byte[] { (byte)version }, new byte[10]);
}
