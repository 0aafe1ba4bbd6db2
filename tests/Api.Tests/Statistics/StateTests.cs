using System.Text.Json;

namespace BnService.Api.Tests.Statistics;

/// <summary>The whole state of a session, out and in.</summary>
public sealed class StateTests(Service service) : IClassFixture<Service>
{
    private const string Adam = """{"optimizer":"adam","learning_rate":0.01}""";

    /// <summary>Each with a batch of its shape that moves it.</summary>
    public static TheoryData<string, int[], string> Layers => new()
    {
        { """{"num_features":3}""", [5, 3], Adam },
        { """{"num_features":3,"eps":0.25,"momentum":null,"unbiased_running_var":false,"channel_axis":-1,"activation":"relu","non_finite":"propagate"}""", [4, 2, 3], Adam },
        { """{"num_features":3,"gamma_init":0.5,"beta_init":-1,"require_statistics":true,"ghost_batch_size":2}""", [4, 3], """{"optimizer":"sgd","momentum":0.9}""" },
        { """{"num_features":3,"bias":false}""", [5, 3], """{"optimizer":"sgd"}""" },
        { """{"num_features":3,"affine":false}""", [5, 3], "" },
        { """{"num_features":3,"track_running_stats":false}""", [5, 3], """{"optimizer":"adamw"}""" },
        { """{"num_features":3,"granularity":"per_activation"}""", [5, 3, 4], Adam },
        { """{"num_features":3,"granularity":"per_activation","affine":false,"track_running_stats":false}""", [5, 3, 4], "" },
        { """{"num_features":3,"kind":"batch_renorm","renorm":{"r_max":2,"d_max":4,"warmup_steps":7}}""", [5, 3], Adam },
        { """{"num_features":3,"kind":"instance_norm","track_running_stats":true}""", [2, 3, 4], Adam },
        { """{"num_features":4,"kind":"group_norm","num_groups":2}""", [2, 4, 3], Adam },
        { """{"normalized_shape":[2,3],"kind":"layer_norm"}""", [4, 2, 3], Adam },
        { """{"normalized_shape":[3],"kind":"rms_norm","momentum":null}""", [4, 3], Adam },
    };

    [Theory]
    [MemberData(nameof(Layers))]
    public async Task A_state_makes_the_same_layer_again_down_to_the_last_bit(string options, int[] shape, string update)
    {
        var session = await service.CreateAsync(options);
        var fresh = await StateAsync(session);
        await MoveAsync(session, shape, update, seed: 1);
        await MoveAsync(session, shape, update, seed: 2);
        var state = await StateAsync(session);

        var copy = New();
        var created = (await PutAsync(copy, state.Text)).Expect(201);
        Assert.Equal((1, $"/v1/sessions/{copy.Name}"), (created.Version, created.Headers["Location"]));
        Same(state, created);
        Same(state, await StateAsync(copy));
        // Put into one that has moved on elsewhere, it undoes that.
        await MoveAsync(copy, shape, update, seed: 3);
        var version = (await copy.GetAsync()).Version;
        var replaced = (await PutAsync(copy, state.Text)).Expect(200);
        Assert.Equal(version + 1, replaced.Version);
        Same(state, replaced);
        // What happens to both from here on is the same.
        await MoveAsync(session, shape, update, seed: 4);
        await MoveAsync(copy, shape, update, seed: 4);
        Same(await StateAsync(session), await StateAsync(copy));
        var x = Batch.Random(5, shape);
        Assert.Equal((await session.InferAsync(x)).Expect(200).Tensor("y").Data, (await copy.InferAsync(x)).Expect(200).Tensor("y").Data);
        // Back to a state that nothing has touched, if its size is the same.
        if (fresh["features_are_fixed"].GetBoolean()) Same(fresh, (await PutAsync(copy, fresh.Text)).Expect(200));
        Same(fresh, (await PutAsync(New(), fresh.Text)).Expect(201));
    }

    [Fact]
    public async Task Doubles_keep_their_bits()
    {
        double[] values = [0.1, 1.0 / 3, 5e-324, double.MaxValue, 123456789.123456789, 1e-300, Math.PI, 16777217, -0.0];
        var positive = values.Select(Math.Abs).ToArray();
        var session = New();
        (await PutAsync(session, $$"""{"gamma":{{Batch.Array(values)}},"running_mean":{{Batch.Array(values)}},"running_var":{{Batch.Array(positive)}}}""")).Expect(201);
        var state = await StateAsync(session);
        foreach (var (field, expected) in new[] { ("gamma", values), ("running_mean", values), ("running_var", positive) })
            Assert.Equal(expected.Select(BitConverter.DoubleToInt64Bits), state.Numbers(field).Select(BitConverter.DoubleToInt64Bits));
    }

    [Fact]
    public async Task A_fresh_state_still_has_no_statistics_where_they_are_required()
    {
        var session = await service.CreateAsync("""{"num_features":2,"require_statistics":true}""");
        var copy = New();
        (await PutAsync(copy, (await StateAsync(session)).Text)).Expect(201);
        (await copy.InferAsync("""{"x":[[1,2]]}""")).ExpectProblem("no-running-statistics");
        (await PutAsync(copy, """{"running_mean":[0,0],"running_var":[1,1]}""")).Expect(200);
        (await copy.InferAsync("""{"x":[[1,2]]}""")).Expect(200);
    }

    [Fact]
    public async Task The_first_batch_still_decides_the_positions_of_a_copied_per_activation_session()
    {
        var session = await service.CreateAsync("""{"num_features":2,"granularity":"per_activation"}""");
        var copy = New();
        var state = await StateAsync(session);
        Assert.False(state["features_are_fixed"].GetBoolean());
        (await PutAsync(copy, state.Text)).Expect(201);
        (await copy.TrainAsync(Batch.Random(1, 4, 2, 3))).Expect(200);
        Assert.Equal(6, (await StateAsync(copy)).Numbers("gamma").Length);
    }

    [Fact]
    public async Task Imported_positions_decide_the_size_of_a_per_activation_session()
    {
        var session = New();
        (await PutAsync(session, """{"options":{"kind":"batch_norm","num_features":2,"granularity":"per_activation"},"weight":[1,2,3,4,5,6]}""")).Expect(201)
            .ExpectNumbers("running_mean", 0, 0, 0, 0, 0, 0);
        (await session.TrainAsync(Batch.Random(1, 4, 2, 3))).Expect(200);
    }

    [Fact]
    public async Task What_is_absent_stays_and_what_belonged_to_the_replaced_goes()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        await MoveAsync(session, [4, 2], Adam, seed: 1);
        var before = await StateAsync(session);
        var weights = (await PutAsync(session, """{"weight":[3,4]}""")).Expect(200);
        weights.ExpectNumbers("gamma", 3, 4);
        foreach (var field in (string[])["beta", "running_mean", "running_var", "num_batches_tracked", "last_batch", "options"])
            Assert.True(JsonElement.DeepEquals(before[field], weights[field]), field);
        Assert.Equal(JsonValueKind.Null, weights["optimizer"].ValueKind);
        var statistics = (await PutAsync(session, """{"moving_variance":[5,6]}""")).Expect(200);
        statistics.ExpectNumbers("running_var", 5, 6);
        statistics.ExpectNumbers("gamma", 3, 4);
        Assert.True(JsonElement.DeepEquals(before["running_mean"], statistics["running_mean"]));
        Assert.Equal(0, statistics["num_batches_tracked"].GetInt64());
        Assert.Equal(JsonValueKind.Null, statistics["last_batch"].ValueKind);
    }

    [Fact]
    public async Task Options_that_leave_the_shape_alone_are_taken_over()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var state = (await PutAsync(session, """{"options":{"eps":0.5,"momentum":null,"activation":"relu","mode":"frozen"}}""")).Expect(200);
        Assert.Equal(2, state.Version);
        var resource = await session.GetAsync();
        Assert.Equal(0.5, resource["eps"].GetDouble());
        Assert.Equal(JsonValueKind.Null, resource["momentum"].ValueKind);
        Assert.Equal(("relu", "frozen"), (resource["activation"].GetString(), resource["mode"].GetString()));
        Assert.True(resource["unbiased_running_var"].GetBoolean());
    }

    /// <summary>Statistics from elsewhere hold nothing of the initial 0 and 1, even where nobody says how many batches made them.</summary>
    [Theory]
    [InlineData("""{"moving_mean":[1],"moving_variance":[2]}""", true, 0)]
    [InlineData("""{"running_mean":[1],"running_var":[2],"num_batches_tracked":0}""", false, 1)]
    public async Task Imported_statistics_are_settled_unless_their_count_says_otherwise(string body, bool areGiven, double initialWeight)
    {
        var session = New();
        var state = (await PutAsync(session, body)).Expect(201);
        Assert.Equal(areGiven, state["statistics_are_given"].GetBoolean());
        Assert.Equal(initialWeight, (await session.StatsAsync())["diagnostics"].GetProperty("initial_weight").GetDouble());
        Same(state, (await PutAsync(New(), state.Text)).Expect(201));
    }

    [Theory]
    [InlineData("""{"statistics_are_given":true}""", "invalid-option", "statistics_are_given goes with running_mean and running_var")]
    [InlineData("""{"options":{"num_features":3}}""", "shape-mismatch", "options.num_features must be 2, as in the session, got 3")]
    [InlineData("""{"options":{"kind":"batch_renorm"}}""", "invalid-option", "options.kind must be batch_norm, as in the session, got batch_renorm")]
    [InlineData("""{"options":{"channel_axis":-1}}""", "invalid-option", "options.channel_axis must be 1, as in the session, got -1")]
    [InlineData("""{"options":{"granularity":"per_activation"}}""", "invalid-option", "options.granularity must be per_channel, as in the session, got per_activation")]
    [InlineData("""{"options":{"affine":false}}""", "invalid-option", "options.affine must be true, as in the session, got false")]
    [InlineData("""{"options":{"bias":false}}""", "invalid-option", "options.bias must be true")]
    [InlineData("""{"options":{"track_running_stats":false}}""", "invalid-option", "options.track_running_stats must be true")]
    [InlineData("""{"options":{"num_groups":1}}""", "invalid-option", "num_groups is not an option of batch_norm")]
    [InlineData("""{"options":{"eps":-1}}""", "invalid-option", "eps must be a finite number of 0 or more, got -1")]
    [InlineData("""{"options":{"name":"x"}}""", "invalid-option", "'options.name' is not a field of this call")]
    [InlineData("""{"options":[]}""", "invalid-option", "options must be an object, got an array")]
    [InlineData("""{"convention":"torch"}""", "invalid-option", "convention must be one of")]
    [InlineData("""{"gamma":[1,2,3]}""", "shape-mismatch", "gamma must have 2 values, one per statistic, got 3")]
    [InlineData("""{"weight":[1]}""", "shape-mismatch", "weight must have 2 values, one per statistic, got 1")]
    [InlineData("""{"bias":[]}""", "shape-mismatch", "bias must have 2 values, one per statistic, got 0")]
    [InlineData("""{"scale":[1,"NaN"]}""", "invalid-option", "scale[1] must be a finite number, got NaN")]
    [InlineData("""{"bias":true}""", "invalid-option", "bias must be an array of numbers, got true")]
    [InlineData("""{"moving_mean":["Infinity",1]}""", "invalid-option", "moving_mean[0] must be a finite number, got Infinity")]
    [InlineData("""{"var":[1,-1e-300]}""", "invalid-option", "var[1] must be 0 or more, got -1E-300")]
    [InlineData("""{"running_mean":[1,2],"moving_variance":[1]}""", "shape-mismatch", "moving_variance must have 2 values")]
    [InlineData("""{"num_batches_tracked":-1}""", "invalid-option", "num_batches_tracked must be 0 or more, got -1")]
    [InlineData("""{"num_batches_tracked":1.5}""", "invalid-option", "num_batches_tracked must be a whole number, got 1.5")]
    [InlineData("""{"statistics_are_initial":true,"running_mean":[1,0]}""", "invalid-option", "statistics_are_initial must be false where running_mean is not 0")]
    [InlineData("""{"features_are_fixed":false}""", "invalid-option", "features_are_fixed must be true")]
    [InlineData("""{"optimizer":{"name":"adam","step":0,"gamma":{"first":[1,1],"second":[1,1]},"beta":{"first":[1,1],"second":[1,1]}}}""", "invalid-option", "optimizer.step must be 1 or more, got 0")]
    [InlineData("""{"optimizer":{"name":"adam","step":1,"gamma":{"first":[1,1],"second":[1]},"beta":{"first":[1,1],"second":[1,1]}}}""", "shape-mismatch", "optimizer.gamma.second must have 2 values, one per statistic, got 1")]
    [InlineData("""{"optimizer":{"name":"adam","step":1,"gamma":{"first":[1,1],"second":[1,-1]},"beta":{"first":[1,1],"second":[1,1]}}}""", "invalid-option", "optimizer.gamma.second[1] must be 0 or more, got -1")]
    [InlineData("""{"optimizer":{"name":"adam","step":1,"gamma":{"first":[],"second":[1,1]},"beta":{"first":[1,1],"second":[1,1]}}}""", "shape-mismatch", "optimizer.gamma.first must have 2 values")]
    [InlineData("""{"optimizer":{"name":"sgd","step":1,"gamma":{"first":[1,"NaN"],"second":[]},"beta":{"first":[1,1],"second":[]}}}""", "invalid-option", "optimizer.gamma.first[1] must be a finite number, got NaN")]
    [InlineData("""{"optimizer":{"name":"sgd","step":1,"gamma":{"first":[1,1],"second":[1,1]},"beta":null}}""", "invalid-option", "optimizer.beta must be an object: the session has a beta")]
    [InlineData("""{"optimizer":{"name":"sgd","step":1,"gamma":{"first":[1,1],"second":[1,1]},"beta":{"first":[1,1],"second":[]}}}""", "shape-mismatch", "optimizer.gamma.second must have 0 values, got 2")]
    [InlineData("""{"optimizer":{"name":"lion","step":1}}""", "invalid-option", "optimizer.name must be one of \"sgd\", \"adam\", \"adamw\", got \"lion\"")]
    [InlineData("""{"optimizer":{"name":"sgd","step":1}}""", "invalid-option", "optimizer.gamma must be an object: the session has a gamma")]
    [InlineData("""{"optimizer":{"name":"sgd","step":1,"gamma":null}}""", "invalid-option", "optimizer.gamma must be an object: the session has a gamma")]
    [InlineData("""{"optimizer":{"name":"sgd","step":1,"gamma":{"first":null,"second":[]}}}""", "invalid-option", "optimizer.gamma.first must be an array of numbers, got null")]
    [InlineData("""{"last_batch":{"mean":[1],"var":[1],"count":2}}""", "shape-mismatch", "last_batch.mean must have 2 values, one per statistic, got 1")]
    [InlineData("""{"last_batch":{"mean":[1,1],"var":[1,-1],"count":2}}""", "invalid-option", "last_batch.var[1] must be 0 or more, got -1")]
    [InlineData("""{"last_batch":{"mean":[1,1],"var":[1,1],"count":0}}""", "invalid-option", "last_batch.count must be 1 or more, got 0")]
    [InlineData("""{"last_batch":{"mean":null,"var":[1,1],"count":1}}""", "invalid-option", "last_batch.mean must be an array of numbers, got null")]
    [InlineData("""{}""", "invalid-option", "send something of the state")]
    [InlineData("""{"version":7,"gamma":null}""", "invalid-option", "send something of the state")]
    [InlineData("""{"running_std":[1,1]}""", "invalid-option", "'running_std' is not a field of this call; allowed: options, convention, gamma")]
    [InlineData("""[]""", "malformed-body", "the body must be a JSON object")]
    public async Task What_no_state_can_be_is_refused_by_the_name_that_was_sent(string body, string code, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => PutAsync(s, body))).ExpectProblem(code, detail);
    }

    [Theory]
    [InlineData("""{"num_features":2,"affine":false}""", """{"weight":[1,2]}""", "weight was sent, but the session has none (its affine is false)")]
    [InlineData("""{"num_features":2,"bias":false}""", """{"bias":[1,2]}""", "bias was sent, but the session has none (its bias is false)")]
    [InlineData("""{"kind":"rms_norm","normalized_shape":[2]}""", """{"beta":[1,2]}""", "beta was sent, but the session has none (rms_norm has no beta)")]
    [InlineData("""{"num_features":2,"track_running_stats":false}""", """{"moving_mean":[1,2]}""", "moving_mean was sent, but the session keeps no running statistics")]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[2]}""", """{"num_batches_tracked":1}""", "num_batches_tracked was sent, but the session keeps no running statistics")]
    [InlineData("""{"num_features":2,"affine":false}""", """{"optimizer":{"name":"sgd","step":1,"gamma":{"first":[],"second":[]}}}""", "optimizer was sent, but the session has no parameters")]
    public async Task What_the_session_does_not_have_cannot_be_put(string options, string body, string detail)
    {
        var session = await service.CreateAsync(options);
        (await session.RefusedAsync(s => PutAsync(s, body))).ExpectProblem("invalid-option", detail);
    }

    [Theory]
    [InlineData("""{}""", "invalid-option", "num_features is missing; it must be a whole number")]
    [InlineData("""{"options":{"kind":"layer_norm"}}""", "invalid-option", "normalized_shape is missing")]
    [InlineData("""{"options":{"kind":"group_norm"},"weight":[1,2]}""", "invalid-option", "num_groups is missing")]
    [InlineData("""{"options":{"kind":"batch_norm","granularity":"per_activation"},"weight":[1,2]}""", "invalid-option", "num_features is missing")]
    [InlineData("""{"options":{"kind":"batch_norm"},"weight":[]}""", "invalid-option", "num_features must be a whole number of 1 or more, got 0")]
    [InlineData("""{"options":{"kind":"batch_norm","num_features":3},"weight":[1,2]}""", "shape-mismatch", "weight must have 3 values, one per statistic, got 2")]
    [InlineData("""{"weight":[1,2],"running_mean":[1,2,3],"running_var":[1,2]}""", "shape-mismatch", "running_mean must have 2 values, one per statistic, got 3")]
    [InlineData("""{"weight":[1,2],"convention":"keras","options":{"kind":"batch_norm","momentum":1.5}}""", "invalid-option", "momentum must be a number from 0 to 1 (with convention keras")]
    [InlineData("""{"options":{"num_features":2000000}}""", "limit-reached", "a session has at most 1048576 features")]
    public async Task What_makes_no_session_creates_none(string body, string code, string detail)
    {
        var session = New();
        (await PutAsync(session, body)).ExpectProblem(code, detail);
        (await session.GetAsync()).ExpectProblem("session-not-found");
        (await service.Client.GetAsync($"{session.Path}/state")).ExpectProblem("session-not-found");
    }

    [Fact]
    public async Task A_name_that_no_session_can_have_is_refused() =>
        (await service.Client.PutAsync("/v1/sessions/-x/state", """{"weight":[1]}""")).ExpectProblem("invalid-option", "name must be 1 to 128 letters");

    [Theory]
    [InlineData("\"2\"", true)]
    [InlineData("*", true)]
    [InlineData("\"1\"", false)]
    [InlineData("garbage", false)]
    public async Task If_Match_is_honoured(string ifMatch, bool holds)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await PutAsync(session, """{"weight":[1,2]}""")).Expect(200);
        if (holds) Assert.Equal(3, (await PutAsync(session, """{"weight":[3,4]}""", ("If-Match", ifMatch))).Expect(200).Version);
        else (await session.RefusedAsync(s => PutAsync(s, """{"weight":[3,4]}""", ("If-Match", ifMatch)))).ExpectProblem("version-conflict");
    }

    [Theory]
    [InlineData("\"1\"")]
    [InlineData("*")]
    public async Task If_Match_never_creates(string ifMatch)
    {
        var session = New();
        (await PutAsync(session, """{"weight":[3,4]}""", ("If-Match", ifMatch))).ExpectProblem("version-conflict", "there is no session");
        (await session.GetAsync()).ExpectProblem("session-not-found");
    }

    [Fact]
    public async Task Of_many_puts_to_a_free_name_one_creates_and_all_count()
    {
        var session = New();
        var answers = await Task.WhenAll(Enumerable.Range(1, 12).Select(i => PutAsync(session, $$"""{"options":{"kind":"batch_norm"},"weight":[{{i}}]}""")));
        Assert.Equal(1, answers.Count(answer => answer.Status == 201));
        Assert.Equal(Enumerable.Range(1, 12).Select(i => (long)i), answers.Select(answer => answer.Version).Order());
        Assert.Equal(12, (await session.GetAsync()).Version);
    }

    private async Task MoveAsync(SessionClient session, int[] shape, string update, int seed)
    {
        (await session.TrainAsync(Batch.Random(seed, shape))).Expect(200);
        if (update.Length > 0) (await session.BackwardAsync(Batch.Random(seed, shape), Batch.Random(seed + 100, shape), update: update)).Expect(200);
    }

    private static void Same(Answer expected, Answer actual)
    {
        foreach (var field in expected.Json.EnumerateObject().Where(field => field.Name != "version"))
            Assert.Equal(field.Value.GetRawText(), actual[field.Name].GetRawText());
    }

    private async Task<Answer> StateAsync(SessionClient session) => (await service.Client.GetAsync($"{session.Path}/state")).Expect(200);

    private Task<Answer> PutAsync(SessionClient session, string body, params (string Name, string Value)[] headers) =>
        service.Client.PutAsync($"{session.Path}/state", body, headers);

    private SessionClient New() => new(service.Client, $"state-{Guid.NewGuid():N}");
}
