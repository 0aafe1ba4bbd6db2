namespace BnService.Api.Tests.Layer;

/// <summary>What of a batch counts in its statistics: in every spelling, per sample and per position, in every call and layout.</summary>
public sealed class MaskTests(Service service) : IClassFixture<Service>
{
    private static readonly Batch X = Batch.Random(1, 3, 4, 2);

    public static TheoryData<string> Spellings =>
    [
        "[1,0,1]", "[true,false,true]", "[1.0,0.0,1.0]", "[1e0,0e0,10e-1]", "[true,0,1.0]", "[1,-0.0,1]", """{"shape":[3],"data":[1,0,1]}""",
        """{"data":[true,false,true],"shape":[3]}""", " [ 1 , 0 , 1 ] ",
    ];

    /// <summary>Shape of x, its channel axis, and the options.</summary>
    public static TheoryData<int[], int, string> Layouts => new()
    {
        { [5, 3, 4], 1, "" }, { [5, 4, 3], -1, "" }, { [5, 3, 4, 2], 1, "" }, { [5, 4, 2, 3], -1, "" }, { [5, 1, 6], 1, "" }, { [5, 6, 1], -1, "" },
        { [5, 3, 4], 1, ",\"activation\":\"relu\"" }, { [5, 4, 3], -1, ",\"activation\":\"relu\"" }, { [40, 33, 70], 1, "" }, { [40, 70, 33], -1, "" },
    };

    [Theory]
    [MemberData(nameof(Spellings))]
    public async Task Every_spelling_of_a_mask_is_the_same_mask(string mask)
    {
        var expected = (await (await CreateAsync()).TrainAsync($$"""{"x":{{X.Json}},"retain":false,"mask":[1,0,1]}""")).Expect(200);
        Assert.Equal(4, expected["count"].GetInt64());
        Assert.Equal(expected.Text, (await (await CreateAsync()).TrainAsync($$"""{"x":{{X.Json}},"retain":false,"mask":{{mask}}}""")).Expect(200).Text);
        var query = $"train-step?retain=false&mask={Uri.EscapeDataString(mask)}";
        var array = (await (await CreateAsync()).PostAsync(query, Forms.Npy, ArrayFile.Of(X))).Expect(200);
        Assert.Equal("4", array.Headers["Bn-Count"]);
        Assert.Equal(expected.Tensor("y").Data, array.Array.Data);
        var file = new TensorFile().Add("x", X).Text("retain", "false").Text("mask", mask).ToBytes();
        Assert.Equal(expected.Tensor("y").Data, (await (await CreateAsync()).PostAsync("train-step", Forms.Safetensors, file)).Expect(200).Tensors["y"].Batch.Data);
    }

    [Fact]
    public async Task Python_spells_its_truths_with_capitals_in_a_query()
    {
        var answer = (await (await CreateAsync()).PostAsync("train-step?mask=[True,False,True]", Forms.Npy, ArrayFile.Of(X))).Expect(200);
        Assert.Equal("4", answer.Headers["Bn-Count"]);
    }

    [Theory]
    [MemberData(nameof(Layouts))]
    public async Task Positions_that_are_left_out_are_normalized_and_do_not_count(int[] shape, int axis, string options)
    {
        var (channels, position) = (axis == 1 ? shape[1] : shape[^1], PositionsOf(shape, axis));
        int[] positions = [.. shape.Where((_, i) => i != (axis == 1 ? 1 : shape.Length - 1))];
        var kept = Enumerable.Range(0, positions.Aggregate(1, (a, b) => a * b)).Select(p => p % 5 is not (1 or 2) && p != 3).ToArray();
        var mask = new Batch(positions, [.. kept.Select(each => each ? 1f : 0f)]);
        var session = await service.CreateAsync($$"""{"num_features":{{channels}},"channel_axis":{{axis}}{{options}}}""");
        var reference = ReferenceKind.Of("batch_norm", shape, channels, axis: axis) with
        {
            Valid = [.. position.Select(p => kept[p])],
            Relu = options.Length > 0,
        };
        var (x, dy) = (Batch.Random(1, shape), Batch.Random(2, shape));
        var (statistics, count) = (reference.StatisticsOf(x), kept.Count(each => each));
        var step = (await session.TrainAsync($$"""{"x":{{x.Json}},"mask":{{mask.NestedJson}}}""")).Expect(200);
        Accuracy.Outputs_are(reference.Output(x), x, step.Tensor("y"));
        Accuracy.Batch_statistics_are(statistics, x, step);
        Assert.Equal(count, step["count"].GetInt64());
        double[] running = [.. statistics.Variance.Select(variance => 0.9 + (0.1 * variance * count / (count - 1)))];
        Accuracy.Doubles_are(running, (await session.StatsAsync()).Numbers("running_var"), "running_var");

        var gradients = reference.Differentiate(x, dy).Gradients;
        Accuracy.Gradients_are(gradients, x, (await session.BackwardAsync($$"""{"step_id":"{{step.StepId}}","dy":{{dy.Json}}}""")).Expect(200));
        Accuracy.Gradients_are(gradients, x, (await session.BackwardAsync($$"""{"x":{{x.Json}},"mask":{{mask.Json}},"dy":{{dy.Json}}}""")).Expect(200));
        var once = (await service.Client.PostAsync("/v1/normalize",
            $$"""{"backward":{"dy":{{dy.Json}} },"x":{{x.Json}},"channel_axis":{{axis}}{{options}},"mask":{{mask.Json}}}""")).Expect(200);
        Assert.Equal(step.Tensor("y").Data, once.Tensor("y").Data);
        Accuracy.Gradients_are(gradients, x, once);

        var calibrated = await service.CreateAsync($$"""{"num_features":{{channels}},"channel_axis":{{axis}},"unbiased_running_var":false}""");
        var population = (await calibrated.CalibrateAsync($$"""{"x":{{x.Json}},"mask":{{mask.Json}}}""")).Expect(200);
        Assert.Equal(count, population["count"].GetInt64());
        Accuracy.Doubles_are(statistics.Variance, population.Numbers("var"), "population");

        foreach (var type in (string[])["BOOL", "U8", "I64", "F32", "F16"])
        {
            var again = await service.CreateAsync($$"""{"num_features":{{channels}},"channel_axis":{{axis}}{{options}}}""");
            var file = new TensorFile().Add("x", x).Add("mask", mask, type).Text("retain", "false").ToBytes();
            Assert.Equal(step.Tensor("y").Data, (await again.PostAsync("train-step", Forms.Safetensors, file)).Expect(200).Tensors["y"].Batch.Data);
        }
    }

    [Theory]
    [InlineData(1)]
    [InlineData(-1)]
    public async Task Each_ghost_batch_has_the_positions_of_its_own_samples(int axis)
    {
        int[] shape = axis == 1 ? [7, 3, 4] : [7, 4, 3];
        var kept = Enumerable.Range(0, 28).Select(p => p % 3 != 1).ToArray();
        var position = PositionsOf(shape, axis);
        var (x, dy) = (Batch.Random(1, shape), Batch.Random(2, shape));
        var session = await service.CreateAsync($$"""{"num_features":3,"ghost_batch_size":3,"channel_axis":{{axis}}}""");
        var mask = new Batch([7, 4], [.. kept.Select(each => each ? 1f : 0f)]).NestedJson;
        var step = (await session.TrainAsync($$"""{"x":{{x.Json}},"mask":{{mask}}}""")).Expect(200);
        var dx = (await session.BackwardAsync(step.StepId!, dy)).Expect(200).Tensor("dx");
        foreach (var (first, samples) in new[] { (0, 3), (3, 4) })
        {
            var part = x.Rows(first, samples);
            var reference = ReferenceKind.Of("batch_norm", part.Shape, 3, axis: axis) with { Valid = [.. position.Skip(first * 12).Take(samples * 12).Select(p => kept[p])] };
            Accuracy.Outputs_are(reference.Output(part), part, step.Tensor("y").Rows(first, samples));
            var expected = reference.Differentiate(part, dy.Rows(first, samples)).Gradients.Dx;
            Assert.All(expected.Zip(dx.Rows(first, samples).Data), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
        }
        Assert.Equal(19, step["count"].GetInt64());
    }

    [Fact]
    public async Task Renormalization_corrects_the_statistics_of_what_counts()
    {
        int[] shape = [4, 2, 3];
        var kept = Enumerable.Range(0, 12).Select(p => p % 4 != 1).ToArray();
        var position = PositionsOf(shape, 1);
        var x = Batch.Random(1, shape);
        var session = await service.CreateAsync("""{"kind":"batch_renorm","num_features":2,"renorm":{"r_max":1.5,"d_max":0.25,"warmup_steps":0}}""");
        var plain = ReferenceKind.Of("batch_renorm", shape, 2) with { Valid = [.. position.Select(p => kept[p])] };
        var statistics = plain.StatisticsOf(x);
        var reference = plain with
        {
            Correction = [.. Enumerable.Range(0, 2).Select(c => (Math.Clamp(Math.Sqrt((statistics.Variance[c] + 1e-5) / (1 + 1e-5)), 1 / 1.5, 1.5),
                Math.Clamp(statistics.Mean[c] / Math.Sqrt(1 + 1e-5), -0.25, 0.25)))],
        };
        var step = (await session.TrainAsync($$"""{"x":{{x.Json}},"mask":{{new Batch([4, 3], [.. kept.Select(each => each ? 1f : 0f)]).NestedJson}}}""")).Expect(200);
        Accuracy.Outputs_are(reference.Output(x), x, step.Tensor("y"));
        Accuracy.Gradients_are(reference.Differentiate(x, Batch.Random(2, shape)).Gradients, x, (await session.BackwardAsync(step.StepId!, Batch.Random(2, shape))).Expect(200));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(-1)]
    public async Task Ranks_join_the_positions_that_count_on_each(int axis)
    {
        var (shapes, kept) = (axis == 1 ? new int[][] { [2, 3, 4], [3, 3, 4] } : [[2, 4, 3], [3, 4, 3]], Enumerable.Range(0, 20).Select(p => p % 4 > p / 8).ToArray());
        Batch[] parts = [Batch.Random(1, shapes[0]), Batch.Random(2, shapes[1])], dys = [Batch.Random(3, shapes[0]), Batch.Random(4, shapes[1])];
        var (x, dy) = (Batch.Joined(parts), Batch.Joined(dys));
        var mask = new Batch([5, 4], [.. kept.Select(each => each ? 1f : 0f)]);
        var reference = ReferenceKind.Of("batch_norm", x.Shape, 3, axis: axis) with { Valid = [.. PositionsOf(x.Shape, axis).Select(p => kept[p])] };
        var group = new RankGroup(await service.CreateAsync($$"""{"num_features":3,"channel_axis":{{axis}}}"""), service.Client, 2);
        string Body(int rank) => $$"""{"x":{{parts[rank].Json}},"mask":{{mask.Rows(2 * rank, 2 + rank).NestedJson}}""";
        var steps = await group.AllAsync(200, rank => group.TrainAsync(rank, Body(rank) + "}"));
        Accuracy.Outputs_are(reference.Output(x), x, Batch.Joined([.. steps.Select(step => step.Tensor("y"))]));
        Accuracy.Batch_statistics_are(reference.StatisticsOf(x), x, steps[0]);
        var expected = reference.Differentiate(x, dy).Gradients.Dx;
        foreach (var withStep in new[] { true, false })
        {
            var backward = await group.AllAsync(200, rank => group.BackwardAsync(rank,
                (withStep ? $$"""{"step_id":"{{steps[rank].StepId}}" """ : Body(rank)) + $$""","dy":{{dys[rank].Json}}}"""));
            Assert.All(expected.Zip(Batch.Joined([.. backward.Select(answer => answer.Tensor("dx"))]).Data), pair => Assert.Equal(pair.First, pair.Second, 1e-5));
        }
    }

    [Fact]
    public async Task A_padded_position_may_hold_anything()
    {
        var session = await service.CreateAsync("""{"num_features":1}""");
        var step = (await session.TrainAsync("""{"x":[[[1,"NaN"]],[[3,"Infinity"]]],"mask":[[1,0],[1,0]]}""")).Expect(200);
        step.ExpectNumbers("batch_mean", 2);
        step.ExpectNumbers("batch_var", 1);
        Assert.Equal(2, step["count"].GetInt64());
    }

    [Theory]
    [InlineData("[1,0]", "shape-mismatch", "mask must have the shape [3], one value per sample, or [3, 2], the shape of x without its channel axis; got [2]")]
    [InlineData("[[1,0],[1,1]]", "shape-mismatch", "got [2, 2]")]
    [InlineData("[[1,0,1],[1,1,1]]", "shape-mismatch", "got [2, 3]")]
    [InlineData("[1,0,1,1,1,1]", "shape-mismatch", "got [6]")]
    [InlineData("[[1],[0],[1]]", "shape-mismatch", "got [3, 1]")]
    [InlineData("[]", "shape-mismatch", "got [0]")]
    [InlineData("[[1,0],[1]]", "shape-mismatch", "mask must have inner arrays of equal lengths")]
    [InlineData("[1,[0],1]", "shape-mismatch", "mask must have inner arrays of equal lengths")]
    [InlineData("[[[[[[[[[1]]]]]]]]]", "shape-mismatch", "mask has at most 8 dimensions")]
    [InlineData("[1,0,2]", "invalid-option", "mask[2] must be true or 1 (it counts), or false or 0, got 2")]
    [InlineData("[[1,0],[1,0.5],[1,1]]", "invalid-option", "mask[1][1] must be true or 1 (it counts), or false or 0, got 0.5")]
    [InlineData("[1,\"true\",1]", "invalid-option", "mask[1] must be true or 1 (it counts), or false or 0, got \"true\"")]
    [InlineData("[1,null,1]", "invalid-option", "mask[1] must be true or 1 (it counts), or false or 0, got null")]
    [InlineData("[1,{},1]", "invalid-option", "mask[1] must be true or 1 (it counts), or false or 0, got an object")]
    [InlineData("true", "invalid-option", "mask must be an array of true and false, or 1 and 0")]
    [InlineData("\"101\"", "invalid-option", "got \"101\"")]
    [InlineData("{\"shape\":[3]}", "invalid-option", "mask.data is missing")]
    [InlineData("{\"data\":[1,1,1]}", "invalid-option", "mask.shape is missing")]
    [InlineData("{\"shape\":[2],\"data\":[1,1,1]}", "shape-mismatch", "mask.shape [2] needs 2 values, mask.data has 3")]
    [InlineData("{\"shape\":[-3],\"data\":[1,1,1]}", "invalid-option", "mask.shape must be an array of whole numbers of 0 or more, got -3")]
    [InlineData("{\"shape\":[3],\"data\":[1,7,1]}", "invalid-option", "mask.data[1] must be")]
    [InlineData("{\"shape\":[3],\"data\":[1,1,1],\"dtype\":\"u8\"}", "invalid-option", "it has shape and data, once each, got dtype")]
    [InlineData("[0,0,0]", "batch-too-small", "mask leaves 0 of 6 values per channel in x of shape [3, 4, 2]: a variance needs 2 or more")]
    [InlineData("[[0,0],[1,0],[0,0]]", "batch-too-small", "mask leaves 1 of 6 values per channel in x of shape [3, 4, 2]: a variance needs 2 or more")]
    public async Task A_mask_that_is_none_or_does_not_fit_is_refused(string mask, string code, string detail)
    {
        var session = await CreateAsync();
        (await session.RefusedAsync(s => s.TrainAsync($$"""{"x":{{X.Json}},"mask":{{mask}}}"""))).ExpectProblem(code, detail);
        (await session.RefusedAsync(s => s.BackwardAsync($$"""{"x":{{X.Json}},"dy":{{X.Json}},"mask":{{mask}}}"""))).ExpectProblem(code, detail);
        (await session.RefusedAsync(s => s.PostAsync($"train-step?mask={Uri.EscapeDataString(mask)}", Forms.Npy, ArrayFile.Of(X)))).ExpectProblem(code, detail);
        (await service.Client.PostAsync("/v1/normalize", $$"""{"x":{{X.Json}},"mask":{{mask}}}""")).ExpectProblem(code, detail);
    }

    [Fact]
    public async Task A_ghost_batch_of_which_one_value_counts_is_named()
    {
        var session = await service.CreateAsync("""{"num_features":1,"ghost_batch_size":2}""");
        (await session.RefusedAsync(s => s.TrainAsync("""{"x":[[1],[2],[3],[4]],"mask":[1,1,1,0]}""")))
            .ExpectProblem("batch-too-small", "mask leaves 1 of 2 values per channel in the ghost batch of samples 2 to 3 in x of shape [4, 1]");
    }

    [Fact]
    public async Task Statistics_per_activation_take_a_value_per_sample()
    {
        var session = await service.CreateAsync("""{"num_features":4,"granularity":"per_activation"}""");
        (await session.RefusedAsync(s => s.TrainAsync($$"""{"x":{{X.Json}},"mask":[[1,1],[1,0],[1,1]]}""")))
            .ExpectProblem("shape-mismatch", "mask must have the shape [3], one value per sample, got [3, 2]", "per_activation");
        Assert.Equal(2, (await session.TrainAsync($$"""{"x":{{X.Json}},"mask":[true,false,true]}""")).Expect(200)["count"].GetInt64());
    }

    private Task<SessionClient> CreateAsync() => service.CreateAsync("""{"num_features":4}""");

    // The position of each element among those without the channel axis.
    private static int[] PositionsOf(int[] shape, int axis)
    {
        var sample = shape[1..].Aggregate(1, (a, b) => a * b);
        var channels = axis == 1 ? shape[1] : shape[^1];
        var each = sample / channels;
        return [.. Enumerable.Range(0, shape[0] * sample).Select(i => (i / sample * each) + (axis == 1 ? i % each : i % sample / channels))];
    }
}
