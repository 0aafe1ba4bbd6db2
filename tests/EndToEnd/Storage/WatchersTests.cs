using System.Diagnostics;
using BnService.EndToEnd.Faults;
using BnService.EndToEnd.Harness;
using Npgsql;

namespace BnService.EndToEnd.Storage;

/// <summary>Streams of events that are open when the database goes.</summary>
[Collection(PostgresTests.Name)]
public sealed class WatchersTests(PostgresServer server) : IAsyncLifetime
{
    private PostgresStores _stores = null!;

    public async Task InitializeAsync() => _stores = await PostgresStores.NewAsync(server);

    public async Task DisposeAsync() => await _stores.DisposeAsync();

    /// <summary>They went on as if nothing were to be told.</summary>
    [Fact]
    public async Task Streams_end_when_the_database_is_silent_and_begin_again_when_it_is_back()
    {
        var database = new NpgsqlConnectionStringBuilder(_stores.ConnectionString);
        using var wire = CutWire.To(database.Port);
        (database.Port, database.CommandTimeout) = (wire.Port, 2);
        using var cluster = await Cluster.StartAsync(1, database.ConnectionString);
        (await cluster.Client(0).PostAsync("/v1/sessions", Operation.Options("a"))).Expect(201);
        string[] paths = ["/v1/sessions/a/events", "/v1/events"];
        using var http = new HttpClient { BaseAddress = cluster.Address(0) };
        // That of all sessions asks more rarely.
        var streams = await Task.WhenAll(paths[..Soak.Of(1, 2)].Select(path => Events.OpenAsync(cluster.Address(0), path)));
        Assert.Equal("state", (await streams[0].NextAsync()).Name);
        wire.Darken();
        foreach (var stream in streams)
        {
            Assert.True(await stream.HasEndedAsync());
            stream.Dispose();
        }
        foreach (var path in paths) Assert.Equal(503, await StatusAsync(path));
        wire.Light();
        var begun = Stopwatch.StartNew();
        foreach (var path in paths)
        {
            while (await StatusAsync(path) != 200)
            {
                Assert.True(begun.Elapsed < TimeSpan.FromSeconds(20), $"{path} does not come back");
                await Task.Delay(100);
            }
        }

        async Task<int> StatusAsync(string path)
        {
            using var answer = await http.GetAsync(new Uri(path, UriKind.Relative), HttpCompletionOption.ResponseHeadersRead);
            return (int)answer.StatusCode;
        }
    }

    [Fact]
    public async Task Who_watches_is_told_that_the_database_has_gone_back()
    {
        using var cluster = await Cluster.StartAsync(1, _stores.ConnectionString);
        (await cluster.Client(0).PostAsync("/v1/sessions", Operation.Options("a"))).Expect(201);
        await _stores.AskAsync("CREATE TABLE saved AS TABLE bn_sessions");
        Assert.NotNull(await cluster.TryAsync(0, new Operation("a", 1)));
        using var events = await Events.OpenAsync(cluster.Address(0), "/v1/sessions/a/events");
        Assert.Equal("2", (await events.NextAsync()).Id);
        await _stores.AskAsync("BEGIN; DELETE FROM bn_sessions; INSERT INTO bn_sessions TABLE saved; COMMIT");
        Assert.Equal(("state", "1"), (await events.NextAsync()) is var back ? (back.Name, back.Id) : default);
    }

    /// <summary>The names of a row that is gone were taken for ever.</summary>
    [Fact]
    public async Task A_name_whose_row_has_vanished_is_free()
    {
        using var cluster = await Cluster.StartAsync(1, _stores.ConnectionString);
        (await cluster.Client(0).PostAsync("/v1/sessions", Operation.Options("a"))).Expect(201);
        await _stores.AskAsync("DELETE FROM bn_sessions");
        (await cluster.Client(0).GetAsync("/v1/sessions/a")).ExpectProblem("session-not-found");
        (await cluster.Client(0).PostAsync("/v1/sessions", Operation.Options("a"))).Expect(201);
        Assert.NotNull(await cluster.TryAsync(0, new Operation("a", 1)));
        (await cluster.Client(0).PostAsync("/v1/sessions", Operation.Options("a"))).ExpectProblem("session-exists");
    }
}
