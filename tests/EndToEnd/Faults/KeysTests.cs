using System.Diagnostics;
using BnService.EndToEnd.Harness;

namespace BnService.EndToEnd.Faults;

/// <summary>Keys of nodes that share a database: made on one of them, or beside all of them, and known while the database is away.</summary>
[Collection(PostgresTests.Name)]
public sealed class KeysTests(PostgresServer server)
{
    // "Within a second or two", on machines that have other things to do as well.
    private static readonly TimeSpan Soon = TimeSpan.FromSeconds(10);

    [Fact]
    public async Task What_becomes_of_a_key_is_known_to_every_node_and_outlives_the_database_being_away()
    {
        var database = await server.CreateDatabaseAsync();
        using var nodes = await Cluster.StartAsync(2, database);
        var (one, other) = (nodes.Client(0), nodes.Client(1));
        // The verb works while nodes run: nobody has the database for himself.
        var (exitCode, output, errors) = await ServiceProcess.RunAsync(["keys", "create", "--name", "first", "--role", "admin"],
            ("Storage__Engine", "postgres"), ("Storage__ConnectionString", database));
        Assert.True(exitCode == 0, errors);
        var admin = Assert.Single(output);
        foreach (var node in (ServiceClient[])[one, other])
        {
            await UntilAsync(async () => (await node.GetAsync("/v1/sessions")).Status == 401);
            (await node.GetAsync("/v1/keys", KeyedService.Bearer(admin))).Expect(200);
        }
        var reader = await KeyedService.CreateAsync(one, "reader", null, admin);
        await UntilAsync(async () => (await other.GetAsync("/v1/sessions", KeyedService.Bearer(reader))).Status == 200);
        (await other.DeleteAsync($"/v1/keys/{KeyedService.IdOf(reader)}", KeyedService.Bearer(admin))).Expect(204);
        (await other.GetAsync("/v1/sessions", KeyedService.Bearer(reader))).Expect(401);
        await UntilAsync(async () => (await one.GetAsync("/v1/sessions", KeyedService.Bearer(reader))).Status == 401);

        await server.StopAsync(StopMode.Fast);
        (await one.GetAsync("/v2", KeyedService.Bearer(admin))).Expect(200);
        (await one.GetAsync("/v2", KeyedService.Bearer(reader))).Expect(401);
        (await one.GetAsync("/v2")).Expect(401);
        await server.StartAsync();
        (await one.GetAsync("/v2", KeyedService.Bearer(admin))).Expect(200);
    }

    private static async Task UntilAsync(Func<Task<bool>> holds)
    {
        var begun = Stopwatch.StartNew();
        while (!await holds())
        {
            Assert.True(begun.Elapsed < Soon, "the node does not know what the other one does");
            await Task.Delay(50);
        }
    }
}
