using System.Text.Json;

namespace BnService.Api.Tests.Wire.Safetensors;

/// <summary>The state of a torch.nn.BatchNorm goes in and out as the file that PyTorch's users have.</summary>
public sealed class StateTransferTests(Service service) : IClassFixture<Service>
{
    private const int Features = 6;

    // What float32 has at its edges.
    private static readonly double[] Weight = [1, -0.0, float.Epsilon, float.MaxValue, -float.MaxValue, 0.1f];
    private static readonly double[] Bias = [-0.0, 0, -float.Epsilon, 1.1754942e-38f, 16777217f, -3.25f];
    private static readonly double[] Mean = [float.MinValue, 1 / 3f, -0.0, 1e-45f, 7, -1];
    private static readonly double[] Variance = [float.MaxValue, 0, float.Epsilon, 1, 2.5f, 1e-30f];

    private static readonly string[] TorchNames = ["num_batches_tracked", "bias", "running_mean", "running_var", "weight"];

    [Theory]
    [InlineData(true, 0)]
    [InlineData(false, 12)]
    [InlineData(true, 9007199254740993)] // no double
    [InlineData(false, long.MaxValue - 1)]
    public async Task A_state_dict_comes_back_as_it_went(bool hasFormat, long batches)
    {
        var file = StateDict(hasFormat, batches);
        var session = New();
        var created = (await session.PutStateAsync(Forms.Safetensors, file.ToBytes())).Expect(201);
        Assert.Equal(($"/v1/sessions/{session.Name}", "\"1\""), (created.Headers["Location"], created.ETag));
        AssertSame(file, created.Tensors);
        AssertSame(file, await ExportAsync(session));
        // Over one that has moved on.
        (await session.TrainAsync(Batch.Random(1, 5, Features))).Expect(200);
        var replaced = (await session.PutStateAsync(Forms.Safetensors, file.ToBytes())).Expect(200);
        AssertSame(file, replaced.Tensors);
        AssertSame(file, await ExportAsync(session));
        Assert.Equal(batches, (await session.GetStateAsync()).Expect(200)["num_batches_tracked"].GetInt64());
    }

    /// <summary>The bytes themselves, put down once: what safetensors.torch.save_file writes for BatchNorm2d(2).</summary>
    [Fact]
    public async Task The_file_of_the_library_is_read_byte_for_byte()
    {
        const string header = """{"__metadata__":{"format":"pt"},"num_batches_tracked":{"dtype":"I64","shape":[],"data_offsets":[0,8]},"bias":{"dtype":"F32","shape":[2],"data_offsets":[8,16]},"running_mean":{"dtype":"F32","shape":[2],"data_offsets":[16,24]},"running_var":{"dtype":"F32","shape":[2],"data_offsets":[24,32]},"weight":{"dtype":"F32","shape":[2],"data_offsets":[32,40]}}""";
        byte[] elements =
        [
            3, 0, 0, 0, 0, 0, 0, 0, // 3
            0, 0, 0, 0x80, 0, 0, 0x80, 0x3F, // -0, 1
            0, 0, 0, 0x40, 0, 0, 0x40, 0xC0, // 2, -3
            0, 0, 0, 0x3F, 1, 0, 0, 0, // 0.5, 2^-149
            0xFF, 0xFF, 0x7F, 0x7F, 0xCD, 0xCC, 0xCC, 0x3D, // FLT_MAX, 0.1
        ];
        var session = New();
        (await session.PutStateAsync(Forms.Safetensors, TensorFile.Of(header, elements))).Expect(201);
        var state = (await session.GetStateAsync()).Expect(200);
        Assert.Equal(Elements.Bits([-0.0, 1.0]), Elements.Bits(state.Numbers("beta")));
        state.ExpectNumbers("running_mean", 2, -3);
        state.ExpectNumbers("running_var", 0.5, float.Epsilon);
        state.ExpectNumbers("gamma", float.MaxValue, 0.1f);
        Assert.Equal(3, state["num_batches_tracked"].GetInt64());
        Assert.Equal(elements, (await session.GetStateAsync(("Accept", Forms.Safetensors))).Expect(200).Body[^40..]);
    }

    [Theory]
    [InlineData("""{"num_features":6}""", "num_batches_tracked,bias,running_mean,running_var,weight")]
    [InlineData("""{"num_features":6,"affine":false}""", "num_batches_tracked,running_mean,running_var")]
    [InlineData("""{"num_features":6,"bias":false}""", "num_batches_tracked,running_mean,running_var,weight")]
    [InlineData("""{"num_features":6,"track_running_stats":false}""", "bias,weight")]
    [InlineData("""{"num_features":6,"affine":false,"track_running_stats":false}""", "")]
    [InlineData("""{"num_features":6,"kind":"group_norm","num_groups":2}""", "bias,weight")]
    [InlineData("""{"normalized_shape":[2,3],"kind":"layer_norm"}""", "bias,weight")]
    [InlineData("""{"normalized_shape":[6],"kind":"rms_norm"}""", "weight")]
    public async Task The_tensors_are_those_that_the_layer_has_in_PyTorch(string options, string names)
    {
        var session = await service.CreateAsync(options);
        var file = await ExportAsync(session);
        Assert.Equal(names.Split(',', StringSplitOptions.RemoveEmptyEntries), file.Names);
        foreach (var tensor in file.Tensors)
            Assert.Equal(tensor.Name == "num_batches_tracked" ? ("I64", "") : ("F32", options.Contains("[2,3]", StringComparison.Ordinal) ? "2,3" : "6"), (tensor.Type, string.Join(',', tensor.Shape)));
        var copy = New();
        (await copy.PutStateAsync(Forms.Safetensors, file.ToBytes())).Expect(201);
        Same(await session.GetStateAsync(), await copy.GetStateAsync());
    }

    [Fact]
    public async Task What_float32_cannot_hold_is_written_as_float64()
    {
        var session = New();
        (await session.PutStateAsync(Forms.Safetensors, StateDict(true, 0).ToBytes())).Expect(201);
        (await session.PutRunningStatsAsync($$"""{"running_mean":{{Batch.Array([1, 2, 3, 4, 5, 6])}},"running_var":{{Batch.Array([1, 1, 1, 1, 1, 1])}}}""")).Expect(200);
        (await session.TrainAsync(Batch.Random(1, 7, Features))).Expect(200);
        var (state, file) = ((await session.GetStateAsync()).Expect(200), await ExportAsync(session));
        Assert.Equal(("F64", "F64", "F32", "F32"), (file["running_mean"].Type, file["running_var"].Type, file["weight"].Type, file["bias"].Type));
        Assert.Equal(["num_batches_tracked", "running_mean", "running_var", "bias", "weight"], file.Names);
        Assert.Equal(Elements.Bits(state.Numbers("running_mean")), Elements.Bits(file["running_mean"].Values));
        Assert.Equal(Elements.Bits(state.Numbers("running_var")), Elements.Bits(file["running_var"].Values));
        var copy = New();
        (await copy.PutStateAsync(Forms.Safetensors, file.ToBytes())).Expect(201);
        Same(state, await copy.GetStateAsync());
    }

    /// <summary>Options, optimizer, last batch, the union of what was seen and what calibration has gathered.</summary>
    [Theory]
    [InlineData("""{"num_features":3,"momentum":null,"eps":0.25,"activation":"relu","ghost_batch_size":3}""", new[] { 6, 3 }, """{"optimizer":"adam"}""")]
    [InlineData("""{"num_features":3,"kind":"batch_renorm","renorm":{"r_max":2,"d_max":4,"warmup_steps":7}}""", new[] { 6, 3, 2 }, """{"optimizer":"sgd","momentum":0.5}""")]
    [InlineData("""{"num_features":3,"channel_axis":-1,"mode":"train","non_finite":"propagate","require_statistics":true}""", new[] { 6, 2, 3 }, """{"optimizer":"adamw"}""")]
    [InlineData("""{"num_features":3,"granularity":"per_activation"}""", new[] { 6, 3, 2 }, """{"optimizer":"sgd"}""")]
    [InlineData("""{"num_features":5000,"momentum":null}""", new[] { 6, 5000 }, """{"optimizer":"adam"}""")]
    [InlineData("""{"num_features":5000}""", new[] { 6, 5000 }, """{"optimizer":"sgd"}""")]
    [InlineData("""{"normalized_shape":[3],"kind":"layer_norm"}""", new[] { 6, 3 }, """{"optimizer":"adam"}""")]
    public async Task A_whole_state_goes_through_a_file(string options, int[] shape, string update)
    {
        var session = await service.CreateAsync(options);
        for (var step = 0; step < 3; step++)
        {
            (await session.TrainAsync(Batch.Random(step, shape))).Expect(200);
            (await session.BackwardAsync(Batch.Random(step, shape), Batch.Random(step + 10, shape), update: update)).Expect(200);
        }
        if (!options.Contains("layer_norm", StringComparison.Ordinal)) (await session.CalibrateAsync(Batch.Random(7, shape))).Expect(200);
        var state = (await session.GetStateAsync()).Expect(200);
        // Thousands of numbers are no text.
        Assert.Equal(shape[1] > 4096, (await ExportAsync(session)).Names.Contains("seen.mean_residual"));
        foreach (var form in (string[])[Forms.Safetensors, Forms.Json])
        {
            var copy = New();
            var exported = (await session.GetStateAsync(("Accept", form))).Expect(200);
            Assert.Equal((form, state.ETag), (exported.ContentType, exported.ETag));
            (await copy.PutStateAsync(form, exported.Body)).Expect(201);
            Same(state, await copy.GetStateAsync());
            (await copy.TrainAsync(Batch.Random(99, shape))).Expect(200);
            (await copy.PutStateAsync(form, exported.Body)).Expect(200);
            Same(state, await copy.GetStateAsync());
        }
    }

    [Fact]
    public async Task A_state_that_does_not_fit_changes_nothing()
    {
        var session = await service.CreateAsync("""{"num_features":6}""");
        var file = new TensorFile().Add("weight", "F32", 1, 2, 3);
        (await session.RefusedAsync(s => s.PutStateAsync(Forms.Safetensors, file.ToBytes()))).ExpectProblem("shape-mismatch", "weight");
        foreach (var (dict, code) in new[]
        {
            (new TensorFile().Add("weight", "F32", 1, 2, 3, 4, 5, double.NaN), "invalid-option"),
            (new TensorFile().Add("running_var", "F32", 1, 2, 3, 4, 5, -1), "invalid-option"),
            (new TensorFile().Add("num_batches_tracked", "I64", -1), "invalid-option"),
            (new TensorFile().Add("num_batches_tracked", "F32", 1.5), "invalid-option"),
            (new TensorFile().Add("num_batches_tracked", "I64", 1, 2), "invalid-option"),
            (new TensorFile().Add("num_batches_tracked", "I64"), "invalid-option"),
            (new TensorFile().Add("wieght", "F32", 1, 2, 3, 4, 5, 6), "invalid-option"),
            (new TensorFile().Add("weight", "F32", [2, 3], Elements.Of("F32", [1, 2, 3, 4, 5, 6])), "shape-mismatch"),
            (new TensorFile().Add("module.weight", "F32", 1, 2, 3, 4, 5, 6).Add("other.weight", "F32", 1), "invalid-option"),
            (new TensorFile().Add("weight", "F32", 1, 2, 3, 4, 5, 6).Add("gamma", "F32", 1, 2, 3, 4, 5, 6), "invalid-option"),
            (new TensorFile(), "invalid-option"),
        })
        {
            (await session.RefusedAsync(s => s.PutStateAsync(Forms.Safetensors, dict.ToBytes()))).ExpectProblem(code);
        }
        (await session.RefusedAsync(s => s.PutStateAsync(Forms.Safetensors, StateDict(true, 1).ToBytes(), ("If-Match", "\"7\"")))).ExpectProblem("version-conflict");
    }

    private SessionClient New() => new(service.Client, $"copy-{Guid.NewGuid():N}");

    private static async Task<TensorFile> ExportAsync(SessionClient session)
    {
        var answer = (await session.GetStateAsync(("Accept", Forms.Safetensors))).Expect(200);
        Assert.Equal(Forms.Safetensors, answer.ContentType);
        return answer.Tensors;
    }

    private static TensorFile StateDict(bool hasFormat, long batches)
    {
        var file = new TensorFile().Add("num_batches_tracked", "I64", [], BitConverter.GetBytes(batches))
            .Add("bias", "F32", Bias).Add("running_mean", "F32", Mean).Add("running_var", "F32", Variance).Add("weight", "F32", Weight);
        return hasFormat ? file.Text("format", "pt") : file;
    }

    private static void AssertSame(TensorFile expected, TensorFile actual)
    {
        Assert.Equal(TorchNames, actual.Names);
        foreach (var (one, other) in expected.Tensors.Zip(actual.Tensors))
        {
            Assert.Equal((one.Name, one.Type), (other.Name, other.Type));
            Assert.Equal(one.Shape, other.Shape);
            Assert.Equal(one.Bytes, other.Bytes);
        }
    }

    private static void Same(Answer expected, Answer actual)
    {
        foreach (var (one, other) in Fields(expected).Zip(Fields(actual))) Assert.Equal(one, other);
        Assert.Equal(Fields(expected).Count, Fields(actual).Count);
    }

    private static List<string> Fields(Answer state) =>
        [.. state.Expect(200).Json.EnumerateObject().Where(field => field.Name != "version").Select(field => $"{field.Name}: {JsonSerializer.Serialize(field.Value)}")];
}
