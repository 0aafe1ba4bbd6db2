using static BnService.Api.Tests.Kinds.WideNumbers;

namespace BnService.Api.Tests.Kinds;

/// <summary>Values that float32 cannot tell apart, or hold: computed in float64 where the session asks for it, and never as if they could.</summary>
public sealed class PrecisionTests(Service service) : IClassFixture<Service>
{
    private const string Float64 = """{"num_features":1,"precision":"float64"}""";

    private static readonly double Scale = 1 / Math.Sqrt(1.25 + 1e-5);

    private static readonly double[] Normalized = [-1.5 * Scale, -0.5 * Scale, 0.5 * Scale, 1.5 * Scale];

    public static TheoryData<string> AllForms => [.. WideNumbers.AllForms];

    [Theory]
    [MemberData(nameof(AllForms))]
    public async Task A_train_step_in_float64_keeps_what_float32_would_lose(string form)
    {
        var session = await service.CreateAsync(Float64);
        var answer = (await service.SendAsync(session, "train-step", "x", Seconds, form)).Expect(200);
        AssertNear(Normalized, Doubles(answer, "y"));
        var stats = (await session.StatsAsync()).Expect(200);
        Assert.Equal([1700000001.5], stats["last_batch"].GetProperty("mean").EnumerateArray().Select(Answer.Number));
        Assert.Equal([1.25], stats["last_batch"].GetProperty("var").EnumerateArray().Select(Answer.Number));
        Assert.DoesNotContain("precision-lost", Warnings(answer));
        Assert.Equal("float64", (await session.GetAsync())["precision"].GetString());
    }

    [Theory]
    [MemberData(nameof(AllForms))]
    public async Task Without_it_a_warning_names_the_channels(string form)
    {
        var session = await service.CreateAsync("""{"num_features":1}""");
        var answer = (await service.SendAsync(session, "train-step", "x", Seconds, form)).Expect(200);
        Assert.Contains("precision-lost", Warnings(answer));
        Assert.DoesNotContain("constant-channels", Warnings(answer));
        if (form is not ("json" or "nested")) return;
        var warning = answer["warnings"].EnumerateArray().First(entry => entry.GetProperty("code").GetString() == "precision-lost");
        Assert.Equal([0], warning.GetProperty("channels").EnumerateArray().Select(channel => channel.GetInt32()));
        Assert.Contains("precision float64", warning.GetProperty("remedy").GetString(), StringComparison.Ordinal);
    }

    [Theory]
    [MemberData(nameof(AllForms))]
    public async Task An_inference_warns_in_a_header(string form)
    {
        var session = await service.CreateAsync("""{"num_features":1}""");
        Assert.DoesNotContain("Bn-Warnings", (await service.SendAsync(session, "inference", "x", Seconds, form)).Expect(200).Headers.Keys);
        (await session.PutRunningStatsAsync("""{"running_mean":[1700000001.5],"running_var":[1.25]}""")).Expect(200);
        Assert.Equal("precision-lost", (await service.SendAsync(session, "inference", "x", Seconds, form)).Expect(200).Headers["Bn-Warnings"]);
    }

    /// <summary>A position's channels do not lie side by side: its statistic is still its own.</summary>
    [Fact]
    public async Task Only_the_positions_that_rounding_has_changed_are_named_where_a_row_is_their_channels()
    {
        var session = await service.CreateAsync("""{"kind":"layer_norm","num_features":2,"channel_axis":1}""");
        // [2, 2, 3]: of the second sample the second position is lost, and of the first one none.
        var answer = (await session.TrainAsync("""{"x":[[[1,2,3],[3,2.5,1]],[[2,16777217,3],[0,16777218,1]]]}""")).Expect(200);
        var warning = answer["warnings"].EnumerateArray().Single(entry => entry.GetProperty("code").GetString() == "precision-lost");
        Assert.Equal("[4]", warning.GetProperty("channels").ToString());
        double[] values = [1, 2, 3, 3, 2.5, 1, 2, 16777217, 3, 0, 16777218, 1];
        var file = new TensorFile().Add("x", "F64", [2, 2, 3], Bytes(values)).ToBytes();
        var texts = (await session.PostAsync("train-step", Forms.Safetensors, file)).Expect(200).Tensors.Texts["warnings"];
        Assert.Contains("\"channels\":[4]", texts, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Only_the_channels_that_rounding_has_changed_are_named()
    {
        var session = await service.CreateAsync("""{"num_features":6}""");
        // Lost, ordinary, the same, the same and inexact, merged far from 0, exact in float32.
        var rows = Enumerable.Range(0, 4).Select(i => FormattableString.Invariant(
            $"[{16777217 + i},{0.1 + i},1,0.1,{(i % 2 == 0 ? "5e15" : "5000000000000001")},{1_000_000_000 + (64 * i)}]"));
        var answer = (await session.TrainAsync($$"""{"x":[{{string.Join(',', rows)}}]}""")).Expect(200);
        var found = answer["warnings"].EnumerateArray().Where(entry => entry.TryGetProperty("channels", out _)).ToDictionary(
            entry => entry.GetProperty("code").GetString()!, entry => entry.GetProperty("channels").ToString());
        Assert.Equal("[0,4]", found["precision-lost"]);
        Assert.Equal("[2,3]", found["constant-channels"]);
        double[] values = [.. Enumerable.Range(0, 4).SelectMany(i => (double[])[16777217 + i, 0.1 + i, 1, 0.1, i % 2 == 0 ? 5e15 : 5000000000000001, 1e9 + (64 * i)])];
        var file = new TensorFile().Add("x", "F64", [4, 6], Bytes(values)).ToBytes();
        var texts = (await session.PostAsync("train-step", Forms.Safetensors, file)).Expect(200).Tensors.Texts["warnings"];
        Assert.Contains("\"channels\":[0,4]", texts, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("""{"num_features":2}""", "[[0.1,1e-3],[0.3,7.123456789],[0.7,1000.5],[123456.789,3e-7]]")]
    [InlineData("""{"num_features":2}""", "[[1,20.5],[2,20.25],[3,21],[4,22.1]]")]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[4]}""", "[[0.1,0.2,0.3,0.4],[1000.1,1001.2,1002.3,1003.4]]")]
    public async Task Ordinary_decimals_are_not_worth_a_word(string options, string x)
    {
        var session = await service.CreateAsync(options);
        Assert.DoesNotContain("precision-lost", Warnings((await session.TrainAsync($$"""{"x":{{x}}}""")).Expect(200)));
    }

    [Fact]
    public async Task Kinds_that_normalize_each_sample_warn_as_well()
    {
        var session = await service.CreateAsync("""{"kind":"layer_norm","normalized_shape":[4]}""");
        var answer = (await session.TrainAsync("""{"x":[[1,2,3,4],[1.7e9,1700000001,1700000002,1700000003]]}""")).Expect(200);
        var warning = Assert.Single(answer["warnings"].EnumerateArray());
        Assert.Equal("precision-lost", warning.GetProperty("code").GetString());
        Assert.Equal("[1]", warning.GetProperty("channels").ToString());
    }

    [Theory]
    [InlineData("json")]
    [InlineData("nested")]
    [InlineData("npy <f8")]
    [InlineData("fortran <f8")]
    [InlineData("npy >f8")]
    [InlineData("safetensors F64")]
    public async Task A_value_beyond_float32_is_refused_in_every_form_and_call(string form)
    {
        var session = await service.CreateAsync("""{"num_features":1}""");
        double[] values = [1, 2, 3, 1e300];
        var words = "element 3 is 1e300, beyond float32's range (±3.4028235e38); create the session with precision float64";
        foreach (var call in (string[])["train-step", "inference", "calibration/batches"])
            (await service.SendAsync(session, call, "x", values, form)).Expect(422).ExpectProblem("non-finite-input", $"x {words}");
        Assert.Equal(0, (await session.StatsAsync())["num_batches_tracked"].GetInt64());
        if (form.EndsWith("f8", StringComparison.Ordinal)) return;
        (await service.SendAsync(session, "backward", "dy", values, form)).Expect(422).ExpectProblem("non-finite-input", $"dy {words}");
        if (form != "safetensors F64") return;
        var file = new TensorFile().Add("x", "F64", [4, 1], Bytes(values)).Text("kind", "rms_norm").Text("normalized_shape", "[1]").ToBytes();
        (await service.Client.PostAsync("/v1/normalize", Forms.Safetensors, file)).ExpectProblem("non-finite-input", $"x {words}");
    }

    [Fact]
    public async Task A_value_beyond_float32_is_refused_by_the_inference_protocol()
    {
        var model = await service.ModelAsync("""{"num_features":1}""");
        var words = "x element 3 is 1e300, beyond float32's range";
        var json = """{"inputs":[{"name":"x","shape":[4,1],"datatype":"FP64","data":[1,2,3,1e300]}]}""";
        Assert.Contains(words, (await model.InferAsync(json)).Expect(400)["error"].GetString(), StringComparison.Ordinal);
        var bytes = Bytes([1, 2, 3, 1e300]);
        var binary = ModelClient.Request(ModelClient.BinaryInput([4, 1], "FP64", bytes.Length));
        Assert.Contains(words, (await model.InferAsync(binary, bytes)).Expect(400)["error"].GetString(), StringComparison.Ordinal);
        // Large enough to be answered while it arrives, were it known to be well.
        var many = Bytes([.. Enumerable.Range(0, 20_000).Select(i => i == 19_000 ? -1e300 : i)]);
        binary = ModelClient.Request(ModelClient.BinaryInput([20_000, 1], "FP64", many.Length), """ "parameters":{"binary_data_output":true},""");
        Assert.Contains("x element 19000 is -1e300", (await model.InferAsync(binary, many)).Expect(400)["error"].GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task An_infinity_that_was_sent_is_an_infinity()
    {
        var session = await service.CreateAsync("""{"num_features":1,"non_finite":"propagate"}""");
        var answer = (await service.SendAsync(session, "inference", "x", [1, double.NegativeInfinity], "safetensors F64")).Expect(200);
        Assert.True(double.IsNegativeInfinity(answer.Tensors["y"].Values[1]));
        (await service.SendAsync(await service.CreateAsync(Float64), "train-step", "x", [1, double.PositiveInfinity], "npy <f8")).Expect(422)
            .ExpectProblem("non-finite-input", "element 1 is ");
    }

    [Fact]
    public async Task Values_beyond_float32_are_normalized_in_float64()
    {
        var session = await service.CreateAsync("""{"num_features":1,"precision":"float64","eps":0}""");
        var answer = (await session.TrainAsync("""{"x":[[1e150],[2e150],[3e150],[4e150]]}""")).Expect(200);
        AssertNear([.. new[] { -1.5, -0.5, 0.5, 1.5 }.Select(value => value / Math.Sqrt(1.25))], Doubles(answer, "y"));
        // Their squares are beyond float64 as well: refused, and not normalized to 0.
        const string far = """{"x":[[1],[1e300]],"dy":[[1],[1]]}""";
        var layer = await service.CreateAsync("""{"kind":"layer_norm","normalized_shape":[2],"precision":"float64"}""");
        foreach (var refused in new[]
        {
            await session.TrainAsync("""{"x":[[1],[1e300]]}"""), await session.BackwardAsync(far), await layer.InferAsync("""{"x":[[1,1e300]]}"""),
            await service.Client.PostAsync("/v1/normalize", """{"x":[[1],[1e300]],"precision":"float64"}"""),
        })
        {
            refused.ExpectProblem("non-finite-input", "x has finite values, but statistics beyond float64's range");
        }
        (await session.TrainAsync("""{"x":[[1],[1e400]]}""")).ExpectProblem("non-finite-input", "x element 1 is 1e400, beyond float64's range");
    }

    [Fact]
    public async Task The_inference_protocol_answers_and_describes_float64()
    {
        var model = await service.ModelAsync(Float64);
        (await model.Session.PutRunningStatsAsync("""{"running_mean":[1700000001.5],"running_var":[1.25]}""")).Expect(200);
        var described = (await model.GetAsync()).Expect(200);
        Assert.Equal("FP64", described["inputs"][0].GetProperty("datatype").GetString());
        Assert.Equal("FP64", described["outputs"][0].GetProperty("datatype").GetString());
        Assert.Equal("TYPE_FP64", (await model.GetAsync("/config"))["input"][0].GetProperty("data_type").GetString());
        var json = InferResult.Of(await model.InferAsync(
            """{"inputs":[{"name":"x","shape":[4,1],"datatype":"FP64","data":[1.7e9,1700000001,1700000002,1700000003]}]}"""));
        Assert.Equal("FP64", json.Datatype);
        AssertNear(Normalized, json.Elements);
        foreach (var isBinary in (bool[])[false, true])
        {
            var bytes = Bytes(Seconds);
            var request = ModelClient.Request(
                ModelClient.BinaryInput([4, 1], "FP64", bytes.Length), $$""" "parameters":{"binary_data_output":{{(isBinary ? "true" : "false")}}},""");
            var answer = InferResult.Of(await model.InferAsync(request, bytes));
            Assert.Equal("FP64", answer.Datatype);
            AssertNear(Normalized, answer.Elements);
        }
        var single = InferResult.Of(await model.InferAsync("""{"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":[1700000000]}]}"""));
        Assert.Equal("FP64", single.Datatype);
        AssertNear([Normalized[0]], single.Elements);
        // Bytes without JSON are rows of what the model computes in.
        var raw = InferResult.Of(await model.InferAsync("", Bytes(Seconds)));
        AssertNear(Normalized, raw.Elements);
    }

    [Theory]
    [InlineData("""{"num_features":2,"activation":"relu"}""")]
    [InlineData("""{"num_features":2,"ghost_batch_size":2}""")]
    [InlineData("""{"num_features":2,"granularity":"per_activation"}""")]
    [InlineData("""{"num_features":2,"channel_axis":-1}""")]
    [InlineData("""{"num_features":2,"mode":"frozen"}""")]
    [InlineData("""{"kind":"batch_renorm","num_features":2,"renorm":{"r_max":3,"d_max":5,"warmup_steps":0}}""")]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[2]}""")]
    [InlineData("""{"kind":"rms_norm","normalized_shape":[2]}""")]
    [InlineData("""{"kind":"group_norm","num_features":2,"num_groups":1}""")]
    [InlineData("""{"kind":"instance_norm","num_features":2,"track_running_stats":true}""")]
    public async Task Every_kind_goes_through_all_calls_in_float64_as_in_float32(string options)
    {
        var single = await service.CreateAsync(options);
        var twice = await service.CreateAsync($"{options[..^1]},\"precision\":\"float64\"}}");
        // float32 holds these exactly, so that both answer the same to float32's digits.
        var x = options.Contains("instance_norm", StringComparison.Ordinal)
            ? "[[[1,2.5],[4,0.5]],[[7,3],[1.25,2]],[[0,1],[5,2.25]],[[3,8],[2,6]]]"
            : "[[1,2.5],[4,0.5],[7,3],[1.25,2],[0.125,6]]";
        foreach (var call in (string[])["train-step", "inference", "backward", "again"])
        {
            var body = call == "backward" ? $$"""{"x":{{x}},"dy":{{x}},"residual":{{x}}}""" : $$"""{"x":{{x}},"residual":{{x}}}""";
            var path = call == "again" ? "train-step" : call;
            var (expected, answer) = ((await service.Client.PostAsync($"{single.Path}/{path}", body)).Expect(200), (await service.Client.PostAsync($"{twice.Path}/{path}", body)).Expect(200));
            foreach (var field in (string[])["y", "dx", "dresidual"])
            {
                if (expected.Has(field)) AssertNear(Doubles(expected, field), Doubles(answer, field), 1e-5);
            }
            foreach (var field in (string[])["batch_mean", "batch_var", "dgamma", "dbeta"])
            {
                if (expected.Has(field) && expected[field].ValueKind == System.Text.Json.JsonValueKind.Array)
                    AssertNear(expected.Numbers(field), answer.Numbers(field), 1e-5);
            }
        }
    }

    [Fact]
    public async Task A_retained_step_is_differentiated_in_float64()
    {
        var session = await service.CreateAsync(Float64);
        var step = (await session.TrainAsync("""{"x":[[1.7e9],[1700000001],[1700000002],[1700000003]],"retain":true,"mask":[1,1,1,1]}""")).Expect(200);
        var answer = (await session.BackwardAsync($$"""{"step_id":"{{step.StepId}}","dy":[[1],[0],[0],[0.1]]}""")).Expect(200);
        double[] dy = [1, 0, 0, 0.1];
        var along = dy.Zip(Normalized, (g, normalized) => g * normalized).Sum() / 4;
        AssertNear([.. dy.Zip(Normalized, (g, normalized) => Scale * (g - 0.275 - (normalized * along)))], Doubles(answer, "dx"), 1e-14);
        answer.ExpectNumbers("dbeta", 1.1);
    }

    [Fact]
    public async Task Ranks_train_together_in_float64()
    {
        var session = await service.CreateAsync(Float64);
        var answers = await Task.WhenAll(Enumerable.Range(0, 2).Select(rank => service.Client.PostAsync(
            FormattableString.Invariant($"{session.Path}/sync/g/train-step?rank={rank}&world_size=2"),
            FormattableString.Invariant($$"""{"x":[[{{Seconds[2 * rank]}}],[{{Seconds[(2 * rank) + 1]}}]],"retain":true}"""))));
        for (var rank = 0; rank < 2; rank++) AssertNear(Normalized[(2 * rank)..(2 * (rank + 1))], Doubles(answers[rank].Expect(200), "y"));
        answers[0].ExpectNumbers("batch_mean", 1700000001.5);
        var gradients = await Task.WhenAll(Enumerable.Range(0, 2).Select(rank => service.Client.PostAsync(
            FormattableString.Invariant($"{session.Path}/sync/g/backward?rank={rank}&world_size=2"),
            FormattableString.Invariant($$"""{"step_id":"{{answers[rank].StepId}}","dy":[[{{rank}}],[{{rank}}]]}"""))));
        var along = (Normalized[2] + Normalized[3]) / 4;
        AssertNear([.. Normalized[..2].Select(value => Scale * (-0.5 - (value * along)))], Doubles(gradients[0].Expect(200), "dx"), 1e-14);
    }

    [Fact]
    public async Task A_repeated_train_step_has_the_same_bits()
    {
        var session = await service.CreateAsync(Float64);
        var body = """{"x":[[1.7e9],[1700000001],[1700000002],[1700000003]]}""";
        var first = (await session.TrainAsync(body, ("Idempotency-Key", "k"))).Expect(200);
        (await session.TrainAsync("""{"x":[[3],[4]]}""")).Expect(200);
        var again = (await session.TrainAsync(body, ("Idempotency-Key", "k"))).Expect(200);
        Assert.Equal(first["y"].ToString(), again["y"].ToString());
    }

    [Fact]
    public async Task One_shot_normalization_computes_in_float64()
    {
        const string x = "[[1.7e9],[1700000001],[1700000002],[1700000003]]";
        foreach (var body in (string[])[$$"""{"x":{{x}},"backward":{"dy":[[1],[0],[0],[0]]} ,"precision":"float64"}""", $$"""{"precision":"float64","x":{{x}}}"""])
        {
            var answer = (await service.Client.PostAsync("/v1/normalize", body)).Expect(200);
            AssertNear(Normalized, Doubles(answer, "y"));
            answer.ExpectNumbers("mean", 1700000001.5);
            answer.ExpectNumbers("var", 1.25);
        }
        var array = ArrayFile.Of("{'descr': '<f8', 'fortran_order': False, 'shape': (4, 1), }", Bytes(Seconds));
        AssertNear(Normalized, NpyDoubles((await service.Client.PostAsync("/v1/normalize?precision=float64", Forms.Npy, array)).Expect(200)));
        var file = new TensorFile().Add("x", "F64", [4, 1], Bytes(Seconds)).Add("gamma", "F64", [1], Bytes([2])).Text("precision", "float64").ToBytes();
        var tensors = (await service.Client.PostAsync("/v1/normalize", Forms.Safetensors, file)).Expect(200).Tensors;
        Assert.Equal("F64", tensors["y"].Type);
        AssertNear([.. Normalized.Select(value => 2 * value)], tensors["y"].Values);
    }

    [Fact]
    public async Task A_layer_is_folded_in_float64()
    {
        var session = await service.CreateAsync("""{"num_features":1,"precision":"float64","eps":0}""");
        (await session.PutRunningStatsAsync("""{"running_mean":[1700000001.5],"running_var":[9]}""")).Expect(200);
        var answer = (await session.FoldAsync("""{"layer":"linear","weight":[[0.1]],"bias":[1.7e9]}""")).Expect(200);
        AssertNear([0.1 / 3], Doubles(answer, "weight"));
        answer.ExpectNumbers("bias", -0.5);
    }

    [Fact]
    public async Task RMS_normalization_has_torchs_epsilon_of_float64()
    {
        var created = await service.Client.PostAsync("/v1/sessions", """{"kind":"rms_norm","normalized_shape":[2],"convention":"pytorch","precision":"float64"}""");
        Assert.Equal(Math.ScaleB(1, -52), created.Expect(201)["eps"].GetDouble());
    }

    [Fact]
    public async Task Calibration_counts_in_float64()
    {
        var session = await service.CreateAsync(Float64);
        foreach (var part in (double[][])[Seconds[..1], Seconds[1..]]) (await service.SendAsync(session, "calibration/batches", "x", part, "npy <f8")).Expect(200);
        (await service.Client.PostAsync($"{session.Path}/calibration/commit", null)).Expect(200).ExpectNumbers("running_mean", 1700000001.5);
    }

    [Fact]
    public async Task The_precision_is_part_of_the_state_and_stays()
    {
        var session = await service.CreateAsync(Float64);
        (await service.SendAsync(session, "train-step", "x", Seconds, "npy <f8")).Expect(200);
        var file = (await service.Client.GetAsync($"{session.Path}/state", ("Accept", Forms.Safetensors))).Expect(200);
        Assert.All(file.Tensors.Tensors.Where(tensor => tensor.Name is "weight" or "bias" or "running_mean"), tensor => Assert.Equal("F64", tensor.Type));
        var copy = new SessionClient(service.Client, $"copy-of-{session.Name}");
        (await service.Client.SendAsync(HttpMethod.Put, $"{copy.Path}/state", ServiceClient.Content(Forms.Safetensors, file.Body))).Expect(201);
        Assert.Equal("float64", (await copy.GetAsync())["precision"].GetString());
        (await service.Client.PutAsync($"{session.Path}/state", """{"options":{"precision":"float32"}}""")).ExpectProblem("invalid-option", "options.precision must be float64");
        (await session.PatchAsync("""{"precision":"float32"}""")).ExpectProblem("invalid-option", "precision");
    }

    [Theory]
    [InlineData("float32")]
    [InlineData("float64")]
    public async Task A_number_beyond_float64_is_refused_as_that_whatever_the_precision(string precision)
    {
        const string range = "1e999, beyond float64's range (±1.7976931348623157e308)";
        var session = await service.CreateAsync($$"""{"num_features":1,"precision":"{{precision}}"}""");
        foreach (var (call, body, words) in ((string, string, string)[])
        [
            ("train-step", """{"x":[[1],[1e999]]}""", "x element 1 "),
            ("inference", """{"x":{"shape":[2,1],"data":[1,1e999]}}""", "x element 1 "),
            ("inference", """{"x":[[1]],"residual":[[1e999]]}""", "residual element 0 "),
            ("backward", """{"x":[[1],[2]],"dy":[[1],[1e999]]}""", "dy element 1 "),
            ("calibration/batches", """{"x":[[1],[1e999]]}""", "x element 1 "),
            ("fold", """{"layer":"linear","weight":[[1e999]]}""", "weight element 0 "),
        ])
        {
            (await service.Client.PostAsync($"{session.Path}/{call}", body)).ExpectProblem("non-finite-input", $"{words}is {range}");
        }
        (await session.InferAsync("""{"x":[[1]],"gamma":[1e999]}""")).ExpectProblem("invalid-option", $"gamma[0] must be a finite number, got {range}");
        (await session.PutParametersAsync("""{"gamma":[1],"beta":[1e999]}""")).ExpectProblem("invalid-option", $"beta[0] must be a finite number, got {range}");
        (await session.PutRunningStatsAsync("""{"running_mean":[1e999],"running_var":[1]}""")).ExpectProblem("invalid-option", $"running_mean[0] must be a finite number, got {range}");
        (await session.MergeAsync("""{"moments":[{"count":3,"mean":[1e999],"m2":[1]}]}""")).ExpectProblem("invalid-option", $"mean[0] must be a finite number, got {range}");
        Assert.Equal(1, (await session.StatsAsync())["version"].GetInt64());
    }

    [Fact]
    public async Task Parameters_and_statistics_are_kept_in_double_and_an_output_beyond_float32_is_infinite()
    {
        foreach (var (precision, expected) in new[] { ("float32", double.NegativeInfinity), ("float64", -1e300) })
        {
            var session = await service.CreateAsync($$"""{"num_features":1,"eps":0,"precision":"{{precision}}"}""");
            (await session.PutRunningStatsAsync("""{"running_mean":[1e300],"running_var":[1]}""")).Expect(200).ExpectNumbers("running_mean", 1e300);
            Assert.Equal(expected, Doubles((await session.InferAsync("""{"x":[[1]]}""")).Expect(200), "y")[0]);
        }
    }
}
