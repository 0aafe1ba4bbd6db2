namespace BnService.Api.Tests.Layer;

/// <summary>gamma and beta that the client owns: for one call alone, in place of the session's, which stay.</summary>
public sealed class OwnParametersTests(Service service) : IClassFixture<Service>
{
    private static readonly double[] Gamma = [2, -0.5, 0.25, 1.5], Beta = [0.125, 3, -1, 0];

    /// <summary>Options, the shape of x, and what the reference needs to know of them.</summary>
    public static TheoryData<string, int[], string, int, int> Kinds => new()
    {
        { "\"num_features\":4", [6, 4], "batch_norm", 1, 1 },
        { "\"num_features\":4,\"affine\":false", [6, 4, 3], "batch_norm", 1, 1 },
        { "\"num_features\":4,\"bias\":false", [6, 4, 3], "batch_norm", 1, 1 },
        { "\"num_features\":4,\"channel_axis\":-1", [6, 3, 4], "batch_norm", -1, 1 },
        { "\"num_features\":4,\"granularity\":\"per_activation\"", [6, 4, 1], "batch_norm", 1, 1 },
        { "\"kind\":\"layer_norm\",\"normalized_shape\":[4]", [6, 3, 4], "layer_norm", 1, 1 },
        { "\"kind\":\"layer_norm\",\"normalized_shape\":[4],\"affine\":false", [6, 4], "layer_norm", 1, 1 },
        { "\"kind\":\"group_norm\",\"num_features\":4,\"num_groups\":2", [3, 4, 5], "group_norm", 1, 2 },
        { "\"kind\":\"instance_norm\",\"num_features\":4", [3, 4, 5], "instance_norm", 1, 1 },
    };

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task They_normalize_and_are_differentiated_and_nothing_of_them_stays(string options, int[] shape, string kind, int axis, int groups)
    {
        var (session, twin) = (await service.CreateAsync($"{{{options}}}"), await service.CreateAsync($"{{{options}}}"));
        var reference = ReferenceKind.Of(kind, shape, 4, groups, axis) with { Gamma = Gamma, Beta = Beta };
        var (x, dy) = (Batch.Random(1, shape), Batch.Random(2, shape));
        var own = $"\"gamma\":{Batch.Array(Gamma)},\"beta\":{Batch.Array(Beta)}";
        var step = (await session.TrainAsync($$"""{"x":{{x.Json}},{{own}}}""")).Expect(200);
        Accuracy.Outputs_are(reference.Output(x), x, step.Tensor("y"));
        var expected = reference.Differentiate(x, dy).Gradients;
        Accuracy.Gradients_are(expected, x, (await session.BackwardAsync(step.StepId!, dy)).Expect(200));
        Accuracy.Gradients_are(expected, x, (await session.BackwardAsync($$"""{"x":{{x.Json}},"dy":{{dy.Json}},{{own}}}""")).Expect(200));
        Assert.Equal(step.Tensor("y").Data, (await service.Client.PostAsync("/v1/normalize", $$"""
            {{{options.Replace("\"affine\":false", "\"affine\":true", StringComparison.Ordinal).Replace(",\"bias\":false", "", StringComparison.Ordinal)}},"x":{{x.Json}},{{own}}}
            """)).Expect(200).Tensor("y").Data);

        // The state has moved as it does without them.
        (await twin.TrainAsync(x)).Expect(200);
        Assert.Equal((await twin.StatsAsync()).Text, (await session.StatsAsync()).Text);
        if (options.Contains("false", StringComparison.Ordinal)) return;
        var inferred = (await session.InferAsync($$"""{"x":{{x.Json}},{{own}}}""")).Expect(200).Tensor("y");
        (await twin.PutParametersAsync($"{{{own}}}")).Expect(200);
        Assert.Equal((await twin.InferAsync(x)).Expect(200).Tensor("y").Data, inferred.Data);
        Assert.NotEqual((await session.InferAsync(x)).Expect(200).Tensor("y").Data, inferred.Data);
    }

    [Theory]
    [InlineData("train-step")]
    [InlineData("inference")]
    public async Task They_come_in_every_form(string call)
    {
        var x = Batch.Random(1, 6, 4);
        async Task<SessionClient> FreshAsync() => await service.CreateAsync("""{"num_features":4}""");
        var expected = (await (await FreshAsync()).PostAsync(call, Message.Of(x).With("gamma", Batch.Array(Gamma)).With("beta", Batch.Array(Beta)), Forms.Json)).Expect(200).Tensor("y").Data;
        foreach (var (gamma, beta) in new[] { ("gamma", "beta"), ("weight", "bias") })
        {
            foreach (var type in (string[])["F64", "F32", "F16"])
            {
                var file = new TensorFile().Add("x", x).Add(gamma, type, Gamma).Add(beta, type, Beta).ToBytes();
                Assert.Equal(expected, (await (await FreshAsync()).PostAsync(call, Forms.Safetensors, file)).Expect(200).Tensors["y"].Batch.Data);
            }
        }
        var query = $"{call}?gamma={Batch.Array(Gamma)}&beta={Batch.Array(Beta)}";
        Assert.Equal(expected, (await (await FreshAsync()).PostAsync(query, Forms.Npy, ArrayFile.Of(x))).Expect(200).Array.Data);
    }

    [Fact]
    public async Task One_of_them_leaves_the_other_as_the_session_has_it()
    {
        var session = await service.CreateAsync("""{"num_features":2,"beta_init":3}""");
        var answer = (await session.TrainAsync("""{"x":[[1,1],[3,3]],"gamma":[0,0]}""")).Expect(200);
        Assert.Equal([3f, 3, 3, 3], answer.Tensor("y").Data);
    }

    [Fact]
    public async Task Where_gamma_is_kept_as_its_difference_from_1_the_callers_is_one_as_well()
    {
        var session = await service.CreateAsync("""{"num_features":1,"gamma_offset":1,"eps":0}""");
        Assert.Equal((float[])[-3, 3], (await session.TrainAsync("""{"x":[[1],[3]],"gamma":[2]}""")).Expect(200).Tensor("y").Data);
        var alone = await service.CreateAsync("""{"num_features":1,"scale":false,"eps":0}""");
        Assert.Equal((float[])[-2, 2], (await alone.TrainAsync("""{"x":[[1],[3]],"gamma":[2]}""")).Expect(200).Tensor("y").Data);
    }

    [Fact]
    public async Task A_large_inference_streams_with_them()
    {
        var session = await service.CreateAsync("""{"num_features":4}""");
        var x = Batch.Random(1, 200_000, 4);
        var message = Message.Of(x).With("gamma", Batch.Array(Gamma)).With("beta", Batch.Array(Beta));
        var expected = (await session.PostAsync("inference", Message.Of(x.Rows(0, 100)).With("gamma", Batch.Array(Gamma)).With("beta", Batch.Array(Beta)), Forms.Json)).Expect(200).Tensor("y").Data;
        Assert.Equal(expected, (await session.PostAsync("inference", message, Forms.Npy)).Expect(200).Array.Data[..400]);
        Assert.Equal(expected, (await session.PostAsync("inference", message, Forms.Safetensors)).Expect(200).Tensors["y"].Batch.Data[..400]);
    }

    [Fact]
    public async Task A_frozen_session_normalizes_with_them_and_its_running_statistics()
    {
        var session = await service.CreateAsync("""{"num_features":2,"mode":"frozen","eps":0}""");
        (await session.PutRunningStatsAsync("""{"running_mean":[1,2],"running_var":[4,1]}""")).Expect(200);
        var step = (await session.TrainAsync("""{"x":[[3,3]],"gamma":[10,100],"beta":[1,2]}""")).Expect(200);
        Assert.Equal([11f, 102], step.Tensor("y").Data);
        var gradients = (await session.BackwardAsync(step.StepId!, new Batch([1, 2], [1, 1]))).Expect(200);
        Assert.Equal([5f, 100], gradients.Tensor("dx").Data);
    }

    [Fact]
    public async Task Each_rank_may_have_its_own()
    {
        var session = await service.CreateAsync("""{"num_features":4,"affine":false}""");
        var group = new RankGroup(session, service.Client, 2);
        Batch[] parts = [Batch.Random(1, 3, 4), Batch.Random(2, 5, 4)];
        var (x, dy) = (Batch.Joined(parts), Batch.Random(3, 8, 4));
        var own = $"\"gamma\":{Batch.Array(Gamma)},\"beta\":{Batch.Array(Beta)}";
        var reference = ReferenceKind.Of("batch_norm", x.Shape, 4) with { Gamma = Gamma, Beta = Beta };
        var steps = await group.AllAsync(200, rank => group.TrainAsync(rank, $$"""{"x":{{parts[rank].Json}},{{own}}}"""));
        Accuracy.Outputs_are(reference.Output(x), x, Batch.Joined([.. steps.Select(step => step.Tensor("y"))]));
        var expected = reference.Differentiate(x, dy).Gradients.Dx;
        foreach (var withStep in new[] { true, false })
        {
            var answers = await group.AllAsync(200, rank => group.BackwardAsync(rank,
                (withStep ? $$"""{"step_id":"{{steps[rank].StepId}}" """ : $$"""{"x":{{parts[rank].Json}},{{own}}""") + $$""","dy":{{dy.Rows(3 * rank, 3 + (2 * rank)).Json}}}"""));
            Assert.All(expected.Zip(Batch.Joined([.. answers.Select(answer => answer.Tensor("dx"))]).Data), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
            Assert.True(answers[0].Has("dgamma"));
        }
        // The same statistics, and no parameters on the other rank.
        steps = await group.AllAsync(200, rank => group.TrainAsync(rank, rank == 0 ? $$"""{"x":{{parts[rank].Json}},{{own}}}""" : RankGroup.TrainBody(parts[rank])));
        var plain = ReferenceKind.Of("batch_norm", x.Shape, 4).Output(x).Y;
        Assert.All(steps[0].Tensor("y").Data.Select((y, i) => (y, i)), pair => Assert.Equal((Gamma[pair.i % 4] * plain[pair.i]) + Beta[pair.i % 4], pair.y, 1e-5));
        Assert.All(steps[1].Tensor("y").Data.Select((y, i) => (y, i)), pair => Assert.Equal(plain[12 + pair.i], pair.y, 1e-5));
        (await session.RefusedAsync(_ => group.BackwardAsync(0, $$"""{"step_id":"{{steps[0].StepId}}","dy":{{parts[0].Json}},"update":{"optimizer":"sgd"} }""")))
            .ExpectProblem("invalid-option", "update has nothing to update");
    }

    [Theory]
    [InlineData("train-step", "\"gamma\":[1,2]", "shape-mismatch", "gamma must have 4 values, one per statistic, got 2")]
    [InlineData("train-step", "\"beta\":[1,2,3,4,5]", "shape-mismatch", "beta must have 4 values, one per statistic, got 5")]
    [InlineData("train-step", "\"gamma\":[1,2,\"NaN\",4]", "invalid-option", "gamma[2] must be a finite number, got NaN")]
    [InlineData("inference", "\"beta\":[1,2,\"-Infinity\",4]", "invalid-option", "beta[2] must be a finite number, got -Infinity")]
    [InlineData("inference", "\"gamma\":[1]", "shape-mismatch", "gamma must have 4 values")]
    [InlineData("backward", "\"gamma\":[1],\"dy\":[[1,2,3,4],[5,6,7,8]]", "shape-mismatch", "gamma must have 4 values")]
    [InlineData("backward", "\"gamma\":[1,1,1,1],\"dy\":[[1,2,3,4],[5,6,7,8]],\"update\":{\"optimizer\":\"sgd\"}", "invalid-option", "update has nothing to update: gamma and beta of this call are the caller's")]
    public async Task Values_that_do_not_fit_are_refused(string call, string beside, string code, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":4}""");
        var body = System.Text.Encoding.UTF8.GetBytes($$"""{"x":[[1,2,3,4],[5,7,7,9]],{{beside}}}""");
        (await session.RefusedAsync(s => s.PostAsync(call, Forms.Json, body))).ExpectProblem(code, detail);
    }

    [Fact]
    public async Task What_a_step_knows_is_not_sent_again_and_rms_norm_has_no_beta()
    {
        var session = await service.CreateAsync("""{"num_features":1}""");
        var step = (await session.TrainAsync("""{"x":[[1],[3]],"gamma":[2]}""")).Expect(200);
        (await session.RefusedAsync(s => s.BackwardAsync($$"""{"step_id":"{{step.StepId}}","dy":[[1],[2]],"gamma":[2]}""")))
            .ExpectProblem("invalid-option", "gamma and beta belong to x; with step_id the step knows them");
        (await session.RefusedAsync(s => s.BackwardAsync(step.StepId!, new Batch([2, 1], [1, 2]), """{"optimizer":"sgd"}""")))
            .ExpectProblem("invalid-option", "update has nothing to update");
        var rms = await service.CreateAsync("""{"kind":"rms_norm","normalized_shape":[2]}""");
        (await rms.RefusedAsync(s => s.TrainAsync("""{"x":[[3,4]],"beta":[1,1]}"""))).ExpectProblem("invalid-option", "beta was sent, but rms_norm has a gamma and no beta");
        (await rms.TrainAsync("""{"x":[[3,4]],"gamma":[5,0]}""")).Expect(200);
    }
}
