namespace BnService.Dashboard.Tests.Harness;

/// <summary>Sessions that are trained on the data of the samples.</summary>
public static class Training
{
    /// <summary>Rows of real data, from somewhere on and over again from the beginning.</summary>
    public static Batch Rows(this Batch data, int seed, int count, int features)
    {
        var (all, random) = (data.Shape[0], new Random(seed));
        return new Batch([count, features], [.. Enumerable.Range(0, count).SelectMany(_ => data.Rows(random.Next(all), 1).Data)]);
    }

    /// <summary>Trains a session of wines, so many batches of so many wines.</summary>
    public static async Task<SessionClient> TrainWinesAsync(this ServiceClient client, string name, int steps, int size = 32, Func<float, float>? change = null, string options = "", int changedFrom = 0)
    {
        var session = await client.CreateAsync($$"""{"name":"{{name}}","num_features":13{{options}}}""");
        for (var step = 0; step < steps; step++) await StepAsync(session, step, size, step >= changedFrom ? change : null);
        return session;
    }

    /// <summary>One more step on wines.</summary>
    public static async Task StepAsync(this SessionClient session, int seed, int size = 32, Func<float, float>? change = null) =>
        (await session.TrainAsync(Json(Repository.Wines().Rows(seed, size, 13), change))).Expect(200);

    /// <summary>Serves wines.</summary>
    public static async Task ServeAsync(this SessionClient session, int seed, Func<float, float>? change = null) =>
        (await session.InferAsync(Json(Repository.Wines().Rows(seed, 48, 13), change))).Expect(200);

    private static string Json(Batch x, Func<float, float>? change) => $$"""{"x":{{(change is null ? x : new Batch(x.Shape, [.. x.Data.Select(change)])).Json}}}""";
}
