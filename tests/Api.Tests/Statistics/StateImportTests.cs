namespace BnService.Api.Tests.Statistics;

/// <summary>States under the names that other frameworks keep them by.</summary>
public sealed class StateImportTests(Service service) : IClassFixture<Service>
{
    [Theory]
    [InlineData("""{"weight":[2,3],"bias":[4,5],"running_mean":[6,7],"running_var":[8,9],"num_batches_tracked":10,"convention":"pytorch"}""", 0.1, 1e-5, true, 10)]
    [InlineData("""{"gamma":[2,3],"beta":[4,5],"moving_mean":[6,7],"moving_variance":[8,9],"convention":"keras"}""", 0.01, 1e-3, false, 0)]
    [InlineData("""{"scale":[2,3],"bias":[4,5],"mean":[6,7],"var":[8,9],"convention":"flax"}""", 0.01, 1e-5, false, 0)]
    [InlineData("""{"blobs":[[3,3.5],[4,4.5],[0.5]],"scale_blobs":[[2,3],[4,5]],"convention":"caffe"}""", 0.001, 1e-5, true, 0)]
    [InlineData("""{"weight":[2,3],"beta":[4,5],"moving_mean":[6,7],"var":[8,9]}""", 0.1, 1e-5, true, 0)]
    [InlineData("""{"gamma":[2,3],"beta":[4,5],"moving_mean":[6,7],"moving_var":[8,9]}""", 0.1, 1e-5, true, 0)]
    [InlineData("""{"scale":[2,3],"B":[4,5],"input_mean":[6,7],"input_var":[8,9],"convention":"onnx"}""", 0.1, 1e-5, false, 0)]
    [InlineData("""{"scale":[2,3],"B":[4,5],"mean":[6,7],"var":[8,9]}""", 0.1, 1e-5, true, 0)]
    [InlineData("""{"params":{"scale":[2,3],"bias":[4,5]},"batch_stats":{"mean":[6,7],"var":[8,9]},"convention":"flax"}""", 0.01, 1e-5, false, 0)]
    [InlineData("""{"params":{"bn":{"scale":[2,3],"bias":[4,5]}},"batch_stats":{"bn":{"mean":[6,7],"var":[8,9]}}}""", 0.1, 1e-5, true, 0)]
    [InlineData("""{"module.weight":[2,3],"module.bias":[4,5],"module.running_mean":[6,7],"module.running_var":[8,9],"module.num_batches_tracked":3}""", 0.1, 1e-5, true, 3)]
    [InlineData("""{"bn/gamma:0":[2,3],"bn/beta:0":[4,5],"bn/moving_mean:0":[6,7],"bn/moving_variance:0":[8,9]}""", 0.1, 1e-5, true, 0)]
    public async Task Every_frameworks_arrays_make_the_same_layer(string body, double momentum, double eps, bool isUnbiased, int batches)
    {
        var session = New();
        var state = (await PutAsync(session, body)).Expect(201);
        state.ExpectNumbers("gamma", 2, 3);
        state.ExpectNumbers("beta", 4, 5);
        state.ExpectNumbers("running_mean", 6, 7);
        state.ExpectNumbers("running_var", 8, 9);
        Assert.Equal(batches, state["num_batches_tracked"].GetInt64());
        Assert.False(state["statistics_are_initial"].GetBoolean());
        var resource = (await session.GetAsync()).Expect(200);
        Assert.Equal((2, momentum, eps, isUnbiased), (resource["num_features"].GetInt32(), resource["momentum"].GetDouble(), resource["eps"].GetDouble(), resource["unbiased_running_var"].GetBoolean()));
        var x = Batch.Random(1, 4, 2);
        var layer = new ReferenceLayer(2) { Gamma = [2, 3], Beta = [4, 5], Running = new ReferenceStatistics([6, 7], [8, 9], 0), Eps = eps };
        Accuracy.Outputs_are(layer.Infer(x), x, (await session.InferAsync(x)).Expect(200).Tensor("y"));
    }

    [Fact]
    public async Task The_options_of_an_import_are_read_in_its_convention()
    {
        var session = New();
        (await PutAsync(session, """{"moving_mean":[1],"moving_variance":[2],"convention":"keras","options":{"momentum":0.9,"eps":0.25}}""")).Expect(201);
        var resource = await session.GetAsync();
        Assert.Equal((0.1, 0.25, false), (resource["momentum"].GetDouble(), resource["eps"].GetDouble(), resource["unbiased_running_var"].GetBoolean()));
        Assert.Equal("keras", resource["convention"].GetProperty("name").GetString());
        Assert.Equal(["momentum", "unbiased_running_var", "channel_axis"], Converted(resource));
    }

    /// <summary>What was chosen for the session stays, but which variance it now has is a fact about the arrays.</summary>
    [Fact]
    public async Task An_existing_session_takes_from_a_convention_the_kind_of_the_variance_and_the_meaning_of_momentum()
    {
        var session = await service.CreateAsync("""{"num_features":1,"eps":0.5,"momentum":0.3}""");
        (await PutAsync(session, """{"moving_mean":[1],"moving_variance":[2],"convention":"keras"}""")).Expect(200);
        var resource = await session.GetAsync();
        Assert.Equal((0.3, 0.5, false), (resource["momentum"].GetDouble(), resource["eps"].GetDouble(), resource["unbiased_running_var"].GetBoolean()));
        Assert.Equal(["unbiased_running_var"], Converted(resource));
        (await PutAsync(session, """{"convention":"keras","options":{"momentum":0.75}}""")).Expect(200);
        Assert.Equal(0.25, (await session.GetAsync())["momentum"].GetDouble());
        // Without a convention the record of the last one stays.
        (await PutAsync(session, """{"gamma":[2]}""")).Expect(200);
        Assert.Equal(["momentum", "unbiased_running_var"], Converted(await session.GetAsync()));
    }

    [Fact]
    public async Task Without_its_Scale_layer_Caffes_layer_has_gamma_1_and_beta_0()
    {
        var state = (await PutAsync(New(), """{"blobs":[[10,-20],[4,8],[2]]}""")).Expect(201);
        state.ExpectNumbers("gamma", 1, 1);
        state.ExpectNumbers("beta", 0, 0);
        state.ExpectNumbers("running_mean", 5, -10);
        state.ExpectNumbers("running_var", 2, 4);
        (await PutAsync(New(), """{"scale_blobs":[[3,4]],"options":{"kind":"batch_norm"}}""")).Expect(201).ExpectNumbers("beta", 0, 0);
    }

    [Fact]
    public async Task Caffes_factor_0_is_a_layer_that_has_seen_no_batch()
    {
        const string Blobs = """{"blobs":[[0,0],[0,0],[0]],"options":{"require_statistics":true}}""";
        var session = New();
        foreach (var status in (int[])[201, 200])
        {
            var state = (await PutAsync(session, Blobs)).Expect(status);
            state.ExpectNumbers("running_mean", 0, 0);
            state.ExpectNumbers("running_var", 1, 1);
            Assert.True(state["statistics_are_initial"].GetBoolean());
            (await session.InferAsync("""{"x":[[1,2]]}""")).ExpectProblem("no-running-statistics");
            (await session.TrainAsync("""{"x":[[1,2],[3,5]]}""")).Expect(200);
        }
    }

    [Theory]
    [InlineData("""{"options":{"kind":"layer_norm"},"weight":[1,2,3],"bias":[4,5,6]}""", "normalized_shape", "[3]")]
    [InlineData("""{"options":{"kind":"rms_norm"},"scale":[1,2]}""", "normalized_shape", "[2]")]
    [InlineData("""{"options":{"kind":"group_norm","num_groups":2},"scale":[1,2,3,4]}""", "num_features", "4")]
    [InlineData("""{"options":{"kind":"instance_norm"},"weight":[1,2]}""", "num_features", "2")]
    [InlineData("""{"options":{"num_features":2}}""", "num_features", "2")]
    public async Task The_size_of_a_new_session_comes_from_its_arrays(string body, string option, string size)
    {
        var state = (await PutAsync(New(), body)).Expect(201);
        Assert.Equal(size, state["options"].GetProperty(option).GetRawText());
    }

    [Theory]
    [InlineData("""{"gamma":[1,2],"weight":[1,2]}""", "gamma and weight are two names for the same thing")]
    [InlineData("""{"weight":[1,2],"scale":[1,2]}""", "weight and scale are two names")]
    [InlineData("""{"beta":[1,2],"bias":[1,2]}""", "beta and bias are two names")]
    [InlineData("""{"running_mean":[1,2],"moving_mean":[1,2]}""", "running_mean and moving_mean are two names")]
    [InlineData("""{"moving_mean":[1,2],"mean":[1,2]}""", "moving_mean and mean are two names")]
    [InlineData("""{"running_var":[1,2],"var":[1,2]}""", "running_var and var are two names")]
    [InlineData("""{"moving_variance":[1,2],"var":[1,2]}""", "moving_variance and var are two names")]
    [InlineData("""{"mean":[1,2],"blobs":[[1,2],[1,2],[1]]}""", "mean and blobs are two names")]
    [InlineData("""{"running_var":[1,2],"blobs":[[1,2],[1,2],[1]]}""", "running_var and blobs are two names")]
    [InlineData("""{"weight":[1,2],"scale_blobs":[[1,2]]}""", "weight and scale_blobs are two names")]
    [InlineData("""{"bias":[1,2],"scale_blobs":[[1,2],[1,2]]}""", "bias and scale_blobs are two names")]
    [InlineData("""{"blobs":[[1,2],[1,2]]}""", "blobs must be 3 arrays (mean, variance and factor), got 2")]
    [InlineData("""{"blobs":[]}""", "blobs must be 3 arrays")]
    [InlineData("""{"blobs":[1,2,3]}""", "blobs[0] must be an array of numbers, got 1")]
    [InlineData("""{"blobs":[[1,2],null,[1]]}""", "blobs[1] must be an array of numbers, got null")]
    [InlineData("""{"blobs":[[1,2],[1,"NaN"],[1]]}""", "blobs[1][1] must be a finite number, got NaN")]
    [InlineData("""{"blobs":[[1,2],[1,-2],[2]]}""", "blobs[1][1] must be 0 or more, got -1")]
    [InlineData("""{"blobs":[[1,2],[1,2],[-1]]}""", "blobs[2][0], the factor, must be 0 or more, got -1")]
    [InlineData("""{"blobs":[[1,2],[1,2],[1e-320]]}""", "blobs[0][0] must be a finite number, got Infinity")]
    [InlineData("""{"scale_blobs":[]}""", "scale_blobs must be 1 or 2 arrays (gamma, and beta where there is one), got 0")]
    [InlineData("""{"scale_blobs":[[1,2],[1,2],[1]]}""", "scale_blobs must be 1 or 2 arrays")]
    public async Task Two_names_for_one_thing_and_blobs_that_are_none_are_refused(string body, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => PutAsync(s, body))).ExpectProblem("invalid-option", detail);
        var none = New();
        (await PutAsync(none, body)).ExpectProblem("invalid-option", detail);
        (await none.GetAsync()).ExpectProblem("session-not-found");
    }

    [Theory]
    [InlineData("""{"blobs":[[1,2],[1,2],[1,1]]}""", "blobs[2] must have 1 value, the factor, got 2")]
    [InlineData("""{"blobs":[[1,2],[1],[1]]}""", "blobs[1] must have 2 values, one per statistic, got 1")]
    [InlineData("""{"scale_blobs":[[1,2],[1,2,3]],"options":{"kind":"batch_norm"}}""", "scale_blobs[1] must have 2 values, one per statistic, got 3")]
    public async Task Blobs_of_other_lengths_are_refused(string body, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => PutAsync(s, body))).ExpectProblem("shape-mismatch", detail);
        (await PutAsync(New(), body)).ExpectProblem("shape-mismatch", detail);
    }

    private static string[] Converted(Answer resource) =>
        [.. resource["convention"].GetProperty("converted").EnumerateArray().Select(option => option.GetProperty("option").GetString()!)];

    private Task<Answer> PutAsync(SessionClient session, string body) => service.Client.PutAsync($"{session.Path}/state", body);

    private SessionClient New() => new(service.Client, $"import-{Guid.NewGuid():N}");
}
