using BnService.EndToEnd.Harness;

namespace BnService.EndToEnd.Storage;

/// <summary>Rows of the database that are not as they were written, as with SQLite: each is in trouble alone.</summary>
[Collection(PostgresTests.Name)]
public sealed class DamagedRowsTests(PostgresServer server) : IAsyncLifetime
{
    private const string X = """{"x":[[1,2],[3,5],[4,1]]}""";

    private PostgresStores _stores = null!;

    public async Task InitializeAsync() => _stores = await PostgresStores.NewAsync(server);

    public async Task DisposeAsync() => await _stores.DisposeAsync();

    [Theory]
    [InlineData("state = set_byte(state, length(state) - 1, 127)")]
    [InlineData("header = set_byte(header, 40, 0)")]
    [InlineData("header = ''")]
    public async Task A_damaged_session_alone_is_refused_restored_and_deleted(string flaw)
    {
        using (var before = Open())
        {
            await before.Client.CreateAsync("""{"name":"good","num_features":2}""");
            var session = await before.Client.CreateAsync("""{"name":"bad","num_features":2}""");
            (await session.TrainAsync(X)).Expect(200);
            (await session.SnapshotAsync()).Expect(201);
            (await session.TrainAsync(X, ("Idempotency-Key", "k"))).Expect(200);
        }
        await _stores.AskAsync($"UPDATE bn_sessions SET {flaw} WHERE name = 'bad'");
        await _stores.AskAsync("UPDATE bn_answers SET content = set_byte(content, 100, 1)");
        using var service = Open();
        var (bad, good) = (new SessionClient(service.Client, "bad"), new SessionClient(service.Client, "good"));
        (await bad.TrainAsync(X)).ExpectProblem("state-damaged", "session 'bad' is damaged");
        (await bad.InferAsync(X)).ExpectProblem("state-damaged");
        (await good.TrainAsync(X)).Expect(200);
        var list = (await service.Client.GetAsync("/v1/sessions?include=health,total")).Expect(200).Json;
        Assert.Equal(2, list.GetProperty("total").GetInt64());
        Assert.Equal(flaw.StartsWith("header", StringComparison.Ordinal), list.TryGetProperty("damaged", out _));
        Assert.Equal(4, (await bad.RestoreAsync(2)).Expect(200).Json.GetProperty("version").GetInt64());
        (await bad.TrainAsync(X, ("Idempotency-Key", "k"))).ExpectProblem("state-damaged", "Idempotency-Key 'k'");
        (await bad.TrainAsync(X)).Expect(200);
        await _stores.AskAsync($"UPDATE bn_sessions SET {flaw} WHERE name = 'bad'");
        using var other = Open();
        (await new SessionClient(other.Client, "bad").GetAsync()).ExpectProblem("state-damaged");
        (await new SessionClient(other.Client, "bad").DeleteAsync()).Expect(204);
        (await bad.GetAsync()).ExpectProblem("session-not-found");
    }

    private Service Open() => Service.With(("Storage:Engine", "postgres"), ("Storage:ConnectionString", _stores.ConnectionString));
}
