using BnService.EndToEnd.Harness;

namespace BnService.EndToEnd.Faults;

/// <summary>Three nodes behind the load balancer that compose.scale.yaml starts.</summary>
[Collection(PostgresTests.Name)]
public sealed class LoadBalancerTests(PostgresServer postgres)
{
    private const int Nodes = 3, Sessions = 12;

    [Fact]
    public async Task All_calls_of_a_session_go_to_one_node_as_long_as_it_lives()
    {
        using var cluster = await Cluster.StartAsync(Nodes, await postgres.CreateDatabaseAsync());
        using var balancer = await LoadBalancer.StartAsync([.. Enumerable.Range(0, Nodes).Select(cluster.Address)]);
        using var http = new HttpClient { BaseAddress = balancer.Address };
        var client = new ServiceClient(http);
        var x = Batch.Random(1, 8, Operation.Features);
        var nodes = new Dictionary<string, string>();
        for (var i = 0; i < Sessions; i++)
        {
            (await client.PostAsync("/v1/sessions", Operation.Options($"s{i}"))).Expect(201);
            var session = new SessionClient(client, $"s{i}");
            for (var step = 0; step < 3; step++)
            {
                // What the step has left behind is where its backward looks for it.
                var id = (await session.TrainAsync(x, retain: true)).Expect(200)["step_id"].GetString()!;
                (await session.BackwardAsync(id, x)).Expect(200);
                Assert.Equal(nodes.GetValueOrDefault(session.Name, NodeOf(id)), nodes[session.Name] = NodeOf(id));
            }
        }
        Assert.Equal(Nodes, nodes.Values.Distinct().Count());
        // A session whose node is gone goes on with another one.
        cluster.Kill(0);
        var orphan = nodes.First(session => session.Value == "node-1").Key;
        var answer = (await new SessionClient(client, orphan).TrainAsync(x, retain: true)).Expect(200);
        Assert.NotEqual("node-1", NodeOf(answer["step_id"].GetString()!));
        Assert.Equal(4, answer["num_batches_tracked"].GetInt64());
    }

    private static string NodeOf(string stepId) => stepId[..stepId.IndexOf(':', StringComparison.Ordinal)];
}
