using System.Text.Json;

namespace BnService.Api.Tests.Wire.Safetensors;

/// <summary>Every call with named tensors answers what the call in JSON answers for the same values.</summary>
public sealed class SafetensorsCallTests(Service service) : IClassFixture<Service>
{
    private const string Update = """{"optimizer":"adam","learning_rate":0.01}""";

    private static readonly Batch X = Batch.Random(1, 6, 3), Dy = Batch.Random(2, 6, 3), Residual = Batch.Random(3, 6, 3);

    private static readonly Dictionary<string, (string Options, string Call, Message Message)> Calls = new()
    {
        ["train-step"] = ("", "train-step", Message.Of(X)),
        ["train-step, not retained"] = ("", "train-step", Message.Of(X).With("retain", "false")),
        ["train-step, masked"] = ("", "train-step", Message.Of(X).With("mask", "[1,0,1,1,0,1]")),
        ["train-step, residual"] = (",\"activation\":\"relu\"", "train-step", Message.Of(X).With("residual", Residual)),
        ["train-step, residual first"] = (",\"activation\":\"relu\"", "train-step", new Message().With("residual", Residual).With("x", X)),
        ["train-step, frozen"] = (",\"mode\":\"frozen\"", "train-step", Message.Of(X)),
        ["train-step, ghosts"] = (",\"ghost_batch_size\":2", "train-step", Message.Of(X)),
        ["train-step, NaN"] = (",\"non_finite\":\"propagate\"", "train-step", Message.Of(new Batch([2, 3], [1, float.NaN, 3, 4, float.PositiveInfinity, -0f]))),
        ["train-step, NCHW"] = ("", "train-step", Message.Of(Batch.Random(4, 2, 3, 4, 5))),
        ["train-step, nothing"] = ("", "train-step", Message.Of(new Batch([0, 3], []))),
        ["inference"] = ("", "inference", Message.Of(X)),
        ["inference, residual"] = (",\"activation\":\"relu\"", "inference", Message.Of(X).With("residual", Residual)),
        ["inference, nothing"] = ("", "inference", Message.Of(new Batch([0, 3], []))),
        ["backward"] = ("", "backward", Message.Of(X).With("dy", Dy)),
        ["backward, inference"] = ("", "backward", Message.Of(X).With("dy", Dy).With("mode", "inference")),
        ["backward, update"] = ("", "backward", new Message().With("dy", Dy).With("x", X).With("update", Update)),
        ["backward, update piece by piece"] = ("", "backward", Message.Of(X).With("dy", Dy).With("update.optimizer", "sgd").With("update.learning_rate", "0.1")),
        ["backward, masked"] = ("", "backward", Message.Of(X).With("dy", Dy).With("mask", "[1,0,1,1,0,1]")),
        ["backward, residual"] = (",\"activation\":\"relu\"", "backward", Message.Of(X).With("residual", Residual).With("dy", Dy)),
        ["backward, no parameters"] = (",\"affine\":false", "backward", Message.Of(X).With("dy", Dy)),
        ["calibration"] = ("", "calibration/batches", Message.Of(X)),
        ["calibration, one value"] = ("", "calibration/batches", Message.Of(X.Rows(0, 1))),
        ["fold"] = ("", "fold", new Message().With("weight", Batch.Random(5, 3, 4)).With("layer", "linear")),
        ["fold, conv"] = ("", "fold", new Message().With("weight", Batch.Random(5, 3, 2, 3, 3)).With("layer", "conv").With("bias", "[1.5,-2,0.25]").With("groups", "1")),
        ["fold, before"] = ("", "fold", new Message().With("weight", Batch.Random(5, 4, 3)).With("layer", "linear").With("position", "before").With("padding", "[0]")),
    };

    private static readonly string[] Types = ["F32", "F64", "F16", "BF16"];

    public static TheoryData<string, string> CallsInEveryType
    {
        get
        {
            var data = new TheoryData<string, string>();
            foreach (var call in Calls.Keys)
            {
                foreach (var type in Types) data.Add(call, type);
            }
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(CallsInEveryType))]
    public async Task A_call_answers_what_it_answers_in_JSON(string name, string type)
    {
        var (options, call, message) = Calls[name];
        var (inJson, inTensors) = (await CreateAsync(options), await CreateAsync(options));
        var expected = (await inJson.PostAsync(call, message, Forms.Json, type)).Expect(200);
        var answer = (await inTensors.PostAsync(call, message, Forms.Safetensors, type)).Expect(200);
        Assert.Equal(Forms.Safetensors, answer.ContentType);
        SameAnswer.In(expected, answer, "step_id");
        Assert.Equal(expected.Has("step_id") && expected.StepId is not null, answer.Tensors.Texts.ContainsKey("step_id"));
        Assert.Equal((await inJson.StatsAsync()).Text, (await inTensors.StatsAsync()).Text);
    }

    [Theory]
    [InlineData("I64")]
    [InlineData("I32")]
    [InlineData("I16")]
    [InlineData("I8")]
    [InlineData("U8")]
    [InlineData("BOOL")]
    [InlineData("F32")]
    [InlineData("F64")]
    [InlineData("F16")]
    [InlineData("BF16")]
    public async Task A_mask_may_be_a_tensor_of_any_type(string type)
    {
        foreach (var call in (string[])["train-step", "backward"])
        {
            var (inJson, inTensors) = (await CreateAsync(""), await CreateAsync(""));
            var message = Message.Of(X).With("mask", "[1,0,1,1,0,1]");
            if (call == "backward") message.With("dy", Dy);
            var expected = (await inJson.PostAsync(call, message, Forms.Json)).Expect(200);
            var file = new TensorFile();
            file.Add("x", X).Add("mask", type, 1, 0, 1, 1, 0, 1);
            if (call == "backward") file.Add("dy", Dy);
            SameAnswer.In(expected, (await inTensors.PostAsync(call, Forms.Safetensors, file.ToBytes())).Expect(200), "step_id");
        }
    }

    [Fact]
    public async Task A_mask_that_is_none_is_refused()
    {
        var session = await CreateAsync("");
        foreach (var (type, values) in new (string, double[])[] { ("F32", [1, 0.5, 0, 0, 1, 1]), ("I8", [1, -1, 0, 0, 1, 1]), ("I64", [1, 2, 0, 0, 1, 1]), ("F64", [1, 1e300, 0, 0, 1, 1]), ("F32", [1, double.NaN, 0, 0, 1, 1]), ("U8", [1, 1]) })
        {
            var answer = await session.RefusedAsync(s => s.PostAsync("train-step", Forms.Safetensors, new TensorFile().Add("x", X).Add("mask", type, values).ToBytes()));
            Assert.Contains("mask", answer.Expect(422).Detail, StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_step_is_taken_back_by_its_id()
    {
        var (inJson, inTensors) = (await CreateAsync(""), await CreateAsync(""));
        var jsonStep = (await inJson.PostAsync("train-step", Message.Of(X), Forms.Json)).Expect(200).StepId!;
        var step = (await inTensors.PostAsync("train-step", Message.Of(X), Forms.Safetensors)).Expect(200).Tensors.Texts["step_id"];
        var dy = new Message().With("dy", Dy).With("update", Update);
        var expected = (await inJson.BackwardAsync(jsonStep, Dy, Update)).Expect(200);
        SameAnswer.In(expected, (await inTensors.PostAsync("backward", dy.With("step_id", step), Forms.Safetensors)).Expect(200));
        (await inTensors.RefusedAsync(s => s.PostAsync("backward", Forms.Safetensors, new TensorFile().Add("dy", Dy).Text("step_id", "nosuch").ToBytes())))
            .ExpectProblem("step-expired");
    }

    [Theory]
    [InlineData("F32")]
    [InlineData("F64")]
    [InlineData("BF16")]
    public async Task A_bias_to_fold_into_may_be_a_tensor(string type)
    {
        var session = await CreateAsync("");
        var weight = Batch.Random(5, 3, 4);
        var bias = Elements.Values(type, Elements.Of(type, [0.1, -3, 1e-3]));
        var expected = (await session.PostAsync("fold", new Message().With("weight", weight).With("layer", "linear").With("bias", Batch.Array(bias)), Forms.Json)).Expect(200);
        var file = new TensorFile().Text("layer", "linear").Add("bias", type, bias).Add("weight", weight);
        SameAnswer.In(expected, (await session.PostAsync("fold", Forms.Safetensors, file.ToBytes())).Expect(200));
    }

    [Fact]
    public async Task Gathered_statistics_are_committed_and_merged()
    {
        var (inJson, inTensors) = (await CreateAsync(""), await CreateAsync(""));
        double[] mean = [0.1, 1.0 / 3, -7], m2 = [1e-3, 5, 1e10];
        var moments = $$"""{"count":7,"mean":{{Batch.Array(mean)}},"m2":{{Batch.Array(m2)}}}""";
        TensorFile[] files =
        [
            new TensorFile().Text("count", "7").Add("mean", "F64", mean).Add("m2", "F64", m2),
            new TensorFile().Add("count", "I64", [], Elements.Of("I64", [7])).Add("mean", "F64", mean).Add("m2", "F64", m2),
            new TensorFile().Text("moments.0.count", "7").Add("moments.0.m2", "F64", m2).Add("moments.0.mean", "F64", mean),
            new TensorFile().Add("moments.0.count", "I32", [], Elements.Of("I32", [7])).Add("moments.0.m2", "F64", m2).Add("moments.0.mean", "F64", mean),
            new TensorFile().Text("moments", $"[{moments}]"),
        ];
        foreach (var file in files)
        {
            var expected = (await inJson.MergeAsync($$"""{"moments":[{{moments}}]}""")).Expect(200);
            SameAnswer.In(expected, (await inTensors.PostAsync("merge", Forms.Safetensors, file.ToBytes())).Expect(200));
        }
        var two = new TensorFile().Text("moments.1.count", "7").Text("moments.0.count", "1").Text("sessions", $"[\"{inJson.Name}\"]");
        foreach (var entry in (string[])["moments.0", "moments.1"]) two.Add($"{entry}.mean", "F64", mean).Add($"{entry}.m2", "F64", m2);
        var both = (await inJson.MergeAsync($$"""{"moments":[{{moments.Replace(":7", ":1", StringComparison.Ordinal)}},{{moments}}],"sessions":["{{inTensors.Name}}"]}"""));
        var merged = (await inTensors.PostAsync("merge", Forms.Safetensors, new TensorFile().Text("sessions", "[]").Add("mean", "F64", mean).Add("m2", "F64", m2).Text("count", "1").ToBytes())).Expect(200);
        Assert.Equal(6, int.Parse(merged.Tensors.Texts["batches"], System.Globalization.CultureInfo.InvariantCulture));
        Assert.Equal(12, both.Expect(200)["batches"].GetInt32());
        (await inTensors.PostAsync("merge", Forms.Safetensors, two.ToBytes())).Expect(200);

        (await inJson.DropCalibrationAsync()).Expect(204);
        (await inTensors.DropCalibrationAsync()).Expect(204);
        (await inJson.CalibrateAsync(X)).Expect(200);
        (await inTensors.CalibrateAsync(X)).Expect(200);
        var committed = (await inTensors.CommitAsync(("Accept", Forms.Safetensors))).Expect(200).Tensors;
        var expectedCommit = (await inJson.CommitAsync()).Expect(200);
        Assert.Equal(Elements.Bits(expectedCommit.Numbers("running_mean")), Elements.Bits(committed["running_mean"].Values));
        Assert.Equal(Elements.Bits(expectedCommit.Numbers("running_var")), Elements.Bits(committed["running_var"].Values));
    }

    [Fact]
    public async Task Entries_of_moments_are_counted_from_0_and_whole()
    {
        var session = await CreateAsync("");
        double[] three = [1, 2, 3];
        foreach (var (name, detail) in new[] { ("moments.1", "moments.0 is missing"), ("moments.00", "moments.0 is missing"), ("moments.7", "moments.0 is missing") })
        {
            var file = new TensorFile().Text($"{name}.count", "7").Add($"{name}.mean", "F64", three).Add($"{name}.m2", "F64", three);
            (await session.RefusedAsync(s => s.PostAsync("merge", Forms.Safetensors, file.ToBytes()))).ExpectProblem("invalid-option", detail);
        }
        var partial = new TensorFile().Text("moments.0.count", "7").Add("moments.0.mean", "F64", three);
        (await session.RefusedAsync(s => s.PostAsync("merge", Forms.Safetensors, partial.ToBytes()))).ExpectProblem("invalid-option", "moments[0].m2");
    }

    [Theory]
    [InlineData("batch_norm", "")]
    [InlineData("layer_norm", """,{"normalized_shape":[3]}""")]
    [InlineData("rms_norm", """,{"normalized_shape":[3]}""")]
    [InlineData("group_norm", """,{"num_groups":3,"eps":0.5}""")]
    [InlineData("instance_norm", "")]
    [InlineData("batch_renorm", """,{"renorm":{"r_max":2,"d_max":4,"warmup_steps":0}}""")]
    public async Task A_tensor_is_normalized_once(string kind, string options)
    {
        var shape = kind is "layer_norm" or "rms_norm" ? (int[])[6, 3] : [4, 3, 5];
        var message = Message.Of(Batch.Random(1, shape)).With("kind", kind).With("backward.dy", Batch.Random(2, shape)).With("residual", Batch.Random(3, shape));
        if (options.Length > 0)
        {
            using var parsed = JsonDocument.Parse(options[1..]);
            foreach (var option in parsed.RootElement.EnumerateObject()) message.With(option.Name, option.Value.GetRawText());
        }
        var expected = (await service.Client.PostAsync("/v1/normalize", Forms.Json, message.Body(Forms.Json))).Expect(200);
        SameAnswer.In(expected, (await service.Client.PostAsync("/v1/normalize", Forms.Safetensors, message.Body(Forms.Safetensors))).Expect(200));
    }

    [Theory]
    [InlineData("retain", "False", false)]
    [InlineData("retain", "false", false)]
    [InlineData("retain", "True", true)]
    [InlineData("format", "pt", true)]
    public async Task Options_may_be_written_as_Python_writes_them(string name, string text, bool isRetained)
    {
        var session = await CreateAsync("");
        var answer = (await session.PostAsync("train-step", Forms.Safetensors, new TensorFile().Add("x", X).Text(name, text).ToBytes())).Expect(200);
        Assert.Equal(isRetained, answer.Tensors.Texts.ContainsKey("step_id"));
    }

    private Task<SessionClient> CreateAsync(string options) => service.CreateAsync($"{{\"num_features\":3{options}}}");
}
