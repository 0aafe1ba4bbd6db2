using BnService.Api.Storage;
using BnService.Api.Storage.Postgres;
using BnService.EndToEnd.Harness;
using Microsoft.Extensions.Options;
using Npgsql;

namespace BnService.EndToEnd.Storage;

/// <summary>How a node begins: with an empty database, one of another service, and none at all.</summary>
[Collection(PostgresTests.Name)]
public sealed class OpeningTests(PostgresServer server) : IAsyncLifetime
{
    private PostgresStores _stores = null!;

    public async Task InitializeAsync() => _stores = await PostgresStores.NewAsync(server);

    public async Task DisposeAsync() => await _stores.DisposeAsync();

    [Fact]
    public async Task Nodes_that_start_together_make_the_tables_once()
    {
        for (var round = 0; round < 3; round++)
        {
            await using var fresh = await PostgresStores.NewAsync(server);
            var stores = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => Task.Run(() => fresh.OpenAsync())));
            Assert.Equal($"{PostgresSchema.Number}", await fresh.AskAsync("SELECT string_agg(number::text, ' ') FROM bn_schema"));
            Assert.True(await stores[3].TryInsertAsync(Session("a"), default));
            Assert.NotNull(await stores[5].FindAsync("a", long.MaxValue, default));
        }
    }

    [Fact]
    public async Task While_one_makes_the_tables_the_others_wait()
    {
        await _stores.AskAsync("CREATE TABLE bn_schema (id bigint PRIMARY KEY, number bigint NOT NULL); INSERT INTO bn_schema VALUES (1, 0)");
        await using var first = new NpgsqlConnection(_stores.ConnectionString);
        await first.OpenAsync();
        Task opening;
        await using (var transaction = await first.BeginTransactionAsync())
        {
            await using (var locking = new NpgsqlCommand("SELECT number FROM bn_schema FOR UPDATE", first)) await locking.ExecuteNonQueryAsync();
            opening = Task.WhenAll(_stores.OpenAsync(), _stores.OpenAsync());
            await Task.Delay(500);
            // Who makes a table has it for itself until the end of the transaction.
            Assert.Equal(0L, await _stores.AskAsync(
                "SELECT count(*) FROM pg_locks JOIN pg_database ON oid = database WHERE datname = current_database() AND mode = 'AccessExclusiveLock' AND locktype = 'relation'"));
        }
        await opening;
        Assert.Equal((long)PostgresSchema.Number, await _stores.AskAsync("SELECT number FROM bn_schema"));
    }

    [Fact]
    public async Task The_schema_of_a_newer_service_is_refused_and_left_as_it_is()
    {
        await _stores.OpenAsync();
        await _stores.AskAsync("UPDATE bn_schema SET number = 99");
        var refusal = await Assert.ThrowsAsync<StorageUnusableException>(() => _stores.OpenAsync());
        Assert.Contains($"schema number 99, of a newer service; this one knows {PostgresSchema.Number}", refusal.Message, StringComparison.Ordinal);
        Assert.Equal(99L, await _stores.AskAsync("SELECT number FROM bn_schema"));
    }

    [Fact]
    public async Task A_database_that_starts_later_is_waited_for()
    {
        await server.StopAsync(StopMode.Fast);
        var opening = _stores.OpenAsync();
        await Eventually.TrueAsync(() => _stores.Log.Text.Contains("Waiting for the database 'test", StringComparison.Ordinal), "it is not waited for");
        Assert.False(opening.IsCompleted);
        await server.StartAsync();
        Assert.True(await (await opening).TryInsertAsync(Session("a"), default));
        Assert.Single(_stores.Log.Text.Split('\n'), line => line.StartsWith("Warning: Waiting", StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_database_that_never_comes_ends_the_start_after_half_a_minute()
    {
        var time = new ManualTime();
        var nowhere = new NpgsqlConnectionStringBuilder(_stores.ConnectionString) { Port = 1, Database = "bn" };
        await using var stores = PostgresStores.Of(nowhere.ConnectionString);
        var opening = stores.OpenAsync(time: time);
        await Eventually.TrueAsync(() => stores.Log.Text.Contains("Waiting for", StringComparison.Ordinal), "it is not waited for");
        time.AdvanceBy(TimeSpan.FromSeconds(29));
        await Task.Delay(200);
        Assert.False(opening.IsCompleted);
        for (var i = 0; i < 100 && !opening.IsCompleted; i++)
        {
            time.AdvanceBy(TimeSpan.FromSeconds(1));
            await Task.Delay(50);
        }
        var refusal = await Assert.ThrowsAsync<StorageUnusableException>(() => opening);
        Assert.Contains("the database 'bn' at 127.0.0.1:1 of Storage:ConnectionString cannot be used", refusal.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(PostgresServer.Password, refusal.Message + stores.Log.Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Password", "wr;ong")]
    [InlineData("Database", "nosuch")]
    [InlineData("Username", "nobody")]
    public async Task What_will_not_pass_ends_the_start_at_once(string setting, string value)
    {
        var wrong = new NpgsqlConnectionStringBuilder(_stores.ConnectionString) { [setting] = value };
        await using var stores = PostgresStores.Of(wrong.ConnectionString);
        var refusal = await Assert.ThrowsAsync<StorageUnusableException>(() => stores.OpenAsync().WaitAsync(TimeSpan.FromSeconds(10)));
        Assert.Contains($"the database '{wrong.Database}' at 127.0.0.1:{wrong.Port} of Storage:ConnectionString", refusal.Message, StringComparison.Ordinal);
        Assert.DoesNotContain(wrong.Password!, refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Host=localhost;Password=abc;hunter2")]
    [InlineData("Host=localhost;Password=abc;hunter2=x")]
    [InlineData("Host=localhost;Password=hunter2;Timeout=hunter2")]
    [InlineData("Host=localhost;Password=hunter2;Port=-1")]
    [InlineData("Password=hunter2;Database=x")]
    [InlineData("postgres://bn:hunter2@localhost/bn")]
    public void A_connection_string_that_cannot_be_read_is_refused_and_not_repeated(string text)
    {
        var refusal = Assert.Throws<StorageUnusableException>(() =>
            new PostgresSessionStore(Options.Create(new StorageOptions { Engine = "postgres", ConnectionString = text }), _stores.Log, TimeProvider.System));
        Assert.StartsWith("Storage:ConnectionString cannot be read", refusal.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("hunter2", refusal.ToString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Where_the_tables_are_there_the_right_to_use_them_is_enough()
    {
        await _stores.OpenAsync();
        var user = $"user{Guid.NewGuid():N}";
        await _stores.AskAsync($"""
            CREATE ROLE {user} LOGIN PASSWORD 'plain';
            GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {user};
            REVOKE EXECUTE ON FUNCTION pg_notify(text, text) FROM PUBLIC
            """);
        var limited = new NpgsqlConnectionStringBuilder(_stores.ConnectionString) { Username = user, Password = "plain" };
        await using var stores = PostgresStores.Of(limited.ConnectionString);
        var store = await stores.OpenAsync();
        // An engine without notifications is one that refuses them.
        Assert.Contains("The database has no LISTEN and NOTIFY", stores.Log.Text, StringComparison.Ordinal);
        Assert.True(await store.TryInsertAsync(Session("a"), default));
        Assert.True(await store.TryUpdateAsync(Session("a") with { Version = 2 }, 1, [], default));
        Assert.True(await store.TryDeleteAsync("a", 2, default));
    }

    private static StoredSession Session(string id) =>
        new(id, $"name {id}", "batch_norm", 1, DateTimeOffset.UnixEpoch, new byte[] { 1 }, new byte[] { 2 });
}
