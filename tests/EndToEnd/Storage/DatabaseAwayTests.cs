using BnService.Api.Storage;
using BnService.Api.Storage.Postgres;
using BnService.EndToEnd.Harness;

namespace BnService.EndToEnd.Storage;

/// <summary>The database goes and comes back: the store says so and finds it again, and knows what it has answered.</summary>
[Collection(PostgresTests.Name)]
public sealed class DatabaseAwayTests(PostgresServer server) : IAsyncLifetime
{
    private const int Sessions = 6;

    private static readonly TimeSpan Bound = TimeSpan.FromSeconds(20);

    private PostgresStores _stores = null!;

    public async Task InitializeAsync() => _stores = await PostgresStores.NewAsync(server);

    public async Task DisposeAsync() => await _stores.DisposeAsync();

    [Theory]
    [InlineData(StopMode.Fast)]
    [InlineData(StopMode.Immediate)]
    [InlineData(StopMode.Kill)]
    public async Task While_it_is_away_that_is_said_and_when_it_is_back_all_goes_on(StopMode mode)
    {
        var store = await _stores.OpenAsync();
        await store.TryInsertAsync(Session("a", 1), default);
        await server.StopAsync(mode);
        try
        {
            // Twice: with connections that were good a moment ago, and without any.
            for (var i = 0; i < 2; i++)
            {
                foreach (var call in Calls(store)) await Assert.ThrowsAsync<StorageUnavailableException>(() => call().WaitAsync(Bound));
            }
        }
        finally
        {
            await server.StartAsync();
        }
        Assert.Equal(1, (await store.FindVersionAsync("a", default))?.Number);
        Assert.True(await store.TryUpdateAsync(Session("a", 2), 1, [], default));
        Assert.Single(_stores.Log.Text.Split('\n'), line => line.StartsWith("Error: The database 'test", StringComparison.Ordinal));
        Assert.Single(_stores.Log.Text.Split('\n'), line => line.EndsWith("answers again ", StringComparison.Ordinal));
        Assert.DoesNotContain(PostgresServer.Password, _stores.Log.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Every_write_that_was_answered_is_what_it_was_answered_when_connections_are_ended() => await WriteWhileAsync(async () =>
    {
        for (var i = 0; i < 60; i++)
        {
            await Task.Delay(30);
            await _stores.AskAsync("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'BnService' AND datname = current_database()");
        }
    });

    [Fact]
    public async Task Every_write_that_was_answered_is_what_it_was_answered_when_the_server_crashes() => await WriteWhileAsync(async () =>
    {
        for (var i = 0; i < 3; i++)
        {
            await Task.Delay(500);
            await server.RestartAsync(StopMode.Immediate);
        }
    });

    // Each session has one writer, who knows the stored version after each answer: it is never false, for nobody else writes.
    private async Task WriteWhileAsync(Func<Task> trouble)
    {
        var store = await _stores.OpenAsync();
        using var isOver = new CancellationTokenSource();
        for (var i = 0; i < Sessions; i++) await store.TryInsertAsync(Session($"s{i}", 1), default);
        var writing = Enumerable.Range(0, Sessions).Select(i => Task.Run(() => WriteAsync(store, $"s{i}", isOver.Token))).ToList();
        await trouble();
        await isOver.CancelAsync();
        var made = await Task.WhenAll(writing);
        Assert.True(made.Sum() > 20 * Sessions, $"{made.Sum()} writes");
        Assert.Equal(0L, await _stores.AskAsync("SELECT count(*) FROM bn_answers WHERE session_id NOT IN (SELECT id FROM bn_sessions)"));
    }

    private static async Task<long> WriteAsync(PostgresSessionStore store, string id, CancellationToken isOver)
    {
        for (var version = 1L; ;)
        {
            try
            {
                Assert.True(await store.TryUpdateAsync(Session(id, version + 1), version, [new StoredAnswer("", $"{version}", default)], default).AsTask()
                    .WaitAsync(TimeSpan.FromSeconds(60), CancellationToken.None));
                version++;
                if (isOver.IsCancellationRequested) return version;
            }
            catch (StorageUnavailableException refusal)
            {
                var stored = await StoredVersionAsync(store, id);
                if (refusal.Message.Contains("nothing has changed", StringComparison.Ordinal)) Assert.Equal(version, stored);
                Assert.InRange(stored, version, version + 1);
                version = stored;
            }
            Assert.Equal(version, await StoredVersionAsync(store, id));
        }
    }

    private static async Task<long> StoredVersionAsync(PostgresSessionStore store, string id)
    {
        while (true)
        {
            try
            {
                return (await store.FindVersionAsync(id, default))!.Value.Number;
            }
            catch (StorageUnavailableException)
            {
                await Task.Delay(20);
            }
        }
    }

    private static IEnumerable<Func<Task>> Calls(PostgresSessionStore store) =>
    [
        () => store.FindAsync("a", long.MaxValue, default).AsTask(),
        () => store.FindVersionAsync("a", default).AsTask(),
        () => store.TryUpdateAsync(Session("a", 5), 4, [], default).AsTask(),
        () => store.TryInsertAsync(Session("b", 1), default).AsTask(),
        () => store.ListAsync(new SessionQuery(null, null, 5, null), default).AsTask(),
        () => store.AddAsync("a", "t", 1, new StoredContribution(0, 2, "n", default), default).AsTask(),
    ];

    private static StoredSession Session(string id, long version) =>
        new(id, $"name {id}", "batch_norm", version, DateTimeOffset.UnixEpoch, new byte[] { (byte)version }, new byte[1000]);
}
