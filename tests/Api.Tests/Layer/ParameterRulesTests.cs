namespace BnService.Api.Tests.Layer;

/// <summary>
/// Gradients from elsewhere, a rule for each of gamma and beta, and clipping; the numbers are those of torch.optim and
/// torch.nn.utils.clip_grad_norm_ in double, for the same gradients.
/// </summary>
public sealed class ParameterRulesTests(Service service) : IClassFixture<Service>
{
    private const string Start = """{"gamma":[0.5,-0.25,2],"beta":[0.125,0,-1]}""";

    private static readonly (string Gamma, string Beta)[] Gradients =
        [("[0.5,-2,1]", "[3,0.25,-0.5]"), ("[0.125,0.5,-0.25]", "[0,-0.125,0.5]"), ("[-4,1,2]", "[0.5,0.5,-8]")];

    public static TheoryData<string, double[], double[]> Rules => new()
    {
        { """{"optimizer":"adamw","learning_rate":0.01}""", [0.48721018412879474, -0.23483098382649117, 1.977964565278843], [0.10213923385074444, -0.019244485665433707, -0.9841987453291768] },
        { """{"optimizer":"adamw","learning_rate":0.01,"weight_decay":0.1}""", [0.48573997960350374, -0.23410641825807113, 1.9719952479602907], [0.10179129930818759, -0.019221832295971478, -0.9812212080129982] },
        { """{"optimizer":"adamw","learning_rate":0.01,"clip_norm":1,"parameters":{"gamma":{"learning_rate":0.1,"weight_decay":0.5},"beta":null}}""", [0.27272895060673813, -0.13852208999273322, 1.5964216352892822], [0.10269328307057615, -0.006290769240801202, -0.9921959993243348] },
        { """{"optimizer":"adam","learning_rate":0.01,"clip_norm":0.5,"parameters":{"beta":{"weight_decay":0.25}}}""", [0.4824018409193961, -0.243615195229789, 1.9897233199516173], [0.10149376485375017, -0.003935978815332773, -0.9779086506866524] },
        { """{"optimizer":"sgd","learning_rate":0.1,"momentum":0.9,"nesterov":true,"clip_norm":2,"parameters":{"gamma":{"weight_decay":0.1,"frozen":false},"beta":{"learning_rate":0.5}}}""", [0.5039696504282762, -0.05526287133286672, 1.651567352769727], [-2.6812960840978435, -0.1586615440905511, 0.41693619998499143] },
        { """{"optimizer":"sgd","learning_rate":0.1,"clip_norm":100}""", [0.8375, -0.2, 1.725], [-0.225, -0.0625, -0.2] },
    };

    [Theory]
    [MemberData(nameof(Rules))]
    public async Task Gradients_from_elsewhere_move_the_parameters_as_in_torch(string update, double[] gamma, double[] beta)
    {
        var session = await StartedAsync();
        var answer = await UpdateAsync(session, 0, update);
        for (var i = 1; i < 3; i++) answer = await UpdateAsync(session, i, update);
        Accuracy.Doubles_are(gamma, answer.Numbers("gamma"), "gamma");
        Accuracy.Doubles_are(beta, answer.Numbers("beta"), "beta");
        Assert.Equal(5, answer.Version);
        var stats = await session.StatsAsync();
        stats.ExpectNumbers("gamma", answer.Numbers("gamma"));
        Assert.Equal(5, stats.Version);
    }

    [Fact]
    public async Task A_frozen_parameter_counts_its_steps_from_where_it_thaws_and_its_state_travels()
    {
        var session = await StartedAsync();
        const string adam = """{"optimizer":"adam","learning_rate":0.01,"clip_norm":1}""", frozen = """{"optimizer":"adam","learning_rate":0.01,"clip_norm":1,"parameters":{"gamma":{"frozen":true}}}""";
        (await UpdateAsync(session, 0, frozen)).ExpectNumbers("gamma", 0.5, -0.25, 2);
        // Without a gradient it stays as well.
        (await PostAsync(session, $$"""{"dbeta":{{Gradients[1].Beta}},"update":{{adam}} }""")).Expect(200).ExpectNumbers("gamma", 0.5, -0.25, 2);
        var state = (await session.GetStateAsync()).Expect(200);
        var copy = new SessionClient(service.Client, $"copy-of-{session.Name}");
        (await copy.PutStateAsync(Forms.Json, state.Body)).Expect(201);
        foreach (var each in new[] { session, copy })
        {
            var answer = await UpdateAsync(each, 2, adam);
            Accuracy.Doubles_are([0.5099999997688345, -0.2599999990753379, 1.990000000462331], answer.Numbers("gamma"), "gamma");
            Accuracy.Doubles_are([0.10277648473056995, -0.007765880231695004, -0.991529149615105], answer.Numbers("beta"), "beta");
        }
    }

    [Fact]
    public async Task A_momentum_buffer_begins_where_its_parameter_thaws()
    {
        var session = await StartedAsync();
        await UpdateAsync(session, 0, """{"optimizer":"sgd","learning_rate":0.1,"momentum":0.9,"parameters":{"gamma":{"frozen":true}}}""");
        const string sgd = """{"optimizer":"sgd","learning_rate":0.1,"momentum":0.9}""";
        await UpdateAsync(session, 1, sgd);
        var answer = await UpdateAsync(session, 2, sgd);
        Accuracy.Doubles_are([0.87625, -0.445, 1.8475], answer.Numbers("gamma"), "gamma");
        Accuracy.Doubles_are([-0.738, -0.094, -0.1595], answer.Numbers("beta"), "beta");
    }

    [Fact]
    public async Task Backward_clips_and_decays_as_update_does_with_its_gradients()
    {
        var (alone, summed) = (await StartedAsync(), await StartedAsync());
        var (x, dy) = (Batch.Random(1, 8, 3), Batch.Random(2, 8, 3));
        const string update = """{"optimizer":"adamw","clip_norm":0.25,"parameters":{"gamma":{"weight_decay":0.5},"beta":{"learning_rate":0.125}}}""";
        var backward = (await alone.BackwardAsync(x, dy, update: update)).Expect(200);
        var answer = (await PostAsync(summed, $$"""{"dgamma":{{backward["dgamma"].GetRawText()}},"dbeta":{{backward["dbeta"].GetRawText()}},"update":{{update}} }""")).Expect(200);
        Assert.Equal((backward["gamma"].GetRawText(), backward["beta"].GetRawText()), (answer["gamma"].GetRawText(), answer["beta"].GetRawText()));
        var ranks = new RankGroup(await StartedAsync(), service.Client, 2);
        var joint = await ranks.AllAsync(200, rank => ranks.BackwardAsync(rank, $$"""{"x":{{x.Rows(4 * rank, 4).Json}},"dy":{{dy.Rows(4 * rank, 4).Json}},"update":{{update}} }"""));
        Assert.All(backward.Numbers("gamma").Zip(joint[0].Numbers("gamma")), pair => Assert.Equal(pair.First, pair.Second, 1e-6));
    }

    [Fact]
    public async Task The_same_key_makes_an_update_once_and_answers_as_the_first_time()
    {
        var session = await StartedAsync();
        var body = $$"""{"dgamma":{{Gradients[0].Gamma}},"dbeta":{{Gradients[0].Beta}},"update":{"optimizer":"adam"} }""";
        var first = (await PostAsync(session, body, ("Idempotency-Key", "u-1"), ("If-Match", "\"2\""))).Expect(200);
        await UpdateAsync(session, 1, """{"optimizer":"adam"}""");
        var again = (await PostAsync(session, body, ("Idempotency-Key", "u-1"), ("If-Match", "\"2\""))).Expect(200);
        Assert.Equal((first.Text, first.ETag, "true"), (again.Text, again.ETag, again.Headers["Idempotent-Replayed"]));
        Assert.Equal(4, (await session.GetAsync()).Version);
        (await PostAsync(session, body.Replace("0.5", "0.75"), ("Idempotency-Key", "u-1"))).ExpectProblem("idempotency-key-reused");
        (await session.RefusedAsync(s => PostAsync(s, body, ("If-Match", "\"3\"")))).ExpectProblem("version-conflict");
    }

    [Fact]
    public async Task Gradients_may_be_tensors_of_a_safetensors_file()
    {
        var (inJson, inTensors) = (await StartedAsync(), await StartedAsync());
        var expected = await UpdateAsync(inJson, 0, """{"optimizer":"sgd","learning_rate":0.1}""");
        var file = new TensorFile().Add("dgamma", "F32", 0.5, -2, 1).Add("dbeta", "F64", 3, 0.25, -0.5)
            .Text("update.optimizer", "sgd").Text("update.learning_rate", "0.1").ToBytes();
        var answer = (await inTensors.PostAsync("update", Forms.Safetensors, file)).Expect(200);
        Assert.Equal(expected.Numbers("gamma"), answer.Tensors["gamma"].Values);
        Assert.Equal(expected.Numbers("beta"), answer.Tensors["beta"].Values);
        (await inTensors.RefusedAsync(s => s.PostAsync("update", Forms.Npy, ArrayFile.Of(Batch.Random(1, 3))))).ExpectProblem("unsupported-media-type");
    }

    [Fact]
    public async Task A_session_with_beta_alone_clips_and_moves_beta_alone()
    {
        var session = await service.CreateAsync("""{"num_features":2,"scale":false}""");
        var answer = (await PostAsync(session, """{"dbeta":[3,4],"update":{"optimizer":"sgd","learning_rate":1,"clip_norm":5} }""")).Expect(200);
        Accuracy.Doubles_are([-3 * 5 / 5.000001, -4 * 5 / 5.000001], answer.Numbers("beta"), "beta");
        Assert.Equal(System.Text.Json.JsonValueKind.Null, answer["gamma"].ValueKind);
    }

    [Fact]
    public async Task A_session_per_activation_takes_its_size_from_the_first_gradient()
    {
        var session = await service.CreateAsync("""{"num_features":3,"granularity":"per_activation"}""");
        (await PostAsync(session, """{"dgamma":[1,2,3,4,5,6],"update":{"optimizer":"sgd","learning_rate":1}}""")).Expect(200).ExpectNumbers("gamma", 0, -1, -2, -3, -4, -5);
    }

    [Theory]
    [InlineData("{}", """{"dgamma":[1,2,3]}""", "invalid-option", "update is missing")]
    [InlineData("{}", """{"update":{"optimizer":"sgd"}}""", "invalid-option", "send dgamma, dbeta or both")]
    [InlineData("{}", """{"dgamma":[1,2],"update":{"optimizer":"sgd"}}""", "shape-mismatch", "dgamma must have 3 values, one per statistic, got 2")]
    [InlineData("{}", """{"dbeta":[1,2,3,4],"update":{"optimizer":"sgd"}}""", "shape-mismatch", "dbeta must have 3 values, one per statistic, got 4")]
    [InlineData("{}", """{"dgamma":[1,"NaN",3],"update":{"optimizer":"sgd"}}""", "invalid-option", "dgamma[1] must be a finite number, got NaN")]
    [InlineData("{}", """{"dgamma":[1e308,2,3],"update":{"optimizer":"sgd","learning_rate":100}}""", "non-finite-input", "the update would set gamma[0] to")]
    [InlineData("""{"bias":false}""", """{"dbeta":[1,2,3],"update":{"optimizer":"sgd"}}""", "invalid-option", "dbeta was sent, but the session has none")]
    [InlineData("""{"bias":false}""", """{"dgamma":[1,2,3],"update":{"optimizer":"sgd","parameters":{"beta":{"frozen":true}}}}""", "invalid-option", "update.parameters.beta was sent, but the session has no beta")]
    [InlineData("""{"scale":false}""", """{"dgamma":[1,2,3],"update":{"optimizer":"sgd"}}""", "invalid-option", "dgamma was sent, but the session has none")]
    [InlineData("""{"scale":false}""", """{"dbeta":[1,2,3],"update":{"optimizer":"sgd","parameters":{"gamma":{"frozen":true}}}}""", "invalid-option", "update.parameters.gamma was sent, but the session has no gamma")]
    [InlineData("""{"affine":false}""", """{"dgamma":[1,2,3],"update":{"optimizer":"sgd"}}""", "invalid-option", "dgamma was sent, but the session has none")]
    [InlineData("{}", """{"dgamma":[1,2,3],"update":{"optimizer":"sgd","clip_norm":0}}""", "invalid-option", "update.clip_norm must be a finite number above 0, got 0")]
    [InlineData("{}", """{"dgamma":[1,2,3],"update":{"optimizer":"sgd","clip_norm":"Infinity"}}""", "invalid-option", "update.clip_norm must be a finite number above 0, got ")]
    [InlineData("{}", """{"dgamma":[1,2,3],"update":{"optimizer":"sgd","parameters":{"gamma":{"learning_rate":-1}}}}""", "invalid-option", "update.parameters.gamma.learning_rate must be a finite number of 0 or more, got -1")]
    [InlineData("{}", """{"dgamma":[1,2,3],"update":{"optimizer":"sgd","parameters":{"beta":{"weight_decay":"NaN"}}}}""", "invalid-option", "update.parameters.beta.weight_decay must be a finite number of 0 or more, got NaN")]
    [InlineData("{}", """{"dgamma":[1,2,3],"update":{"optimizer":"sgd","parameters":{"weight":{}}}}""", "invalid-option", "'update.parameters.weight' is not a field of this call; allowed: update.parameters.gamma, update.parameters.beta")]
    [InlineData("{}", """{"dgamma":[1,2,3],"update":{"optimizer":"sgd","parameters":{"gamma":{"momentum":0.5}}}}""", "invalid-option", "'update.parameters.gamma.momentum' is not a field of this call")]
    public async Task An_update_that_does_not_fit_is_refused(string options, string body, string code, string detail)
    {
        var session = await service.CreateAsync(options.Replace("{", options == "{}" ? "{\"num_features\":3" : "{\"num_features\":3,", StringComparison.Ordinal));
        (await session.RefusedAsync(s => PostAsync(s, body))).ExpectProblem(code, detail);
    }

    private static Task<Answer> PostAsync(SessionClient session, string json, params (string Name, string Value)[] headers) =>
        session.SendAsync(HttpMethod.Post, "update", ServiceClient.JsonContent(System.Text.Encoding.UTF8.GetBytes(json)), headers);

    private static async Task<Answer> UpdateAsync(SessionClient session, int step, string update) =>
        (await PostAsync(session, $$"""{"dgamma":{{Gradients[step].Gamma}},"dbeta":{{Gradients[step].Beta}},"update":{{update}} }""")).Expect(200);

    private async Task<SessionClient> StartedAsync()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        (await session.PutParametersAsync(Start)).Expect(200);
        return session;
    }
}
