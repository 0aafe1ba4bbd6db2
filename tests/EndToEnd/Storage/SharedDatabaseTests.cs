using System.Collections.Concurrent;
using BnService.Api.Storage;
using BnService.EndToEnd.Harness;
using Npgsql;

namespace BnService.EndToEnd.Storage;

/// <summary>Several nodes with one database.</summary>
[Collection(PostgresTests.Name)]
public sealed class SharedDatabaseTests(PostgresServer server) : IAsyncLifetime
{
    private PostgresStores _stores = null!;

    public async Task InitializeAsync() => _stores = await PostgresStores.NewAsync(server);

    public async Task DisposeAsync() => await _stores.DisposeAsync();

    [Fact]
    public async Task Of_updates_of_two_nodes_from_one_version_exactly_one_is_made()
    {
        var nodes = new[] { await _stores.OpenAsync(), await _stores.OpenAsync() };
        await nodes[0].TryInsertAsync(Session("a", 1), default);
        for (var version = 1; version <= 20; version++)
        {
            // With an answer each, whose places in their order must not collide either.
            var made = await Task.WhenAll(Enumerable.Range(0, 10).Select(i => Task.Run(() =>
                nodes[i % 2].TryUpdateAsync(Session("a", version + 1), version, i < 4 ? [] : [new StoredAnswer("", $"{version}", new byte[] { (byte)i })], default).AsTask())));
            Assert.Single(made, isMade => isMade);
        }
    }

    [Fact]
    public async Task Answers_of_two_nodes_at_the_same_time_are_all_remembered()
    {
        var nodes = new[] { await _stores.OpenAsync(), await _stores.OpenAsync() };
        await nodes[0].TryInsertAsync(Session("a", 1), default);
        var made = await Task.WhenAll(Enumerable.Range(0, 100).Select(i => Task.Run(() =>
            nodes[i % 2].TryUpdateAsync(Session("a", 1), 1, [new StoredAnswer("", $"{i / 2}", default), new StoredAnswer($"own {i}", "k", default)], default).AsTask())));
        // The keys are 50, each of which both nodes ask for at the same time.
        Assert.Equal(50, made.Count(isMade => isMade));
        Assert.Equal(100L, await _stores.AskAsync("SELECT count(*) FROM bn_answers"));
    }

    [Fact]
    public async Task Nodes_that_write_many_sessions_together_do_not_hinder_each_other()
    {
        var nodes = new[] { await _stores.OpenAsync(), await _stores.OpenAsync() };
        for (var i = 0; i < 40; i++) await nodes[0].TryInsertAsync(Session($"s{i:D2}", 1), default);
        for (var round = 0; round < 10; round++)
        {
            var writes = nodes.SelectMany((node, n) => Enumerable.Range(0, 40).Select(i => n == 0 ? i : 39 - i).Select(i => Task.Run(async () =>
            {
                while (true)
                {
                    var version = (await node.FindVersionAsync($"s{i:D2}", default))!.Value.Number;
                    if (await node.TryUpdateAsync(Session($"s{i:D2}", version + 1), version, [], default)) return;
                }
            })));
            await Task.WhenAll(writes);
        }
        Assert.Equal(40L * 21, (decimal)(await _stores.AskAsync("SELECT sum(version) FROM bn_sessions"))!);
        Assert.DoesNotContain("refuses", _stores.Log.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Names_and_ids_that_two_nodes_give_at_the_same_time_are_given_once()
    {
        var nodes = new[] { await _stores.OpenAsync(), await _stores.OpenAsync() };
        for (var i = 0; i < 20; i++)
        {
            // One's id is the other's name.
            var made = await Task.WhenAll(Enumerable.Range(0, 2).Select(n => Task.Run(() => nodes[n].TryInsertAsync(
                Session($"{n}of{i}", 1) with { Name = $"{1 - n}of{i}" }, default).AsTask())));
            Assert.True(made.Count(isMade => isMade) <= 1);
        }
        Assert.Equal(2 * await nodes[0].CountAsync(null, default), await _stores.AskAsync("SELECT count(*) FROM bn_names"));
    }

    [Fact]
    public async Task A_node_is_told_what_the_others_have_stored_and_not_what_itself_has()
    {
        var (one, other) = (await _stores.OpenAsync(), await _stores.OpenAsync());
        var (heardByOne, heardByOther) = (new ConcurrentQueue<(string, long)>(), new ConcurrentQueue<(string, long)>());
        one.Changed += (id, version) => heardByOne.Enqueue((id, version));
        other.Changed += (id, version) => heardByOther.Enqueue((id, version));
        await one.TryInsertAsync(Session("a", 1), default);
        await one.TryUpdateAsync(Session("a", 4), 1, [], default);
        await one.TryUpdateAsync(Session("a", 9), 7, [], default);
        await one.TryUpdateAsync(Session("a", 4), 4, [new StoredAnswer("", "k", default)], default);
        await one.TryUpdateAsync(Session("a", 5), 4, [new StoredAnswer("", "l", default)], default);
        await one.TryDeleteAsync("a", 5, default);
        await Eventually.EqualAsync(3, () => heardByOther.Count);
        Assert.Equal([("a", 4), ("a", 5), ("a", 0)], heardByOther);
        // What comes later has come after all that could have come from itself.
        await other.TryInsertAsync(Session("b", 1), default);
        await other.TryUpdateAsync(Session("b", 2), 1, [], default);
        await Eventually.EqualAsync(1, () => heardByOne.Count);
        Assert.Equal([("b", 2)], heardByOne);
    }

    [Fact]
    public async Task Notifications_that_were_interrupted_come_again()
    {
        var (one, other) = (await _stores.OpenAsync(), await _stores.OpenAsync());
        var heard = 0;
        other.Changed += (_, _) => Interlocked.Increment(ref heard);
        await one.TryInsertAsync(Session("a", 1), default);
        await _stores.AskAsync("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'BnService' AND datname = current_database()");
        await Eventually.TrueAsync(() => _stores.Log.Text.Split("Notifications of the database arrive again").Length == 3, _stores.Log.Text);
        Assert.True(await one.TryUpdateAsync(Session("a", 2), 1, [], default));
        await Eventually.EqualAsync(1, () => Volatile.Read(ref heard));
    }

    [Fact]
    public async Task Nothing_is_told_and_nobody_listens_where_notifications_are_off()
    {
        var heard = new ConcurrentQueue<string>();
        await using var ear = new NpgsqlConnection(_stores.ConnectionString);
        await ear.OpenAsync();
        ear.Notification += (_, notification) => heard.Enqueue(notification.Payload);
        await using (var listen = new NpgsqlCommand("LISTEN bn_versions", ear)) await listen.ExecuteNonQueryAsync();
        var silent = await _stores.OpenAsync(notifications: false);
        await silent.TryInsertAsync(Session("a", 1), default);
        await silent.TryUpdateAsync(Session("a", 2), 1, [], default);
        await silent.TryDeleteAsync("a", 2, default);
        Assert.Equal(0L, await _stores.AskAsync("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'BnService' AND datname = current_database() AND query LIKE '%LISTEN%'"));
        var telling = await _stores.OpenAsync();
        await telling.TryInsertAsync(Session("b", 1), default);
        await telling.TryUpdateAsync(Session("b", 2), 1, [], default);
        while (heard.IsEmpty || heard.Last().Length == 0) await ear.WaitAsync(new CancellationTokenSource(TimeSpan.FromSeconds(10)).Token);
        Assert.EndsWith(" 2 b", Assert.Single(heard, payload => payload.Length > 0), StringComparison.Ordinal);
    }

    /// <summary>Also where the server is configured not to wait.</summary>
    [Theory]
    [InlineData("step", "on")]
    [InlineData("interval", "off")]
    public async Task The_service_says_what_a_commit_waits_for(string durability, string expected)
    {
        await _stores.AskAsync("DO $$ BEGIN EXECUTE 'ALTER DATABASE ' || current_database() || ' SET synchronous_commit = off'; END $$");
        var store = await _stores.OpenAsync(durability: durability);
        await _stores.AskAsync("""
            CREATE TABLE waits (mode text);
            CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN INSERT INTO waits VALUES (current_setting('synchronous_commit')); RETURN NEW; END $$;
            CREATE TRIGGER noting BEFORE INSERT OR UPDATE ON bn_sessions FOR EACH ROW EXECUTE FUNCTION note()
            """);
        Assert.True(await store.TryInsertAsync(Session("a", 1), default));
        Assert.True(await store.TryUpdateAsync(Session("a", 2), 1, [], default));
        Assert.Equal($"{expected} {expected}", await _stores.AskAsync("SELECT string_agg(mode, ' ') FROM waits"));
    }

    [Fact]
    public async Task With_the_durability_of_an_interval_answers_do_not_wait_for_the_disk()
    {
        const string hasUnwritten = "SELECT pg_current_wal_flush_lsn() < pg_current_wal_insert_lsn()";
        foreach (var durability in (string[])["step", "interval"])
        {
            var store = await _stores.OpenAsync(notifications: false, durability);
            await store.TryInsertAsync(Session(durability, 1), default);
            var unwritten = 0;
            for (var version = 1; version <= 50; version++)
            {
                Assert.True(await store.TryUpdateAsync(Session(durability, version + 1), version, [], default));
                if (await _stores.AskAsync(hasUnwritten) is true) unwritten++;
            }
            if (durability == "interval") Assert.True(unwritten > 25, $"{unwritten}");
            else Assert.True(unwritten < 10, $"{unwritten}");
        }
    }

    private static StoredSession Session(string id, long version) =>
        new(id, $"name {id}", "batch_norm", version, DateTimeOffset.UnixEpoch, new byte[] { (byte)version }, new byte[] { (byte)version });
}
