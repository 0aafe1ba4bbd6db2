using BnService.EndToEnd.Harness;

namespace BnService.EndToEnd.Faults;

/// <summary>
/// With the durability of an interval a killed database server has lost what it has answered in the last moment: nodes that know more than
/// it has go on with what it has.
/// </summary>
[Collection(PostgresTests.Name)]
public sealed class IntervalTests(PostgresServer server)
{
    private const int Nodes = 2, Sessions = 4;

    [Fact]
    public async Task All_sessions_go_on_when_the_database_server_is_killed()
    {
        var database = await server.CreateDatabaseAsync();
        using (var cluster = await Cluster.StartAsync(Nodes, database, ("Storage__Durability", "interval")))
        {
            foreach (var session in Enumerable.Range(0, Sessions))
                (await cluster.Client(0).PostAsync("/v1/sessions", Operation.Options($"s{session}"))).Expect(201);
            using var isOver = new CancellationTokenSource();
            var training = Enumerable.Range(0, Sessions).Select(session => Task.Run(() => TrainAsync(cluster, $"s{session}", isOver.Token))).ToList();
            for (var kills = 0; kills < Soak.Of(2, 20); kills++)
            {
                await Task.Delay(500);
                await server.RestartAsync(StopMode.Kill);
            }
            await isOver.CancelAsync();
            var ends = await Task.WhenAll(training);
            for (var i = 0; i < Sessions; i++)
            {
                Assert.Equal(ends[i].Version, await PostgresServer.ExecuteAsync(database, $"SELECT version FROM bn_sessions WHERE name = 's{i}'"));
                Assert.Single((await Task.WhenAll(Enumerable.Range(0, Nodes).Select(async node =>
                    (await new SessionClient(cluster.Client(node), $"s{i}").GetStateAsync()).Expect(200).Text))).Distinct());
            }
            Soak.Report($"interval: {ends.Sum(end => end.Made)} answered steps, {ends.Sum(end => end.Lost)} of them lost with the killed server");
        }
        await server.DropDatabaseAsync(database);
    }

    // Versions go up by one with each answer, but where the server has lost some: then they begin again behind what it has.
    private static async Task<(long Version, int Made, long Lost)> TrainAsync(Cluster cluster, string session, CancellationToken isOver)
    {
        var (version, made, lost) = (1L, 0, 0L);
        for (var turn = 0; !isOver.IsCancellationRequested || made == 0; turn++)
        {
            var operation = new Operation(session, turn);
            long? next;
            while ((next = await cluster.TryAsync(turn, operation)) is null) await Task.Delay(20, CancellationToken.None);
            Assert.InRange(next.Value, 2, version + 1);
            lost += version + 1 - next.Value;
            (version, made) = (next.Value, made + 1);
        }
        return (version, made, lost);
    }
}
