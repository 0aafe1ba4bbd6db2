namespace BnService.Api.Tests.Kinds;

/// <summary>Layer and RMS normalization over the channels of [N, C, …] against the same layer over channels that come last.</summary>
public sealed class ChannelAxisTests(Service service) : IClassFixture<Service>
{
    /// <summary>Kind, options and the shape of a batch.</summary>
    public static TheoryData<string, string, int[]> Layers => new()
    {
        { "layer_norm", "\"num_features\":3", [4, 3] },
        { "layer_norm", "\"num_features\":3", [2, 3, 5] },
        { "layer_norm", "\"normalized_shape\":[3]", [2, 3, 4, 2] },
        { "layer_norm", "\"num_features\":5,\"normalized_shape\":[5],\"activation\":\"relu\"", [2, 5, 2, 3, 2] },
        { "rms_norm", "\"num_features\":4", [2, 4, 3, 3] },
        { "rms_norm", "\"num_features\":1", [2, 1, 3] },
    };

    [Theory]
    [MemberData(nameof(Layers))]
    public async Task Channels_are_normalized_at_each_position_in_every_call_and_form(string kind, string options, int[] shape)
    {
        var (over, last) = ($$"""{"kind":"{{kind}}",{{options}},"channel_axis":1}""", $$"""{"kind":"{{kind}}",{{options}},"channel_axis":-1}""");
        var (session, trailing) = (await service.CreateAsync(over), await service.CreateAsync(last));
        Assert.Equal((1, -1), ((await session.GetAsync())["channel_axis"].GetInt32(), (await trailing.GetAsync())["channel_axis"].GetInt32()));
        var (x, dy) = (Batch.Random(1, shape), Batch.Random(2, shape));
        var parameters = kind == "layer_norm" ? "\"gamma\":{0},\"beta\":{0}" : "\"gamma\":{0}";
        var values = Batch.Array([.. Enumerable.Range(0, shape[1]).Select(c => 0.5 + c)]);
        foreach (var one in (SessionClient[])[session, trailing])
            (await one.PutParametersAsync("{" + parameters.Replace("{0}", values, StringComparison.Ordinal) + "}")).Expect(200);
        var expected = (await trailing.TrainAsync(Last(x))).Expect(200);
        var gradients = (await trailing.BackwardAsync(Last(x), Last(dy))).Expect(200);
        var y = First(expected.Tensor("y"), shape);
        foreach (var form in Forms.All)
        {
            AssertSame(y, Tensor(await session.PostAsync("inference", Message.Of(x), form), form, "y"));
            AssertSame(y, Tensor(await session.PostAsync("train-step", Message.Of(x), form), form, "y"));
        }
        var step = (await session.TrainAsync(x, retain: true)).Expect(200);
        Assert.Equal(expected.Numbers("batch_var"), step.Numbers("batch_var"));
        foreach (var answer in (Answer[])[await session.BackwardAsync(step.StepId!, dy), await session.BackwardAsync(x, dy)])
        {
            AssertSame(First(gradients.Tensor("dx"), shape), answer.Expect(200).Tensor("dx"));
            Assert.Equal(gradients.Numbers("dgamma"), answer.Numbers("dgamma"));
        }
        var oneShot = $$"""{"kind":"{{kind}}","channel_axis":1,{{parameters.Replace("{0}", values, StringComparison.Ordinal)}},"x":{{x.Json}}}""";
        if (!options.Contains("relu", StringComparison.Ordinal)) AssertSame(y, (await service.Client.PostAsync("/v1/normalize", oneShot)).Expect(200).Tensor("y"));
        var copy = new SessionClient(service.Client, $"axis-{Guid.NewGuid():N}");
        (await copy.PutStateAsync(Forms.Safetensors, (await session.GetStateAsync(("Accept", Forms.Safetensors))).Body)).Expect(201);
        AssertSame(y, (await copy.InferAsync(x)).Expect(200).Tensor("y"));
        (await session.SnapshotAsync()).Expect(201);
        AssertSame(y, (await session.InferAsync(x, (await session.GetAsync()).Version)).Expect(200).Tensor("y"));
        var infer = $$"""{"inputs":[{"name":"x","datatype":"FP32","shape":[{{string.Join(',', shape)}}],"data":{{Batch.Array([.. x.Data.Select(value => (double)value)])}}}]}""";
        var inferred = (await service.Client.PostAsync($"/v2/models/{session.Name}/infer", infer)).Expect(200)["outputs"][0].GetProperty("data");
        Assert.Equal(y.Data, inferred.EnumerateArray().Select(value => value.GetSingle()));
    }

    [Theory]
    [InlineData("\"channel_axis\":1", "normalized_shape is missing")]
    [InlineData("\"channel_axis\":1,\"normalized_shape\":[3,4]", "normalized_shape must be one dimension, the number of channels, with channel_axis 1, got [3, 4]")]
    [InlineData("\"channel_axis\":1,\"normalized_shape\":[3],\"num_features\":4", "num_features must be what normalized_shape is, [3]")]
    [InlineData("\"channel_axis\":2,\"num_features\":4", "channel_axis must be 1, or -1")]
    [InlineData("\"num_features\":4", "num_features is not an option of layer_norm; send normalized_shape")]
    public async Task Options_that_do_not_go_together_are_refused(string options, string detail) =>
        (await service.Client.PostAsync("/v1/sessions", $$"""{"kind":"layer_norm",{{options}}}""")).ExpectProblem("invalid-option", detail);

    [Fact]
    public async Task Other_channels_a_mask_and_ranks_are_refused()
    {
        var session = await service.CreateAsync("""{"kind":"layer_norm","num_features":3,"channel_axis":1}""");
        (await session.RefusedAsync(s => s.TrainAsync(Batch.Random(1, 2, 4, 3)))).ExpectProblem("shape-mismatch", "expected 3 channels", "axis 1");
        (await session.RefusedAsync(s => s.TrainAsync("""{"x":[[1,2,3]],"mask":[1]}"""))).ExpectProblem("invalid-option", "mask");
        (await session.RefusedAsync(s => service.Client.PostAsync($"{s.Path}/sync/g/train-step?rank=0&world_size=1", """{"x":[[1,2,3]]}"""))).ExpectProblem("invalid-option", "layer_norm");
        (await session.RefusedAsync(s => service.Client.PutAsync($"{s.Path}/state", """{"options":{"channel_axis":-1}}"""))).ExpectProblem("invalid-option", "options.channel_axis must be 1");
    }

    [Fact]
    public async Task A_batch_that_is_answered_while_it_arrives_has_the_same_bits()
    {
        var session = await service.CreateAsync("""{"kind":"layer_norm","num_features":16,"channel_axis":1}""");
        var x = Batch.Random(1, 64, 16, 33, 31);
        var whole = (await session.InferAsync(x)).Expect(200).Tensor("y");
        AssertSame(whole, (await session.PostAsync("inference", Message.Of(x), Forms.Npy)).Expect(200).Array);
    }

    /// <summary>1 × 1 maps, as PyTorch's GroupNorm and ONNX answer them.</summary>
    [Theory]
    [InlineData("""{"kind":"group_norm","num_features":4,"num_groups":4}""")]
    [InlineData("""{"kind":"instance_norm","num_features":4}""")]
    [InlineData("""{"kind":"instance_norm","num_features":4,"channel_axis":-1}""")]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[1],"beta_init":0.25}""")]
    public async Task One_value_per_statistic_is_inferred_as_beta_and_not_trained(string options)
    {
        var isRow = options.Contains("layer_norm", StringComparison.Ordinal);
        var session = await service.CreateAsync(options);
        var beta = isRow ? [0.25] : new double[] { 0.5, -1, 0, 3 };
        (await session.PutParametersAsync($$"""{"beta":{{Batch.Array(beta)}},"gamma":{{Batch.Array([.. beta.Select(_ => 7.0)])}}}""")).Expect(200);
        int[] shape = isRow ? [3, 1] : options.Contains("-1", StringComparison.Ordinal) ? [3, 1, 1, 4] : [3, 4, 1, 1];
        var x = Batch.Random(1, shape);
        float[] expected = [.. Enumerable.Range(0, x.Data.Length).Select(i => (float)beta[i % beta.Length])];
        foreach (var form in Forms.All) Assert.Equal(expected, Tensor(await session.PostAsync("inference", Message.Of(x), form), form, "y").Data);
        (await session.SnapshotAsync()).Expect(201);
        Assert.Equal(expected, (await session.InferAsync(x, (await session.GetAsync()).Version)).Expect(200).Tensor("y").Data);
        var infer = $$"""{"inputs":[{"name":"x","datatype":"FP32","shape":[{{string.Join(',', shape)}}],"data":{{Batch.Array([.. x.Data.Select(value => (double)value)])}}}]}""";
        var inferred = (await service.Client.PostAsync($"/v2/models/{session.Name}/infer", infer)).Expect(200)["outputs"][0].GetProperty("data");
        Assert.Equal(expected, inferred.EnumerateArray().Select(value => value.GetSingle()));
        var gradients = (await session.BackwardAsync(x, Batch.Random(2, shape), mode: "inference")).Expect(200);
        Assert.All(gradients.Tensor("dx").Data, dx => Assert.Equal(0, dx, 1e-12));
        if (isRow) return;
        (await session.RefusedAsync(s => s.TrainAsync(x))).ExpectProblem("batch-too-small");
        (await session.RefusedAsync(s => s.BackwardAsync(x, x))).ExpectProblem("batch-too-small");
    }

    [Fact]
    public async Task One_value_of_a_batch_without_running_statistics_is_refused_as_PyTorch_does()
    {
        var session = await service.CreateAsync("""{"num_features":3,"track_running_stats":false}""");
        (await session.RefusedAsync(s => s.InferAsync(Batch.Random(1, 1, 3)))).ExpectProblem("batch-too-small", "got input size [1, 3]");
    }

    private static Batch Tensor(Answer answer, string form, string name) => form switch
    {
        Forms.Safetensors => answer.Expect(200).Tensors[name].Batch,
        Forms.Npy => answer.Expect(200).Array,
        _ => answer.Expect(200).Tensor(name),
    };

    private static void AssertSame(Batch expected, Batch actual)
    {
        Assert.Equal(expected.Shape, actual.Shape);
        Assert.Equal(expected.Data, actual.Data);
    }

    // The channels moved from axis 1 to the end, and back.
    private static Batch Last(Batch batch) => Moved(batch, [batch.Shape[0], .. batch.Shape[2..], batch.Shape[1]], batch.Shape[1], isBack: false);

    private static Batch First(Batch batch, int[] shape) => Moved(batch, shape, shape[1], isBack: true);

    private static Batch Moved(Batch batch, int[] shape, int channels, bool isBack)
    {
        var data = new float[batch.Data.Length];
        var positions = data.Length / shape[0] / channels;
        for (var i = 0; i < data.Length; i++)
        {
            var (sample, channel, position) = (i / (channels * positions), i / positions % channels, i % positions);
            var last = (((sample * positions) + position) * channels) + channel;
            data[isBack ? i : last] = batch.Data[isBack ? last : i];
        }
        return new Batch(shape, data);
    }
}
