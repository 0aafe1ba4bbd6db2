using System.Collections.Concurrent;
using BnService.EndToEnd.Harness;

namespace BnService.EndToEnd.Faults;

/// <summary>
/// Three nodes on one PostgreSQL, which are killed and started, and whose database goes and comes back: all that was answered is there,
/// and every change was made once.
/// </summary>
[Collection(PostgresTests.Name)]
public sealed class NodesTests(PostgresServer postgres)
{
    private const int Nodes = 3, Sessions = 8, ClientsOfSession = 2;

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Nodes_and_the_database_may_go_at_any_moment(bool notifications)
    {
        // Without notifications nodes learn of each other's steps only by asking: a shorter run of the same.
        var enough = Soak.Of(240, notifications ? 10_000 : 2_000);
        using var cluster = await Cluster.StartAsync(
            Nodes, await postgres.CreateDatabaseAsync(), ("Storage__Notifications", notifications ? "true" : "false"));
        foreach (var session in Enumerable.Range(0, Sessions))
            (await cluster.Client(0).PostAsync("/v1/sessions", Operation.Options($"s{session}"))).Expect(201);
        var (made, kills, restarts) = (0, 0, 0);
        var training = Enumerable.Range(0, Sessions)
            .Select(session => TrainAsync(cluster, $"s{session}", () => Interlocked.Increment(ref made) <= enough || Volatile.Read(ref restarts) < 2)).ToList();
        var faults = Task.Run(async () =>
        {
            var random = new Random(7);
            while (!training.TrueForAll(task => task.IsCompleted))
            {
                await Task.Delay(random.Next(50, 500));
                // The database after a third of the changes, in order, and after another one as in a crash; the nodes in between.
                if (Volatile.Read(ref made) > (restarts + 1) * enough / 3 && restarts < 2)
                {
                    await postgres.RestartAsync(restarts++ == 0 ? StopMode.Fast : StopMode.Immediate);
                    continue;
                }
                await cluster.RestartAsync(random.Next(Nodes));
                kills++;
            }
        });
        var versions = await Task.WhenAll(training);
        await faults;
        Assert.Equal(2, restarts);
        Assert.True(kills > 0, "no node was killed");
        using var replay = new Replay();
        for (var i = 0; i < Sessions; i++)
        {
            // Versions are the order in which the changes were made, whatever node made them: none is missing and none is there twice.
            var order = versions[i].OrderBy(change => change.Value).ToList();
            Assert.Equal(Enumerable.Range(2, order.Count).Select(version => (long)version), order.Select(change => change.Value));
            var expected = await replay.StateAfterAsync($"s{i}", [.. order.Select(change => change.Key)]);
            for (var node = 0; node < Nodes; node++)
                Assert.Equal(expected, (await new SessionClient(cluster.Client(node), $"s{i}").GetStateAsync()).Expect(200).Text);
        }
        Soak.Report($"{Nodes} nodes, notifications {notifications}: {versions.Sum(changes => changes.Count)} changes of {Sessions} sessions, {kills} kills of nodes, {restarts} restarts of the database, 0 lost, 0 made twice");
    }

    // Some clients share the session's changes, each of which goes from node to node until one answers.
    private static async Task<IReadOnlyDictionary<Operation, long>> TrainAsync(Cluster cluster, string session, Func<bool> goesOn)
    {
        var versions = new ConcurrentDictionary<Operation, long>();
        var number = -1;
        await Task.WhenAll(Enumerable.Range(0, ClientsOfSession).Select(async client =>
        {
            for (var turn = client; goesOn();)
            {
                var operation = new Operation(session, Interlocked.Increment(ref number));
                long? version;
                while ((version = await cluster.TryAsync(turn++, operation)) is null) await Task.Delay(20);
                versions[operation] = version.Value;
            }
        }));
        return versions;
    }
}
