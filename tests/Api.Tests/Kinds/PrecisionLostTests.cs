using System.Runtime.InteropServices;
using static BnService.Api.Tests.Kinds.WideNumbers;

namespace BnService.Api.Tests.Kinds;

/// <summary>Where float32 could not tell the values of x apart, every call says so, in every form of body.</summary>
public sealed class PrecisionLostTests(Service service) : IClassFixture<Service>
{
    // Positions of a sample: ordinary ones, and one whose channels are seconds since 1970.
    private const string OnePositionOfThree = """{"shape":[2,4,3],"data":[1,2,1.7e9, 2,3,1700000001, 3,4,1700000002, 4,5,1700000003, 1,2,3, 2,3,4, 3,4,5, 4,5,7]}""";

    public static TheoryData<string> AllForms => [.. WideNumbers.AllForms];

    [Theory]
    [MemberData(nameof(AllForms))]
    public async Task Every_call_names_the_channels(string form)
    {
        var session = await service.CreateAsync("""{"num_features":1}""");
        (await session.PutRunningStatsAsync("""{"running_mean":[1700000001.5],"running_var":[1.25]}""")).Expect(200);
        string[] calls = ["train-step", "sync/g/train-step?rank=0&world_size=1", "inference", "calibration/batches"];
        // Its array is dy.
        string[] backward = form.Contains('<') || form.Contains('>') ? [] : ["backward", "sync/g/backward?rank=0&world_size=1"];
        foreach (var call in calls.Concat(backward))
        {
            var answer = (await service.SendAsync(session, call, "x", Seconds, form)).Expect(200);
            if (!call.Contains("train-step", StringComparison.Ordinal)) Assert.Equal("precision-lost", answer.Headers["Bn-Warnings"]);
            AssertNamesChannel(answer, 0);
        }
        foreach (var call in calls.Concat(backward).Where(call => !call.Contains("train-step", StringComparison.Ordinal)))
        {
            var answer = (await service.SendAsync(await service.CreateAsync("""{"num_features":1}"""), call, "x", [1, 2, 3, 16777216], form)).Expect(200);
            Assert.DoesNotContain("Bn-Warnings", answer.Headers.Keys);
            if (answer.ContentType == Forms.Json) Assert.False(answer.Has("warnings"));
        }
    }

    [Theory]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[4]}""", "[[1,2,3,4],[1.7e9,1700000001,1700000002,1700000003]]", 1)]
    [InlineData("""{"kind":"group_norm","num_features":4,"num_groups":1}""", "[[1,2,3,4],[1.7e9,1700000001,1700000002,1700000003]]", 1)]
    [InlineData("""{"kind":"instance_norm","num_features":1}""", "[[[1,2,3,4]],[[1.7e9,1700000001,1700000002,1700000003]]]", 1)]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[4],"channel_axis":1}""", OnePositionOfThree, 2)]
    public async Task Kinds_that_normalize_each_sample_name_the_statistic(string options, string x, int statistic)
    {
        var session = await service.CreateAsync(options);
        foreach (var (call, body) in ((string, string)[])[("train-step", ""), ("inference", ""), ("backward", $$""","dy":{{x}}""")])
            AssertNamesChannel((await service.Client.PostAsync($"{session.Path}/{call}", $$"""{"x":{{x}}{{body}}}""")).Expect(200), statistic);
        AssertNamesChannel((await service.Client.PostAsync("/v1/normalize", $$"""{{options[..^1]}},"x":{{x}}}""")).Expect(200), statistic);
        var single = await service.CreateAsync($"{options[..^1]},\"precision\":\"float64\"}}");
        foreach (var call in (string[])["train-step", "inference"])
        {
            var answer = (await service.Client.PostAsync($"{single.Path}/{call}", $$"""{"x":{{x}}}""")).Expect(200);
            Assert.False(answer.Has("warnings") && answer["warnings"].ToString().Contains("precision-lost", StringComparison.Ordinal));
        }
    }

    [Fact]
    public async Task A_position_of_a_file_is_named_as_that_of_a_text()
    {
        var session = await service.CreateAsync("""{"kind":"layer_norm","normalized_shape":[4],"channel_axis":1}""");
        double[] values = [1, 2, 1.7e9, 2, 3, 1700000001, 3, 4, 1700000002, 4, 5, 1700000003];
        var file = new TensorFile().Add("x", "I64", [1, 4, 3], Bytes(values, "I64"));
        foreach (var call in (string[])["train-step", "inference"])
            AssertNamesChannel((await session.PostAsync(call, Forms.Safetensors, file.ToBytes())).Expect(200), 2);
        file.Text("kind", "layer_norm").Text("normalized_shape", "[4]").Text("channel_axis", "1").Add("weight", "F64", [4], Bytes([1, 1, 1, 2]));
        AssertNamesChannel((await service.Client.PostAsync("/v1/normalize", Forms.Safetensors, file.ToBytes())).Expect(200), 2);
    }

    [Fact]
    public async Task One_shot_normalization_names_them_in_every_form()
    {
        const string x = "[[1.7e9],[1700000001],[1700000002],[1700000003]]";
        foreach (var body in (string[])[$$"""{"x":{{x}}}""", $$"""{"x":{{x}},"precision":"float32","backward":{"dy":[[1],[0],[0],[0]]} }"""])
        {
            var answer = (await service.Client.PostAsync("/v1/normalize", body)).Expect(200);
            AssertNamesChannel(answer, 0);
            Assert.Equal("precision-lost", answer.Headers["Bn-Warnings"]);
        }
        foreach (var (type, order) in ((string, string)[])[("<f8", "False"), ("<i8", "False"), ("<i8", "True"), (">f8", "True"), ("<u4", "True")])
        {
            var array = ArrayFile.Of($"{{'descr': '{type}', 'fortran_order': {order}, 'shape': (4, 1), }}", Bytes(Seconds, type));
            foreach (var query in (string[])["", "?precision=float32&kind=group_norm&num_groups=1&num_features=1&channel_axis=1"])
            {
                if (query.Length > 0) array = ArrayFile.Of($"{{'descr': '{type}', 'fortran_order': {order}, 'shape': (1, 1, 4), }}", Bytes(Seconds, type));
                Assert.Equal("precision-lost", (await service.Client.PostAsync($"/v1/normalize{query}", Forms.Npy, array)).Expect(200).Headers["Bn-Warnings"]);
            }
        }
        var ordinary = (await service.Client.PostAsync("/v1/normalize", """{"x":[[0.1],[0.2],[0.7]]}""")).Expect(200);
        Assert.False(ordinary.Has("warnings") || ordinary.Headers.ContainsKey("Bn-Warnings"));
    }

    [Theory]
    [InlineData("FP64")]
    [InlineData("INT64")]
    [InlineData("UINT64")]
    [InlineData("INT32")]
    [InlineData("UINT32")]
    public async Task The_inference_protocol_says_it_beside_its_outputs(string datatype)
    {
        var model = await service.ModelAsync("""{"num_features":1}""");
        (await model.Session.PutRunningStatsAsync("""{"running_mean":[1700000001.5],"running_var":[1.25]}""")).Expect(200);
        var layer = await service.ModelAsync("""{"kind":"layer_norm","normalized_shape":[4]}""");
        var bytes = Bytes(Seconds, datatype);
        foreach (var (asked, shape) in new[] { (model, "[4,1]"), (layer, "[1,4]") })
        {
            AssertSays((await asked.InferAsync($$"""{"inputs":[{"name":"x","shape":{{shape}},"datatype":"{{datatype}}","data":[1700000000,1700000001,1700000002,1700000003]}]}""")).Expect(200));
            foreach (var isBinary in (bool[])[false, true])
            {
                var request = ModelClient.Request(ModelClient.BinaryInput([.. shape == "[4,1]" ? (int[])[4, 1] : [1, 4]], datatype, bytes.Length),
                    $$""" "parameters":{"binary_data_output":{{(isBinary ? "true" : "false")}}},""");
                AssertSays((await asked.InferAsync(request, bytes)).Expect(200));
            }
        }
        // Large enough to be answered while it arrives, were there nothing to be said of it.
        var many = Bytes([.. Enumerable.Range(0, 20_000).Select(i => 1.7e9 + i)], datatype);
        AssertSays((await model.InferAsync(ModelClient.Request(ModelClient.BinaryInput([20_000, 1], datatype, many.Length), """ "parameters":{"binary_data_output":true},"""), many)).Expect(200));
        var exact = (await model.InferAsync("""{"inputs":[{"name":"x","shape":[2,1],"datatype":"FP32","data":[1700000000,1700000128]}]}""")).Expect(200);
        Assert.DoesNotContain("Bn-Warnings", exact.Headers.Keys);
    }

    [Theory]
    [InlineData("<i8", "False")]
    [InlineData(">i8", "True")]
    [InlineData("<u8", "False")]
    public async Task Nanoseconds_since_1970_are_lost_in_double_as_well(string type, string order)
    {
        var session = await service.CreateAsync("""{"num_features":1}""");
        var bytes = MemoryMarshal.AsBytes<long>([1L << 60, (1L << 60) + 1, (1L << 60) + 2, (1L << 60) + 3]).ToArray();
        foreach (var i in Enumerable.Range(0, type[0] == '>' ? 4 : 0)) bytes.AsSpan(8 * i, 8).Reverse();
        var array = ArrayFile.Of($"{{'descr': '{type}', 'fortran_order': {order}, 'shape': (4, 1), }}", bytes);
        Assert.StartsWith("precision-lost", (await session.PostAsync("train-step", Forms.Npy, array)).Expect(200).Headers["Bn-Warnings"], StringComparison.Ordinal);
        bytes = MemoryMarshal.AsBytes<long>([1L << 60, 1L << 60, 1L << 60, 1L << 60]).ToArray();
        array = ArrayFile.Of("{'descr': '<i8', 'fortran_order': False, 'shape': (4, 1), }", bytes);
        Assert.DoesNotContain("precision-lost", (await session.PostAsync("train-step", Forms.Npy, array)).Expect(200).Headers["Bn-Warnings"], StringComparison.Ordinal);
    }

    private static void AssertSays(Answer answer)
    {
        Assert.Equal("precision-lost", answer.Headers["Bn-Warnings"]);
        var length = answer.Headers.TryGetValue(ModelClient.LengthHeader, out var header) ? int.Parse(header, System.Globalization.CultureInfo.InvariantCulture) : answer.Body.Length;
        using var json = System.Text.Json.JsonDocument.Parse(answer.Body.AsMemory(0, length));
        var words = json.RootElement.GetProperty("parameters").GetProperty("warnings").GetString();
        Assert.StartsWith("precision-lost: 1 of 1 statistics", words, StringComparison.Ordinal);
        Assert.Contains("(statistics 0)", words, StringComparison.Ordinal);
    }

    private static void AssertNamesChannel(Answer answer, int channel)
    {
        if (answer.ContentType == Forms.Npy) Assert.Equal("precision-lost", answer.Headers["Bn-Warnings"].Split(", ")[0]);
        else if (answer.ContentType == Forms.Safetensors) Assert.Contains($"\"channels\":[{channel}]", answer.Tensors.Texts["warnings"], StringComparison.Ordinal);
        else
        {
            var warning = answer["warnings"][0];
            Assert.Equal("precision-lost", warning.GetProperty("code").GetString());
            Assert.Equal($"[{channel}]", warning.GetProperty("channels").ToString());
        }
    }
}
