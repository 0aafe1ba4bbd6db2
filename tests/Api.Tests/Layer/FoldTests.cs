namespace BnService.Api.Tests.Layer;

/// <summary>Folding over HTTP; the mathematics has its own tests in the core.</summary>
public sealed class FoldTests(Service service) : IClassFixture<Service>
{
    /// <summary>gamma 2 and -1, beta 0.5 and 4, mean 1 and -2, variance 4 and 0.25, eps 0: a is 1 and -2.</summary>
    private const string State =
        """
        {"options":{"eps":0},"gamma":[2,-1],"beta":[0.5,4],"running_mean":[1,-2],"running_var":[4,0.25],"num_batches_tracked":3}
        """;

    [Theory]
    [InlineData("""{"layer":"linear","weight":[[1,2,3],[4,5,6]],"bias":[10,20]}""", new[] { 2, 3 }, new float[] { 1, 2, 3, -8, -10, -12 }, new[] { 9.5, -40 })]
    [InlineData("""{"layer":"linear","weight":[[1,2],[4,5],[7,8]],"position":"before"}""", new[] { 3, 2 }, new float[] { 1, -4, 4, -10, 7, -16 }, new[] { -0.5, -2, -3.5 })]
    [InlineData("""{"layer":"conv","weight":{"shape":[2,1,2],"data":[1,2,3,4]},"groups":2,"padding":1}""", new[] { 2, 1, 2 }, new float[] { 1, 2, -6, -8 }, new[] { -0.5, 0 })]
    [InlineData("""{"layer":"conv","weight":[[[1,2]],[[3,4]]],"groups":2,"position":"before","padding":[0]}""", new[] { 2, 1, 2 }, new float[] { 1, 2, -6, -8 }, new double[] { -1.5, 0 })]
    [InlineData("""{"layer":"conv_transpose","weight":{"shape":[4,1,1],"data":[1,2,3,4]},"groups":2,"bias":[1,1]}""", new[] { 4, 1, 1 }, new float[] { 1, 2, -6, -8 }, new[] { 0.5, -2 })]
    public async Task The_folded_layer_is_the_one_that_can_be_worked_out_by_hand(string body, int[] shape, float[] weight, double[] bias)
    {
        var session = await WithStateAsync(State);
        var before = await session.StateAsync();
        var answer = (await FoldAsync(session, body)).Expect(200);
        Assert.Equal(shape, answer.Tensor("weight").Shape);
        Assert.Equal(weight, answer.Tensor("weight").Data);
        answer.ExpectNumbers("bias", bias);
        Assert.Equal("none", answer["activation"].GetString());
        Assert.Equal(1, answer.Version);
        Assert.InRange(answer["max_relative_difference"].GetDouble(), 0, 1e-14); // all of it exact in float32
        Assert.Equal(before, await session.StateAsync());
    }

    /// <summary>scale 1 and ½, mean and beta 0: columns are outputs in io and hwio, rows in oi.</summary>
    [Theory]
    [InlineData("linear", new[] { 2, 2 }, "io", "after", new float[] { 1, 1, 3, 2 })]
    [InlineData("linear", new[] { 2, 2 }, "io", "before", new[] { 1, 2, 1.5f, 2 })]
    [InlineData("linear", new[] { 2, 2 }, "oi", "after", new[] { 1, 2, 1.5f, 2 })]
    [InlineData("linear", new[] { 2, 2 }, "oihw", "after", new[] { 1, 2, 1.5f, 2 })]
    [InlineData("linear", new[] { 2, 2 }, "", "after", new[] { 1, 2, 1.5f, 2 })] // not guessed from the convention
    [InlineData("conv", new[] { 1, 1, 2, 2 }, "hwio", "after", new float[] { 1, 1, 3, 2 })]
    [InlineData("conv_transpose", new[] { 1, 1, 2, 2 }, "hwio", "after", new[] { 1, 2, 1.5f, 2 })]
    public async Task A_kernel_is_folded_in_the_layout_that_is_given_and_answered_in_it(string layer, int[] shape, string layout, string position, float[] weight)
    {
        var session = await WithStateAsync("""{"options":{"eps":0},"gamma":[1,0.5],"running_mean":[0,0],"running_var":[1,1],"convention":"keras"}""");
        var message = new Message().With("layer", layer).With("position", position).With("weight", new Batch(shape, [1, 2, 3, 4]));
        if (layout.Length > 0) message.With("layout", layout);
        var answer = (await session.PostAsync("fold", message, Forms.Json)).Expect(200);
        Assert.Equal(weight, answer.Tensor("weight").Data);
        Assert.Equal(shape, answer.Tensor("weight").Shape);
        Assert.InRange(answer["max_relative_difference"].GetDouble(), 0, 1e-14);
        Assert.Equal(weight, (await session.PostAsync("fold", message, Forms.Safetensors)).Expect(200).Tensors["weight"].Batch.Data);
    }

    [Fact]
    public async Task A_layout_of_another_rank_is_refused_and_names_layout()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => FoldAsync(s, """{"layer":"linear","weight":[[1,2],[3,4]],"layout":"hwio"}"""))).ExpectProblem("invalid-option", "layout must be oi");
        (await session.RefusedAsync(s => FoldAsync(s, """{"layer":"conv","weight":[[1,2],[3,4]],"layout":"hwio"}"""))).ExpectProblem("shape-mismatch", "layout hwio");
        (await session.RefusedAsync(s => FoldAsync(s, """{"layer":"linear","weight":[[1,2],[3,4]],"layout":"keras"}"""))).ExpectProblem("invalid-option", "layout must be one of", "hwio");
    }

    [Fact]
    public async Task The_folded_layer_infers_what_the_session_does()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        for (var seed = 0; seed < 5; seed++) (await session.TrainAsync(Batch.Random(seed, 16, 3))).Expect(200);
        var x = Batch.Random(9, 4, 3);
        var answer = (await FoldAsync(session, """{"layer":"linear","weight":[[1,0,0],[0,1,0],[0,0,1]]}""")).Expect(200);
        var (weight, bias) = (answer.Tensor("weight").Data, answer.Numbers("bias"));
        var y = (await session.InferAsync(x)).Expect(200).Tensor("y").Data;
        for (var i = 0; i < y.Length; i++) Assert.Equal(y[i], ((double)x.Data[i] * weight[(i % 3) * 4]) + bias[i % 3], 1e-5);
        Assert.InRange(answer["max_relative_difference"].GetDouble(), 1e-10, 1e-5);
    }

    [Fact]
    public async Task A_variance_next_to_nothing_shows_as_a_large_difference()
    {
        var session = await WithStateAsync("""{"running_mean":[1000.1],"running_var":[1e-12]}""");
        var answer = (await FoldAsync(session, """{"layer":"linear","weight":[[0.3,0.7]]}""")).Expect(200);
        Assert.InRange(answer["max_relative_difference"].GetDouble(), 0.01, 100);
    }

    [Fact]
    public async Task Relu_stays_behind_the_folded_layer_and_cannot_stand_before_it()
    {
        var session = await service.CreateAsync("""{"num_features":2,"activation":"relu"}""");
        Assert.Equal("relu", (await FoldAsync(session, """{"layer":"linear","weight":[[1],[2]]}""")).Expect(200)["activation"].GetString());
        (await session.RefusedAsync(s => FoldAsync(s, """{"layer":"linear","weight":[[1,2]],"position":"before"}""")))
            .ExpectProblem("invalid-option", "activation must be none with position before, got relu", "between the normalization and the layer");
    }

    [Theory]
    [InlineData("""{"num_features":2,"kind":"batch_renorm"}""")]
    [InlineData("""{"num_features":2,"kind":"instance_norm","track_running_stats":true}""")]
    [InlineData("""{"num_features":2,"affine":false}""")]
    [InlineData("""{"num_features":2,"bias":false,"mode":"frozen","channel_axis":-1}""")]
    public async Task Whatever_infers_with_running_statistics_per_channel_can_be_folded(string options)
    {
        var session = await service.CreateAsync(options);
        var answer = (await FoldAsync(session, """{"layer":"linear","weight":[[2],[4]],"bias":[1,1]}""")).Expect(200);
        var a = (float)(1 / Math.Sqrt(1 + 1e-5));
        Assert.Equal([2 * a, 4 * a], answer.Tensor("weight").Data);
    }

    [Theory]
    [InlineData("""{"num_features":2,"track_running_stats":false}""", "no-running-statistics", "track_running_stats is false")]
    [InlineData("""{"num_features":2,"require_statistics":true}""", "no-running-statistics", "the session requires running statistics and has seen no batch")]
    [InlineData("""{"num_features":2,"kind":"instance_norm"}""", "no-running-statistics", "track_running_stats is false")]
    [InlineData("""{"num_features":2,"granularity":"per_activation"}""", "invalid-option", "granularity must be per_channel to be folded")]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[2]}""", "invalid-option", "layer_norm cannot be folded: it normalizes each sample with statistics of its own")]
    [InlineData("""{"kind":"group_norm","num_features":2,"num_groups":1}""", "invalid-option", "group_norm cannot be folded")]
    [InlineData("""{"kind":"rms_norm","normalized_shape":[2]}""", "invalid-option", "rms_norm cannot be folded")]
    public async Task What_is_no_map_of_channels_is_refused_with_the_reason(string options, string code, string detail)
    {
        var session = await service.CreateAsync(options);
        (await session.RefusedAsync(s => FoldAsync(s, """{"layer":"linear","weight":[[1],[2]]}"""))).ExpectProblem(code, detail);
    }

    [Theory]
    [InlineData("""{"weight":[[1],[2]]}""", "invalid-option", "layer is missing; it must be one of \"linear\", \"conv\", \"conv_transpose\"")]
    [InlineData("""{"layer":"conv2d","weight":[[1],[2]]}""", "invalid-option", "layer must be one of \"linear\", \"conv\", \"conv_transpose\", got \"conv2d\"")]
    [InlineData("""{"layer":null,"weight":[[1],[2]]}""", "invalid-option", "layer must be one of \"linear\", \"conv\", \"conv_transpose\", got null")]
    [InlineData("""{"layer":"linear"}""", "malformed-body", "weight is missing")]
    [InlineData("""{"layer":"linear","weight":null}""", "malformed-body", "weight must be a tensor")]
    [InlineData("""{"layer":"linear","weight":[[1],["NaN"]]}""", "non-finite-input", "weight must be finite: element 1 is NaN")]
    [InlineData("""{"layer":"linear","weight":[[1],[2]],"bias":[1]}""", "shape-mismatch", "bias must have 2 values, one per output channel, got 1")]
    [InlineData("""{"layer":"linear","weight":[[1],[2]],"bias":[1,"Infinity"]}""", "non-finite-input", "bias must be finite: element 1 is Infinity")]
    [InlineData("""{"layer":"linear","weight":[[1],[2]],"bias":[1,1e300]}""", "invalid-option", "bias element 1 would be")]
    [InlineData("""{"layer":"linear","weight":[[1],[2]],"bias":{"shape":[2],"data":[1,2]}}""", "invalid-option", "bias must be an array of numbers")]
    [InlineData("""{"layer":"linear","weight":[[1],[2],[3]]}""", "shape-mismatch", "expected weight with 2 output channels (num_features), got shape [3, 1]")]
    [InlineData("""{"layer":"conv","weight":{"shape":[32,3,3,3],"data":[]}}""", "shape-mismatch", "weight.shape [32, 3, 3, 3] needs 864 elements")]
    [InlineData("""{"layer":"linear","weight":[1,2]}""", "shape-mismatch", "expected a linear layer's weight of 2 dimensions, [out_features, in_features], got shape [2]")]
    [InlineData("""{"layer":"conv","weight":[[[1]],[[2]]],"groups":3}""", "invalid-option", "groups must divide the 2 output channels of weight [2, 1, 1], got 3")]
    [InlineData("""{"layer":"conv","weight":[[[1]],[[2]]],"groups":0}""", "invalid-option", "groups must be a whole number of 1 or more, got 0")]
    [InlineData("""{"layer":"conv","weight":[[[1]],[[2]]],"groups":1.5}""", "invalid-option", "groups must be a whole number, got 1.5")]
    [InlineData("""{"layer":"conv","weight":[[[1]],[[2]]],"position":"behind"}""", "invalid-option", "position must be one of \"after\", \"before\", got \"behind\"")]
    [InlineData("""{"layer":"conv","weight":[[[1],[2]]],"position":"before","padding":1}""", "invalid-option", "padding must be 0 with position before, got 1", "have not been normalized")]
    [InlineData("""{"layer":"conv","weight":[[[1],[2]]],"position":"before","padding":[2]}""", "invalid-option", "padding must be 0 with position before, got 2")]
    [InlineData("""{"layer":"conv","weight":[[[1],[2]]],"position":"before","padding":[0,0,0]}""", "invalid-option", "padding must be one number, or one or two for each of the 1 dimensions of the kernel, got 3")]
    [InlineData("""{"layer":"conv","weight":[[[1],[2]]],"position":"before","padding":-1}""", "invalid-option", "padding must be 0 or more, got -1")]
    [InlineData("""{"layer":"conv","weight":[[[1],[2]]],"position":"before","padding":"same"}""", "invalid-option", "padding must be a whole number or an array of whole numbers, got \"same\"")]
    [InlineData("""{"layer":"conv","weight":[[[1],[2]]],"position":"before","padding":[0.5]}""", "invalid-option", "padding must be a whole number or an array of whole numbers")]
    [InlineData("""{"layer":"conv_transpose","weight":[[[1]],[[2]]],"position":"before"}""", "invalid-option", "position must be after for conv_transpose", "no constant")]
    [InlineData("""{"layer":"linear","weight":[[1],[2]],"versions":1}""", "invalid-option", "'versions' is not a field of this call")]
    public async Task Bad_input_is_refused_by_the_fields_name(string body, string code, params string[] details)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => FoldAsync(s, body))).ExpectProblem(code, details);
    }

    [Fact]
    public async Task A_session_that_does_not_exist_is_not_found() =>
        (await FoldAsync(new SessionClient(service.Client, "nosuch"), """{"layer":"linear","weight":[[1]]}""")).ExpectProblem("session-not-found");

    private Task<Answer> FoldAsync(SessionClient session, string body) => service.Client.PostAsync($"{session.Path}/fold", body);

    private async Task<SessionClient> WithStateAsync(string state)
    {
        var session = new SessionClient(service.Client, $"fold-{Guid.NewGuid():N}");
        (await service.Client.PutAsync($"{session.Path}/state", state)).Expect(201);
        return session;
    }
}
