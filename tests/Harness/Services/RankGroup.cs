namespace BnService.Harness;

/// <summary>The calls of a group of ranks, each of which has a client of its own and may so call another node.</summary>
/// <param name="session">Name of the session.</param>
/// <param name="name">Name of the group.</param>
/// <param name="clients">The client of each rank.</param>
public sealed class RankGroup(string session, string name, params IReadOnlyList<ServiceClient> clients)
{
    /// <summary>So many ranks on one node.</summary>
    public RankGroup(SessionClient session, ServiceClient client, int size, string name = "g")
        : this(session.Name, name, [.. Enumerable.Repeat(client, size)])
    {
    }

    /// <summary>Name of the session.</summary>
    public string Session => session;

    public int Size => clients.Count;

    /// <summary>Path and query of a rank's call.</summary>
    public string Path(string call, int rank) => $"/v1/sessions/{session}/sync/{name}/{call}?rank={rank}&world_size={Size}";

    public Task<Answer> TrainAsync(int rank, string json, params (string Name, string Value)[] headers) =>
        clients[rank].PostAsync(Path("train-step", rank), json, headers);

    public Task<Answer> TrainAsync(int rank, Batch x, bool retain = false, params (string Name, string Value)[] headers) =>
        TrainAsync(rank, TrainBody(x, retain), headers);

    public Task<Answer> BackwardAsync(int rank, string json, params (string Name, string Value)[] headers) =>
        clients[rank].PostAsync(Path("backward", rank), json, headers);

    /// <summary>Any call of a rank that hangs up when the token says so.</summary>
    public Task<Answer> PostAsync(string call, int rank, string json, CancellationToken hangUp, params (string Name, string Value)[] headers) =>
        clients[rank].PostAsync(Path(call, rank), json, hangUp, headers);

    /// <summary>Any call of a rank in one of the forms; options of an array stand beside the rank in the query.</summary>
    public Task<Answer> PostAsync(string call, int rank, Message message, string form) =>
        clients[rank].PostAsync(Path(call, rank) + message.Query(form).Replace('?', '&'), form, message.Body(form));

    /// <summary>A call of every rank, all at once.</summary>
    public Task<Answer[]> AllAsync(Func<int, Task<Answer>> call) => Task.WhenAll(Enumerable.Range(0, Size).Select(call));

    /// <summary>A call of every rank, all of which are expected to be answered with this status.</summary>
    public async Task<Answer[]> AllAsync(int status, Func<int, Task<Answer>> call)
    {
        var answers = await AllAsync(call);
        foreach (var answer in answers) answer.Expect(status);
        return answers;
    }

    /// <summary>A body of a train-step.</summary>
    public static string TrainBody(Batch x, bool retain = false) => $$"""{"x":{{x.Json}},"retain":{{(retain ? "true" : "false")}}}""";
}
