namespace BnService.Api.Tests.Idempotency;

/// <summary>The same request many times at once, on one node and on several: it is made once, and all are answered with that.</summary>
public sealed class ConcurrentKeyTests
{
    private const int Many = 20;

    private static readonly Batch X = Batch.Random(1, 64, 3);

    private static readonly Dictionary<string, (string Options, string Call, string Json)> Cases = new()
    {
        ["train-step"] = ("""{"num_features":3}""", "train-step", $$"""{"x":{{X.Json}}}"""),
        ["train-step, renorm"] = ("""{"kind":"batch_renorm","num_features":3,"renorm":{"warmup_steps":0}}""", "train-step", $$"""{"x":{{X.Json}}}"""),
        ["train-step, layer norm"] = ("""{"kind":"layer_norm","normalized_shape":[3]}""", "train-step", $$"""{"x":{{X.Json}}}"""),
        ["backward, update"] = ("""{"num_features":3}""", "backward", $$$"""{"x":{{{X.Json}}},"dy":{{{X.Json}}},"update":{"optimizer":"adam"}}"""),
        ["calibration/batches"] = ("""{"num_features":3}""", "calibration/batches", $$"""{"x":{{X.Json}}}"""),
        ["merge"] = ("""{"num_features":3}""", "merge", """{"moments":[{"count":2,"mean":[1,2,3],"m2":[1,2,3]}]}"""),
    };

    public static TheoryData<string, int> Everywhere
    {
        get
        {
            var cases = new TheoryData<string, int>();
            foreach (var name in Cases.Keys)
            {
                cases.Add(name, 1);
                cases.Add(name, 3);
            }
            return cases;
        }
    }

    [Theory]
    [MemberData(nameof(Everywhere))]
    public async Task Of_many_at_once_one_is_made_and_all_are_answered_alike(string name, int nodes)
    {
        var store = new WatchedStore();
        var services = Enumerable.Range(0, nodes).Select(node => Service.Node(store, $"n{node}")).ToList();
        try
        {
            var (options, call, json) = Cases[name];
            var session = await services[0].CreateAsync(options);
            if (name == "train-step, renorm") (await session.TrainAsync(Batch.Random(7, 64, 3))).Expect(200);
            var before = (await session.GetAsync()).Version;
            for (var round = 0; round < 5; round++)
            {
                var answers = await Task.WhenAll(Enumerable.Range(0, Many).Select(i => Task.Run(() =>
                    services[i % nodes].Client.PostAsync($"{session.Path}/{call}", json, ("Idempotency-Key", $"k{round}")))));
                var first = Assert.Single(answers, answer => !answer.Headers.ContainsKey("Idempotent-Replayed"));
                foreach (var again in answers.Where(answer => answer != first)) SameAnswer.Again(first, again);
                Assert.Equal(first.Version, (await session.GetAsync()).Version);
            }
            Assert.Equal(before + (name.EndsWith("layer norm", StringComparison.Ordinal) ? 0 : 5), (await session.GetAsync()).Version);
        }
        finally
        {
            services.ForEach(service => service.Dispose());
        }
    }

    /// <summary>Each is told apart from the others that are stored in the same write.</summary>
    [Fact]
    public async Task Many_keys_at_once_are_each_made_once()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"num_features":3,"momentum":null}""");
        var answers = await Task.WhenAll(Enumerable.Range(0, 200).Select(i => Task.Run(async () =>
            (Key: i % 40, Answer: (await session.TrainAsync($$"""{"x":{{Batch.Random(i % 40, 16, 3).Json}},"retain":false}""", ("Idempotency-Key", $"k{i % 40}"))).Expect(200)))));
        foreach (var same in answers.GroupBy(answer => answer.Key, answer => answer.Answer))
        {
            var first = Assert.Single(same, answer => !answer.Headers.ContainsKey("Idempotent-Replayed"));
            foreach (var again in same.Where(answer => answer != first)) SameAnswer.Again(first, again);
        }
        Assert.Equal(40, (await session.StatsAsync())["num_batches_tracked"].GetInt64());
        Assert.Equal(40, answers.Select(answer => answer.Answer.Version).Distinct().Count());
    }

    [Fact]
    public async Task Of_two_requests_with_one_key_at_once_one_is_refused()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"num_features":3}""");
        for (var round = 0; round < 20; round++)
        {
            var answers = await Task.WhenAll(Enumerable.Range(0, 2).Select(i => Task.Run(() =>
                session.TrainAsync($$"""{"x":{{Batch.Random(i, 16, 3).Json}}}""", ("Idempotency-Key", $"k{round}")))));
            Assert.Single(answers, answer => answer.Status == 200);
            Assert.Single(answers, answer => answer.Status == 422).ExpectProblem("idempotency-key-reused");
        }
        Assert.Equal(21, (await session.GetAsync()).Version);
    }
}
