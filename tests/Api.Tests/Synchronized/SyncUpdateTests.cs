namespace BnService.Api.Tests.Synchronized;

/// <summary>Updates with the gradients of all ranks, and sessions whose train-steps use the running statistics.</summary>
public sealed class SyncUpdateTests(Service service) : IClassFixture<Service>
{
    private const string Options = """{"num_features":3,"activation":"relu","gamma_init":0.5,"beta_init":0.25}""";

    private static readonly Dictionary<string, Func<ReferenceOptimizer>> Optimizers = new()
    {
        ["""{"optimizer":"sgd","learning_rate":0.1}"""] = () => new ReferenceSgd { LearningRate = 0.1 },
        ["""{"optimizer":"sgd","learning_rate":0.05,"momentum":0.9,"nesterov":true,"weight_decay":0.01}"""] =
            () => new ReferenceSgd { LearningRate = 0.05, Momentum = 0.9, Nesterov = true, WeightDecay = 0.01 },
        ["""{"optimizer":"adam","learning_rate":0.01}"""] = () => new ReferenceAdam { LearningRate = 0.01 },
        ["""{"optimizer":"adamw","learning_rate":0.01,"weight_decay":0.1}"""] = () => new ReferenceAdam { LearningRate = 0.01, IsDecoupled = true, WeightDecay = 0.1 },
    };

    public static TheoryData<string> Updates => new(Optimizers.Keys);

    [Theory]
    [MemberData(nameof(Updates))]
    public async Task An_update_applies_the_sum_over_the_ranks_once(string update)
    {
        int[] first = [0, 5, 5, 12];
        var (session, whole) = (await service.CreateAsync(Options), await service.CreateAsync(Options));
        var group = new RankGroup(session, service.Client, 3);
        var (ofGamma, ofBeta) = (Optimizers[update](), Optimizers[update]());
        double[] gamma = [0.5, 0.5, 0.5], beta = [0.25, 0.25, 0.25];
        for (var step = 1; step <= 5; step++)
        {
            var (x, dy) = (Batch.Random(step, 12, 3), Batch.Random(100 + step, 12, 3));
            Batch Part(Batch batch, int rank) => batch.Rows(first[rank], first[rank + 1] - first[rank]);
            var trained = await group.AllAsync(200, rank => group.TrainAsync(rank, Part(x, rank), retain: true));
            // Every other time through x sent again: it is one optimizer either way.
            var answers = await group.AllAsync(200, rank => group.BackwardAsync(rank,
                $$"""{ {{(step % 2 == 0 ? $"\"x\":{Part(x, rank).Json}" : $"\"step_id\":\"{trained[rank].StepId}\"")}},"dy":{{Part(dy, rank).Json}},"update":{{update}}}"""));
            double[] Sum(string field) => answers.Select(answer => answer.Numbers(field)).Aggregate((a, b) => [.. a.Zip(b, (left, right) => left + right)]);
            (gamma, beta) = (ofGamma.After(gamma, Sum("dgamma")), ofBeta.After(beta, Sum("dbeta")));
            var single = (await whole.TrainAsync(x, retain: true)).Expect(200);
            var ofSingle = (await whole.BackwardAsync(single.StepId!, dy, update)).Expect(200);
            foreach (var answer in answers)
            {
                Accuracy.Doubles_are(gamma, answer.Numbers("gamma"), "gamma");
                Accuracy.Doubles_are(beta, answer.Numbers("beta"), "beta");
                Accuracy.Doubles_are(ofSingle.Numbers("gamma"), answer.Numbers("gamma"), "gamma of one process");
                Accuracy.Doubles_are(ofSingle.Numbers("beta"), answer.Numbers("beta"), "beta of one process");
                answer.ExpectNumbers("gamma", answers[0].Numbers("gamma"));
                Assert.Equal((trained[0].Version + 1, ofSingle.Version), (answer.Version, answer.Version));
            }
            var stats = await session.StatsAsync();
            Assert.Equal(answers[0].Version, stats.Version);
            stats.ExpectNumbers("gamma", answers[0].Numbers("gamma"));
            stats.ExpectNumbers("beta", answers[0].Numbers("beta"));
        }
    }

    [Fact]
    public async Task A_session_without_beta_updates_gamma_alone_and_one_without_both_refuses()
    {
        var (x, dy) = (Batch.Random(1, 6, 2), Batch.Random(2, 6, 2));
        string Body(int rank) => $$"""{"x":{{x.Rows(3 * rank, 3).Json}},"dy":{{dy.Rows(3 * rank, 3).Json}},"update":{"optimizer":"adam"} }""";
        var one = new RankGroup(await service.CreateAsync("""{"num_features":2,"bias":false}"""), service.Client, 2);
        Assert.All(await one.AllAsync(200, rank => one.BackwardAsync(rank, Body(rank))), answer => Assert.Equal((true, false), (answer.Has("gamma"), answer.Has("beta"))));
        var session = await service.CreateAsync("""{"num_features":2,"affine":false}""");
        var none = new RankGroup(session, service.Client, 2);
        foreach (var answer in await none.AllAsync(rank => none.BackwardAsync(rank, Body(rank)))) answer.ExpectProblem("invalid-option", "affine");
        Assert.Equal(1, (await session.GetAsync()).Version);
    }

    [Fact]
    public async Task An_update_that_would_leave_something_that_is_not_a_number_is_refused_for_all()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var group = new RankGroup(session, service.Client, 2);
        var before = await session.StateAsync();
        foreach (var answer in await group.AllAsync(rank =>
            group.BackwardAsync(rank, $$"""{"x":[[1,2],[3,5]],"dy":[[1,0],[{{(rank == 0 ? "0" : "\"NaN\"")}},1]],"update":{"optimizer":"sgd"} }""")))
        {
            answer.ExpectProblem("non-finite-input", "the update would set");
        }
        Assert.Equal(before, await session.StateAsync());
    }

    [Fact]
    public async Task To_a_frozen_session_there_is_nothing_to_wait_for_but_its_updates_are_joined()
    {
        var (session, whole) = (await service.CreateAsync(Options), await service.CreateAsync(Options));
        foreach (var each in (SessionClient[])[session, whole])
        {
            (await each.TrainAsync(Batch.Random(5, 20, 3))).Expect(200);
            (await each.PatchAsync("""{"mode":"frozen"}""")).Expect(200);
        }
        var (x, dy) = (Batch.Random(1, 9, 3), Batch.Random(2, 9, 3));
        var group = new RankGroup(session, service.Client, 3);
        var single = (await whole.TrainAsync(x, retain: true)).Expect(200);
        var before = await session.StateAsync();
        var steps = new List<Answer>();
        // One after the other: each is answered before the next one comes.
        for (var rank = 0; rank < 3; rank++) steps.Add((await group.TrainAsync(rank, x.Rows(3 * rank, 3), retain: true)).Expect(200));
        Assert.Equal(before, await session.StateAsync());
        SameAnswer.Same(single.Tensor("y"), Batch.Joined([.. steps.Select(step => step.Tensor("y"))]));
        foreach (var isThroughStep in (bool[])[true, false])
        {
            const string update = """{"optimizer":"sgd","learning_rate":0.1}""";
            var answers = await group.AllAsync(200, rank => group.BackwardAsync(rank,
                $$"""{ {{(isThroughStep ? $"\"step_id\":\"{steps[rank].StepId}\"" : $"\"x\":{x.Rows(3 * rank, 3).Json}")}},"dy":{{dy.Rows(3 * rank, 3).Json}},"update":{{update}}}"""));
            var ofSingle = (await (isThroughStep ? whole.BackwardAsync(single.StepId!, dy, update) : whole.BackwardAsync(x, dy, update: update))).Expect(200);
            SameAnswer.Same(ofSingle.Tensor("dx"), Batch.Joined([.. answers.Select(answer => answer.Tensor("dx"))]));
            foreach (var answer in answers)
            {
                Accuracy.Doubles_are(ofSingle.Numbers("gamma"), answer.Numbers("gamma"), "gamma");
                Assert.Equal(ofSingle.Version, answer.Version);
            }
        }
    }
}
