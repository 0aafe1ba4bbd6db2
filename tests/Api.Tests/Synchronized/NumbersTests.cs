namespace BnService.Api.Tests.Synchronized;

/// <summary>What ranks get together is what one process gets for the concatenated batch, and both are the definition in double.</summary>
public sealed class NumbersTests(Service service) : IClassFixture<Service>
{
    private const int Steps = 3;

    public static TheoryData<string> Cases => SyncCases.Names;

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task Ranks_normalize_with_the_statistics_of_all_and_move_the_running_ones_once(string name)
    {
        var (sync, session, whole, group) = await BeginAsync(name);
        var running = sync.Initial;
        for (var step = 1; step <= Steps; step++)
        {
            var (x, residual) = (sync.Whole(step), sync.HasResidual ? sync.Whole(100 + step) : null);
            var (parts, reference) = (sync.Parts(x), sync.Reference(running, x));
            var answers = await group.AllAsync(200, rank => group.TrainAsync(rank, $$"""{"x":{{parts[rank].Json}},"retain":false{{sync.Beside(residual, rank)}}}"""));
            var single = (await whole.TrainAsync($$"""{"x":{{x.Json}},"retain":false{{sync.Beside(residual)}}}""")).Expect(200);
            for (var rank = 0; rank < group.Size; rank++) Assert.Equal(parts[rank].Shape, answers[rank].Tensor("y").Shape);
            var expected = reference.Output(x, residual);
            Accuracy.Outputs_are(expected, x, Batch.Joined([.. answers.Select(answer => answer.Tensor("y"))]));
            Accuracy.Outputs_are(expected, x, single.Tensor("y"));
            var batch = reference.StatisticsOf(x);
            foreach (var answer in answers)
            {
                Accuracy.Batch_statistics_are(batch, x, answer);
                foreach (var field in (string[])["count", "num_batches_tracked", "version", "warnings"])
                    Assert.Equal(single[field].GetRawText(), answer[field].GetRawText());
                Assert.Equal(System.Text.Json.JsonValueKind.Null, answer["step_id"].ValueKind);
            }
            var (stats, ofSingle) = (await session.StatsAsync(), await whole.StatsAsync());
            Assert.Equal(single.Version, stats.Version);
            Assert.Equal(ofSingle["num_batches_tracked"].GetRawText(), stats["num_batches_tracked"].GetRawText());
            Assert.Equal(batch.Count, stats["last_batch"].GetProperty("count").GetInt64());
            if (!sync.Tracks) continue;
            running = sync.Moved(running, batch, step);
            Accuracy.Running_statistics_are(running, x, stats);
            Accuracy.Running_statistics_are(running, x, ofSingle);
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task Gradients_flow_through_the_statistics_of_all(string name)
    {
        var (sync, session, whole, group) = await BeginAsync(name);
        var running = sync.Initial;
        for (var step = 1; step <= Steps; step++)
        {
            var (x, dy, residual) = (sync.Whole(step), sync.Whole(200 + step), sync.HasResidual ? sync.Whole(100 + step) : null);
            var (parts, dys) = (sync.Parts(x), sync.Parts(dy));
            var trained = await group.AllAsync(200, rank => group.TrainAsync(rank, $$"""{"x":{{parts[rank].Json}}{{sync.Beside(residual, rank)}}}"""));
            var reference = sync.Reference(running, x);
            var before = await session.StateAsync();
            var throughStep = await group.AllAsync(200, rank => group.BackwardAsync(rank, $$"""{"step_id":"{{trained[rank].StepId}}","dy":{{dys[rank].Json}}}"""));
            Same(sync, reference.Differentiate(x, dy, residual), x, throughStep);
            running = sync.Moved(running, reference.StatisticsOf(x), step);
            var throughInput = await group.AllAsync(200, rank =>
                group.BackwardAsync(rank, $$"""{"x":{{parts[rank].Json}},"dy":{{dys[rank].Json}}{{sync.Beside(residual, rank)}}}"""));
            // Renormalization goes towards the running statistics of now, which the step has moved.
            Same(sync, sync.Reference(running, x).Differentiate(x, dy, residual), x, throughInput);
            if (sync.Renorm is null) Assert.Equal(throughStep.Select(answer => answer.Text), throughInput.Select(answer => answer.Text));
            Assert.Equal(before, await session.StateAsync());

            var single = (await whole.TrainAsync($$"""{"x":{{x.Json}}{{sync.Beside(residual)}}}""")).Expect(200);
            var ofSingle = (await whole.BackwardAsync($$"""{"step_id":"{{single.StepId}}","dy":{{dy.Json}}}""")).Expect(200);
            Accuracy.Gradients_are(reference.Differentiate(x, dy, residual).Gradients, x, ofSingle);
            foreach (var answer in throughStep)
            {
                Assert.Equal(single.Version, answer.Version);
                Assert.Equal(ofSingle.Json.EnumerateObject().Select(field => field.Name), answer.Json.EnumerateObject().Select(field => field.Name));
            }
        }
    }

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task In_mode_inference_gradients_flow_through_the_running_statistics(string name)
    {
        var (sync, session, whole, group) = await BeginAsync(name);
        var (x, dy, residual) = (sync.Whole(1), sync.Whole(2), sync.HasResidual ? sync.Whole(3) : null);
        (await whole.TrainAsync($$"""{"x":{{x.Json}}}""")).Expect(200);
        var (parts, dys) = (sync.Parts(x), sync.Parts(dy));
        await group.AllAsync(200, rank => group.TrainAsync(rank, parts[rank]));
        if (sync.Tracks)
        {
            // To the bit the same statistics, so that what follows has no reason to differ.
            var stats = await whole.StatsAsync();
            (await session.PutRunningStatsAsync($$"""{"running_mean":{{stats["running_mean"]}},"running_var":{{stats["running_var"]}}}""")).Expect(200);
        }
        var before = await session.StateAsync();
        var single = (await whole.BackwardAsync($$"""{"x":{{x.Json}},"dy":{{dy.Json}},"mode":"inference"{{sync.Beside(residual)}}}""")).Expect(200);
        var answers = await group.AllAsync(200, rank =>
            group.BackwardAsync(rank, $$"""{"x":{{parts[rank].Json}},"dy":{{dys[rank].Json}},"mode":"inference"{{sync.Beside(residual, rank)}}}"""));
        Assert.Equal(before, await session.StateAsync());
        var gradients = new ReferenceGradients([.. single.Tensor("dx").Data.Select(value => (double)value)],
            sync.HasGamma ? single.Numbers("dgamma") : [], sync.HasBeta ? single.Numbers("dbeta") : []);
        Same(sync, (gradients, residual is null ? [] : [.. single.Tensor("dresidual").Data.Select(value => (double)value)]), x, answers);
    }

    private async Task<(SyncCase Sync, SessionClient Session, SessionClient Whole, RankGroup Group)> BeginAsync(string name)
    {
        var sync = SyncCases.Named(name);
        var session = await sync.CreateAsync(service);
        return (sync, session, await sync.CreateAsync(service), new(session, service.Client, sync.Sizes.Length));
    }

    private static void Same(SyncCase sync, (ReferenceGradients Gradients, double[] Dresidual) expected, Batch x, Answer[] answers)
    {
        var parts = sync.Parts(x);
        for (var rank = 0; rank < answers.Length; rank++) Assert.Equal(parts[rank].Shape, answers[rank].Tensor("dx").Shape);
        Accuracy.Input_gradient_is(expected.Gradients, x, Batch.Joined([.. answers.Select(answer => answer.Tensor("dx"))]));
        if (sync.HasResidual)
            Assert.Equal(expected.Dresidual, Batch.Joined([.. answers.Select(answer => answer.Tensor("dresidual"))]).Data.Select(value => (double)value));
        // Each rank has its own part of the gradients by the parameters; their sum is the whole batch's.
        foreach (var answer in answers) Assert.Equal((sync.HasGamma, sync.HasBeta), (answer.Has("dgamma"), answer.Has("dbeta")));
        if (sync.HasGamma) Accuracy.Vector_is(expected.Gradients.Dgamma, Sum(answers, "dgamma"), "dgamma");
        if (sync.HasBeta) Accuracy.Vector_is(expected.Gradients.Dbeta, Sum(answers, "dbeta"), "dbeta");
    }

    private static double[] Sum(Answer[] answers, string field) =>
        answers.Select(answer => answer.Numbers(field)).Aggregate((a, b) => [.. a.Zip(b, (left, right) => left + right)]);
}
