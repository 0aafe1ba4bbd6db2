namespace BnService.Api.Tests.Statistics;

/// <summary>A layer out of a file that was not made for it: a whole model's, with prefixes, with shapes, or without a word of its kind.</summary>
public sealed class ModelFileTests(Service service) : IClassFixture<Service>
{
    private static readonly string[] Ignored = ["conv1.weight", "layer1.0.bn1.extra", "layer1.0.bn2.weight", "layer1.0.bn2.running_mean", "fc.bias"];

    [Theory]
    [InlineData("layer1.0.bn1.")]
    [InlineData("layer1.0.bn1")]
    [InlineData("layer1/0/bn1/")]
    public async Task One_layer_of_a_model_is_taken_and_the_rest_is_named(string from)
    {
        var session = New();
        foreach (var status in (int[])[201, 200])
        {
            var state = (await PutAsync(session, Forms.Json, $"?from={from}", Model().ToBytes(), Forms.Safetensors)).Expect(status);
            state.ExpectNumbers("gamma", 2, 3);
            state.ExpectNumbers("beta", 4, 5);
            state.ExpectNumbers("running_mean", 6, 7);
            state.ExpectNumbers("running_var", 8, 9);
            Assert.Equal(10, state["num_batches_tracked"].GetInt64());
            Assert.Equal(Ignored.Order(), state["ignored"].EnumerateArray().Select(name => name.GetString()!).Order());
        }
        Assert.False((await session.GetStateAsync()).Expect(200).Has("ignored"));
        var json = """{"layer1.0.bn1.weight":[2,3],"layer1.0.bn1.bias":[4,5],"layer1":{"0":{"bn1":{"running_mean":[6,7],"running_var":[8,9]}}},"fc.weight":[1],"options":{"eps":0.5}}""";
        var copy = (await PutAsync(New(), Forms.Json, $"?from={from}", System.Text.Encoding.UTF8.GetBytes(json), Forms.Json)).Expect(201);
        copy.ExpectNumbers("running_var", 8, 9);
        Assert.Equal("fc.weight", Assert.Single(copy["ignored"].EnumerateArray()).GetString());
        Assert.Equal(0.5, copy["options"].GetProperty("eps").GetDouble());
        (await service.Client.PutAsync($"{session.Path}/state", copy.Text)).Expect(200);
    }

    [Theory]
    [InlineData("", "the file has 4 layers: say whose state it is by its prefix, as ?from=layer1.0.bn1.; found layer1.0.bn1., layer1.0.bn2.")]
    [InlineData("?from=bn1.", "from must be the prefix of a layer's arrays, got 'bn1.'; found layer1.0.bn1., layer1.0.bn2.")]
    [InlineData("?from=layer1.", "found layer1.0.bn1., layer1.0.bn2.")]
    public async Task Several_layers_are_asked_for_one(string query, string detail)
    {
        var session = New();
        (await PutAsync(session, Forms.Json, query, Model().ToBytes(), Forms.Safetensors)).ExpectProblem("invalid-option", detail);
        (await session.GetAsync()).ExpectProblem("session-not-found");
        (await service.Client.PutAsync($"{session.Path}/state", """{"a.weight":[1],"a.running_mean":[1],"a.running_var":[1],"b.weight":[1]}"""))
            .ExpectProblem("invalid-option", "the file has 2 layers", "?from=a.");
        var file = new TensorFile().Add("weight", "F32", 1).Text("options.eps", "x").ToBytes();
        (await PutAsync(session, Forms.Json, "", file, Forms.Safetensors)).ExpectProblem("invalid-option", "options.eps must be a number, got 'x'");
    }

    [Fact]
    public async Task A_prefix_that_two_wrapped_layers_have_is_refused()
    {
        var file = Add(Add(new TensorFile(), "module.bn.", 2), "_orig_mod.bn.", 3).ToBytes();
        (await PutAsync(New(), Forms.Json, "?from=bn.", file, Forms.Safetensors))
            .ExpectProblem("invalid-option", "from must say which of 2 layers, got 'bn.'; found module.bn., _orig_mod.bn.");
        (await PutAsync(New(), Forms.Json, "?from=_orig_mod.bn.", file, Forms.Safetensors)).Expect(201).ExpectNumbers("gamma", 3, 3);
    }

    [Fact]
    public async Task Names_without_a_prefix_are_a_layer_too()
    {
        var file = Add(Add(new TensorFile(), "", 2), "conv.", 3).ToBytes();
        (await PutAsync(New(), Forms.Json, "", file, Forms.Safetensors))
            .ExpectProblem("invalid-option", "the file has 2 layers: say whose state it is by its prefix, as ?from=.; found . (no prefix), conv.");
        var state = (await PutAsync(New(), Forms.Json, "?from=.", file, Forms.Safetensors)).Expect(201);
        state.ExpectNumbers("gamma", 2, 3);
        Assert.All(state["ignored"].EnumerateArray(), name => Assert.StartsWith("conv.", name.GetString(), StringComparison.Ordinal));
    }

    /// <summary>
    /// A file of torch.nn.BatchNorm1d(affine=False), or of Keras's center=False: a gamma of 1 or a beta of 0 that nobody has sent would be moved
    /// by the first update, and load_state_dict refuses them in what goes back.
    /// </summary>
    [Theory]
    [InlineData("", "running_mean,running_var", "affine")]
    [InlineData("?kind=instance_norm", "running_mean,running_var", "affine")]
    [InlineData("", "gamma,moving_mean,moving_variance", "bias")]
    [InlineData("?kind=layer_norm", "weight", "bias")]
    [InlineData("", "bias,running_mean,running_var", "scale")]
    public async Task A_layer_has_no_parameters_that_its_file_does_not_have(string query, string names, string option)
    {
        var (file, session) = (new TensorFile(), New());
        foreach (var name in names.Split(',')) file.Add(name, "F32", 2, 3);
        var state = (await PutAsync(session, Forms.Json, query, file.ToBytes(), Forms.Safetensors)).Expect(201);
        Assert.False(state["options"].GetProperty(option).GetBoolean());
        var back = await NamesAsync(session);
        Assert.Equal(option == "scale", back.Contains("bias"));
        Assert.Equal(option == "bias", back.Contains("weight"));
        var whole = New();
        (await PutAsync(whole, Forms.Json, $"{query}{(query.Length == 0 ? '?' : '&')}{option}=true", file.ToBytes(), Forms.Safetensors)).Expect(201);
        Assert.Subset((await NamesAsync(whole)).ToHashSet(), new HashSet<string> { "weight", "bias" });
    }

    [Fact]
    public async Task A_number_of_batches_has_any_shape_of_one_value()
    {
        var file = new TensorFile().Add("running_mean", "F32", 2, 3).Add("running_var", "F32", 2, 3).Add("num_batches_tracked", "I64", [1, 1], Elements.Of("I64", [7]));
        Assert.Equal(7, (await PutAsync(New(), Forms.Json, "", file.ToBytes(), Forms.Safetensors)).Expect(201)["num_batches_tracked"].GetInt64());
    }

    /// <summary>What a client can make the service keep, compare and answer ends somewhere: each array below a long name would repeat it.</summary>
    [Fact]
    public async Task Names_that_no_model_has_are_not_looked_through()
    {
        var layers = string.Join(',', Enumerable.Range(0, 50_000).Select(i => $"\"l{i}.weight\":[1]"));
        var begun = System.Diagnostics.Stopwatch.GetTimestamp();
        (await service.Client.PutAsync($"{New().Path}/state", $"{{{layers}}}")).ExpectProblem("invalid-option", "the file has 50000 layers", "and 49992 more");
        Assert.InRange(System.Diagnostics.Stopwatch.GetElapsedTime(begun), TimeSpan.Zero, TimeSpan.FromSeconds(5));
        var named = $$"""{"{{new string('n', 600)}}":{"weight":[1],"running_mean":[1],"running_var":[1]} }""";
        (await service.Client.PutAsync($"{New().Path}/state", named)).ExpectProblem("invalid-option", "nnn…' is not a field");
        var many = string.Join(',', Enumerable.Range(0, 70_000).Select(i => $"\"{i}\":1"));
        (await service.Client.PutAsync($"{New().Path}/state?from=a.", $$"""{"a":{ {{many}} } }""")).ExpectProblem("invalid-option", "at most 65536 arrays");
    }

    [Theory]
    [InlineData("module.", "")]
    [InlineData("_orig_mod.", "")]
    [InlineData("layer1.0.bn1.", "")]
    [InlineData("_orig_mod.module.bn.", "?from=bn.")]
    [InlineData("model/bn/", "?from=model/bn")]
    public async Task A_prefix_that_all_share_is_taken_off(string prefix, string query)
    {
        var file = Add(new TensorFile(), prefix, 2).Text("format", "pt").Text("version", "1.0").Text("optimizer", "adamw").Text("kind", "resnet").Text("epoch", "7");
        var state = (await PutAsync(New(), Forms.Json, query, file.ToBytes(), Forms.Safetensors)).Expect(201);
        state.ExpectNumbers("running_mean", 6, 7);
        Assert.False(state.Has("ignored"));
    }

    [Theory]
    [InlineData("params.bn.scale", "params.bn.bias", "batch_stats.bn.mean", "batch_stats.bn.var", "?convention=flax")]
    [InlineData("params/bn/scale", "params/bn/bias", "batch_stats/bn/mean", "batch_stats/bn/var", "?from=bn")]
    [InlineData("params.scale", "params.bias", "batch_stats.mean", "batch_stats.var", "")]
    [InlineData("scale", "B", "input_mean", "input_var", "")]
    [InlineData("gamma", "beta", "moving_mean", "moving_var", "")]
    [InlineData("net0_batchnorm0_gamma", "net0_batchnorm0_beta", "net0_batchnorm0_running_mean", "net0_batchnorm0_running_var", "")]
    [InlineData("arg:bn0_gamma", "arg:bn0_beta", "aux:bn0_moving_mean", "aux:bn0_moving_var", "?from=bn0_")]
    [InlineData("gamma:0", "beta:0", "moving_mean:0", "moving_variance:0", "")]
    [InlineData("net/bn/gamma:0", "net/bn/beta:0", "net/bn/moving_mean:0", "net/bn/moving_variance:0", "")]
    public async Task Tensors_have_their_frameworks_names(string gamma, string beta, string mean, string variance, string query)
    {
        var file = new TensorFile().Add(gamma, "F32", 2, 3).Add(beta, "F32", 4, 5).Add(mean, "F32", 6, 7).Add(variance, "F32", 8, 9);
        var session = New();
        var state = (await PutAsync(session, Forms.Json, query, file.ToBytes(), Forms.Safetensors)).Expect(201);
        foreach (var (field, values) in new[] { ("gamma", new double[] { 2, 3 }), ("beta", [4, 5]), ("running_mean", [6, 7]), ("running_var", [8, 9]) })
            state.ExpectNumbers(field, values);
        if (query.Contains("flax", StringComparison.Ordinal)) Assert.False((await session.GetAsync())["unbiased_running_var"].GetBoolean());
    }

    [Fact]
    public async Task What_is_not_known_of_a_single_layer_is_refused_by_its_name()
    {
        var mistyped = new TensorFile().Add("weight", "F32", 1, 2).Add("runing_mean", "F32", 1, 2);
        (await PutAsync(New(), Forms.Json, "", mistyped.ToBytes(), Forms.Safetensors)).ExpectProblem("invalid-option", "'runing_mean' is not a field of this call");
        var other = Add(new TensorFile(), "bn.", 2).Add("conv.kernel", "F32", 1);
        (await PutAsync(New(), Forms.Json, "", other.ToBytes(), Forms.Safetensors)).ExpectProblem("invalid-option", "'conv.kernel'", "?from=bn.");
    }

    [Theory]
    [InlineData("Layer_Norm")]
    [InlineData("LAYER_NORM")]
    public async Task The_word_of_a_kind_in_a_files_metadata_is_read_in_any_case(string kind)
    {
        var file = new TensorFile().Add("weight", "F32", 2, 3).Add("bias", "F32", 6, 7).Text("kind", kind).Text("eps", "0.5");
        var options = (await PutAsync(New(), Forms.Json, "", file.ToBytes(), Forms.Safetensors)).Expect(201)["options"];
        Assert.Equal(("layer_norm", 0.5), (options.GetProperty("kind").GetString(), options.GetProperty("eps").GetDouble()));
    }

    /// <summary>gamma and beta are every kind's, and a batch_norm of them would serve with mean 0 and variance 1.</summary>
    [Fact]
    public async Task Without_statistics_a_new_session_is_asked_for_its_kind()
    {
        var (file, json) = (new TensorFile().Add("weight", "F32", 2, 3, 4, 5).Add("bias", "F32", 6, 7, 8, 9), """{"gamma":[2,3,4,5],"beta":[6,7,8,9]}""");
        foreach (var (form, body) in new[] { (Forms.Safetensors, file.ToBytes()), (Forms.Json, System.Text.Encoding.UTF8.GetBytes(json)) })
        {
            var none = New();
            (await PutAsync(none, Forms.Json, "", body, form)).ExpectProblem("invalid-option", "kind is missing", "?kind=layer_norm", "options.kind", "metadata", "num_groups");
            (await none.GetAsync()).ExpectProblem("session-not-found");
            foreach (var (query, kind) in new[] { ("?kind=layer_norm", "layer_norm"), ("?kind=group_norm&num_groups=2", "group_norm"), ("?kind=batch_norm&eps=0.5", "batch_norm") })
                Assert.Equal(kind, (await PutAsync(New(), Forms.Json, query, body, form)).Expect(201)["options"].GetProperty("kind").GetString());
        }
        var rms = new TensorFile().Add("weight", "F32", 2, 3).Text("kind", "rms_norm").Text("eps", "0.5");
        var options = (await PutAsync(New(), Forms.Json, "", rms.ToBytes(), Forms.Safetensors)).Expect(201)["options"];
        Assert.Equal(("rms_norm", 0.5), (options.GetProperty("kind").GetString(), options.GetProperty("eps").GetDouble()));
        (await PutAsync(New(), Forms.Json, "?kind=layer_norm", rms.ToBytes(), Forms.Safetensors)).ExpectProblem("invalid-option", "kind must be the same in the query and in the body");
        (await service.Client.PutAsync($"{New().Path}/state", """{"running_mean":[1,2]}""")).ExpectProblem("invalid-option", "running_var is missing");
        (await service.Client.PutAsync($"{New().Path}/state", """{"weight":[1,2],"moving_variance":[1,2]}""")).ExpectProblem("invalid-option", "running_mean is missing", "moving_variance");
        var instance = Add(new TensorFile(), "", 2);
        Assert.True((await PutAsync(New(), Forms.Json, "?kind=instance_norm", instance.ToBytes(), Forms.Safetensors)).Expect(201)["options"].GetProperty("track_running_stats").GetBoolean());
    }

    [Theory]
    [InlineData("layer_norm")]
    [InlineData("rms_norm")]
    public async Task A_parameter_of_several_dimensions_has_them_in_a_file_and_is_flat_in_json(string kind)
    {
        var session = await service.CreateAsync($$"""{"kind":"{{kind}}","normalized_shape":[3,4]}""");
        var x = Batch.Random(1, 2, 3, 4);
        var message = Message.Of(x).With("dy", Batch.Random(2, 2, 3, 4)).With("update", """{"optimizer":"sgd","learning_rate":0.5}""");
        var gradients = (await session.PostAsync("backward", message, Forms.Safetensors)).Expect(200).Tensors;
        foreach (var name in (kind == "layer_norm" ? new[] { "dgamma", "gamma", "dbeta", "beta" } : ["dgamma", "gamma"])) Assert.Equal("3,4", string.Join(',', gradients[name].Shape));
        var exported = (await session.GetStateAsync(("Accept", Forms.Safetensors))).Expect(200);
        foreach (var tensor in exported.Tensors.Tensors) Assert.Equal("3,4", string.Join(',', tensor.Shape));
        var state = (await session.GetStateAsync()).Expect(200);
        Assert.Equal(12, state.Numbers("gamma").Length);
        double[] values = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];
        foreach (var shape in (long[][])[[3, 4], [12], [1, 3, 4]])
        {
            var file = new TensorFile().Add("weight", "F32", shape, Elements.Of("F32", values));
            (await session.PutStateAsync(Forms.Safetensors, file.ToBytes())).Expect(200);
            (await session.GetStateAsync()).ExpectNumbers("gamma", values);
        }
        foreach (var shape in (long[][])[[4, 3], [2, 6]])
        {
            var file = new TensorFile().Add("weight", "F32", shape, Elements.Of("F32", values));
            (await session.RefusedAsync(s => s.PutStateAsync(Forms.Safetensors, file.ToBytes()))).ExpectProblem("shape-mismatch", "weight must have the shape [3, 4]");
        }
        var torch = new TensorFile().Add("weight", "F32", [3, 4], Elements.Of("F32", values));
        var made = (await PutAsync(New(), Forms.Json, $"?kind={kind}", torch.ToBytes(), Forms.Safetensors)).Expect(201);
        Assert.Equal("[3,4]", made["options"].GetProperty("normalized_shape").GetRawText());
    }

    [Fact]
    public async Task Gradients_by_activation_have_the_shape_of_a_sample()
    {
        var session = await service.CreateAsync("""{"num_features":2,"granularity":"per_activation"}""");
        (await session.TrainAsync(Batch.Random(1, 3, 2, 2))).Expect(200);
        var message = Message.Of(Batch.Random(1, 3, 2, 2)).With("dy", Batch.Random(2, 3, 2, 2));
        Assert.Equal("2,2", string.Join(',', (await session.PostAsync("backward", message, Forms.Safetensors)).Expect(200).Tensors["dgamma"].Shape));
        var file = new TensorFile().Add("weight", "F32", [2, 2], Elements.Of("F32", [1, 2, 3, 4]));
        (await session.PutStateAsync(Forms.Safetensors, file.ToBytes())).Expect(200);
        (await session.GetStateAsync()).ExpectNumbers("gamma", 1, 2, 3, 4);
    }

    private static TensorFile Model() => Add(new TensorFile().Add("conv1.weight", "F32", [1, 1, 2, 2], Elements.Of("F32", [1, 2, 3, 4])), "layer1.0.bn1.", 2)
        .Add("layer1.0.bn1.num_batches_tracked", "I64", [], BitConverter.GetBytes(10L)).Add("layer1.0.bn1.extra", "F32", 1)
        .Add("layer1.0.bn2.weight", "F32", 1, 2, 3).Add("layer1.0.bn2.running_mean", "F32", 1, 2, 3).Add("fc.bias", "F16", 1).Text("format", "pt").Text("options", "none");

    private static async Task<List<string>> NamesAsync(SessionClient session) =>
        [.. (await session.GetStateAsync(("Accept", Forms.Safetensors))).Expect(200).Tensors.Names];

    private static TensorFile Add(TensorFile file, string prefix, double gamma) => file.Add($"{prefix}weight", "F32", gamma, 3).Add($"{prefix}bias", "F32", 4, 5)
        .Add($"{prefix}running_mean", "F32", 6, 7).Add($"{prefix}running_var", "F32", 8, 9);

    private Task<Answer> PutAsync(SessionClient session, string accept, string query, byte[] body, string form)
    {
        var content = new ByteArrayContent(body);
        content.Headers.ContentType = new(form);
        return service.Client.SendAsync(HttpMethod.Put, $"{session.Path}/state{query}", content, ("Accept", accept));
    }

    private SessionClient New() => new(service.Client, $"model-{Guid.NewGuid():N}");
}
