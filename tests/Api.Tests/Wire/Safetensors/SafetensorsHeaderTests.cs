using System.Text;

namespace BnService.Api.Tests.Wire.Safetensors;

/// <summary>What a header of named tensors may look like, and what it may not.</summary>
public sealed class SafetensorsHeaderTests(Service service) : IClassFixture<Service>
{
    private const string X = "\"x\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}";

    private static readonly byte[] Elements16 = Elements.Of("F32", [1, 2, 3, 5]);

    [Theory]
    [InlineData("{" + X + "}")]
    [InlineData("{ " + X + " }\t\n  ")]
    [InlineData("{" + X + ",\"__metadata__\":{}}")]
    [InlineData("{\"__metadata__\":{\"format\":\"pt\"}," + X + "}")]
    [InlineData("{\"x\":{\"data_offsets\":[0,16],\"shape\":[2,2],\"dtype\":\"F32\"}}")]
    [InlineData("{\"\\u0078\":{\"dt\\u0079pe\":\"F3\\u0032\",\"shape\":[2,2],\"data_offsets\":[0,16]}}")]
    public async Task A_header_may_be_written_in_many_ways(string header)
    {
        var session = await CreateAsync();
        var expected = (await session.InferAsync("""{"x":[[1,2],[3,5]]}""")).Expect(200).Tensor("y");
        foreach (var body in (byte[][])[TensorFile.Of(header, Elements16), TensorFile.Exactly(Encoding.UTF8.GetBytes(header), Elements16)])
        {
            SameAnswer.Same(expected, (await session.PostAsync("inference", Forms.Safetensors, body)).Expect(200).Tensors["y"].Batch);
            SameAnswer.Same(expected, (await ChunkedAsync(session, "inference", body)).Expect(200).Tensors["y"].Batch);
        }
    }

    /// <summary>Tensors of nothing may lie anywhere between the others.</summary>
    [Fact]
    public async Task Empty_tensors_take_no_room()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var file = new TensorFile().Add("residual", "F64", [0, 2], []).Add("x", "F16", [0, 2], []);
        SameAnswer.Same(new Batch([0, 2], []), (await session.PostAsync("inference", Forms.Safetensors, file.ToBytes())).Expect(200).Tensors["y"].Batch);
    }

    public static TheoryData<string, string> Malformed => new()
    {
        { "", "must be a JSON object that begins at its first byte" },
        { " {" + X + "}", "must be a JSON object that begins at its first byte" },
        { "\n{" + X + "}", "must be a JSON object that begins at its first byte" },
        { "[]", "must be a JSON object that begins at its first byte" },
        { "null", "must be a JSON object" },
        { "\uFEFF{" + X + "}", "must be a JSON object" },
        { "{", "not well-formed JSON" },
        { "{" + X, "not well-formed JSON" },
        { "{" + X + "}x", "not well-formed JSON" },
        { "{" + X + "}{}", "not well-formed JSON" },
        { "{" + X + "}\0", "not well-formed JSON" },
        { "{" + X + ",}", "not well-formed JSON" },
        { "{'x':{}}", "not well-formed JSON" },
        { "{" + X + ",\"\\ud800\":{}}", "not well-formed JSON" },
        { "{" + X + "," + X + "}", "the header names 'x' twice" },
        { "{" + X + ",\"\\u0078\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[16,16]}}", "the header names 'x' twice" },
        { "{\"__metadata__\":{},\"__metadata__\":{}," + X + "}", "the header names '__metadata__' twice" },
        { "{\"__metadata__\":[]," + X + "}", "__metadata__ must be an object of texts, got an array" },
        { "{\"__metadata__\":null," + X + "}", "__metadata__ must be an object of texts, got null" },
        { "{\"__metadata__\":\"a\"," + X + "}", "__metadata__ must be an object of texts, got \"a\"" },
        { "{\"__metadata__\":{\"retain\":false}," + X + "}", "__metadata__.retain must be a text, got false" },
        { "{\"__metadata__\":{\"retain\":1}," + X + "}", "__metadata__.retain must be a text, got 1" },
        { "{\"__metadata__\":{\"retain\":null}," + X + "}", "__metadata__.retain must be a text, got null" },
        { "{\"__metadata__\":{\"retain\":{}}," + X + "}", "__metadata__.retain must be a text, got an object" },
        { "{\"__metadata__\":{\"retain\":[]}," + X + "}", "__metadata__.retain must be a text, got an array" },
        { "{\"__metadata__\":{\"retain\":\"\\udc00\"}," + X + "}", "not well-formed JSON" },
        { "{\"__metadata__\":{\"retain\":\"true\",\"retain\":\"true\"}," + X + "}", "__metadata__ names 'retain' twice" },
        { "{\"x\":[]}", "'x' must be an object, got an array" },
        { "{\"x\":null}", "'x' must be an object, got null" },
        { "{\"x\":\"F32\"}", "'x' must be an object, got \"F32\"" },
        { "{\"x\":{}}", "'x' lacks 'dtype'" },
        { Entry("\"shape\":[2,2],\"data_offsets\":[0,16]"), "'x' lacks 'dtype'" },
        { Entry("\"dtype\":\"F32\",\"data_offsets\":[0,16]"), "'x' lacks 'shape'" },
        { Entry("\"dtype\":\"F32\",\"shape\":[2,2]"), "'x' lacks 'data_offsets'" },
        { Entry("\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16],\"extra\":1"), "'x' has the fields dtype, shape and data_offsets, got 'extra'" },
        { Entry("\"dtype\":\"F32\",\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]"), "'x' names 'dtype' twice" },
        { Entry("\"dtype\":\"F32\",\"shape\":[2,2],\"shape\":[2,2],\"data_offsets\":[0,16]"), "'x' names 'shape' twice" },
        { Entry("\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16],\"data_offsets\":[0,16]"), "'x' names 'data_offsets' twice" },
        { Entry("F33", "[2,2]", "[0,16]"), "'x'.dtype must be one of F32, F64, F16, BF16, I64, I32, I16, I8, U64, U32, U16, U8, BOOL, got \"F33\"" },
        { Entry("f32", "[2,2]", "[0,16]"), "got \"f32\"" },
        { Entry("F8_E4M3", "[4,4]", "[0,16]"), "got \"F8_E4M3\"" },
        { Entry("F8_E5M2", "[4,4]", "[0,16]"), "got \"F8_E5M2\"" },
        { Entry("F4", "[4,8]", "[0,16]"), "got \"F4\"" },
        { Entry("C64", "[1,2]", "[0,16]"), "'x'.dtype must be one of" },
        { Entry("0", "[2,2]", "[0,16]"), "got \"0\"" },
        { Entry("\\ud800", "[2,2]", "[0,16]"), "" },
        { Entry("\"dtype\":4,\"shape\":[2,2],\"data_offsets\":[0,16]"), "'x'.dtype must be one of" },
        { Entry("\"dtype\":null,\"shape\":[2,2],\"data_offsets\":[0,16]"), "'x'.dtype must be one of" },
        { Entry("F32", "4", "[0,16]"), "'x'.shape must be an array of whole numbers, got 4" },
        { Entry("F32", "null", "[0,16]"), "'x'.shape must be an array of whole numbers, got null" },
        { Entry("F32", "[[2],[2]]", "[0,16]"), "'x'.shape must be an array of whole numbers of 0 or more, got an array" },
        { Entry("F32", "[-2,-2]", "[0,16]"), "of 0 or more, got -2" },
        { Entry("F32", "[2.0,2]", "[0,16]"), "of 0 or more, got 2.0" },
        { Entry("F32", "[2,2e0]", "[0,16]"), "of 0 or more, got 2e0" },
        { Entry("F32", "[\"2\",2]", "[0,16]"), "of 0 or more, got \"2\"" },
        { Entry("F32", "[9223372036854775808]", "[0,16]"), "of 0 or more, got 9223372036854775808" },
        { Entry("F32", "[" + string.Join(',', Enumerable.Repeat(1, 65)) + "]", "[0,4]"), "'x'.shape has at most 64 numbers, got more" },
        { Entry("F32", "[2,2]", "{}"), "'x'.data_offsets must be an array of whole numbers, got an object" },
        { Entry("F32", "[2,2]", "[]"), "'x'.data_offsets must be two numbers" },
        { Entry("F32", "[2,2]", "[16]"), "'x'.data_offsets must be two numbers" },
        { Entry("F32", "[2,2]", "[0,8,16]"), "'x'.data_offsets must be two numbers" },
        { Entry("F32", "[2,2]", "[16,0]"), "'x'.data_offsets must be two numbers, the second not below the first" },
        { Entry("F32", "[2,2]", "[-16,0]"), "of 0 or more, got -16" },
        { Entry("F32", "[2,2]", "[0.0,16]"), "of 0 or more, got 0.0" },
        { Entry("F32", "[2,2]", "[0,15]"), "'x' has 15 bytes by its data_offsets, but F32 of shape [2, 2] takes another number" },
        { Entry("F64", "[2,2]", "[0,16]"), "'x' has 16 bytes by its data_offsets, but F64 of shape [2, 2] takes another number" },
        { Entry("F32", "[]", "[0,16]"), "takes another number" },
        { Entry("F32", "[0,2]", "[0,16]"), "takes another number" },
        { Entry("F32", "[4294967296,4294967296]", "[0,16]"), "takes another number" },
        { Entry("F32", "[4611686018427387904]", "[0,0]"), "takes another number" },
        { Entry("F32", "[9223372036854775807,9223372036854775807,4]", "[0,9223372036854775807]"), "takes another number" },
        { Entry("F32", "[2,2]", "[16,32]"), "the elements of 'x' must begin at byte 0, after those of the tensor before, got 16" },
        { "{" + X + ",\"residual\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[17,33]}}", "'residual' must begin at byte 16" },
        { "{" + X + ",\"residual\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[0,16]}}", "must begin at byte 16" },
        { "{" + X + ",\"residual\":{\"dtype\":\"F32\",\"shape\":[2,2],\"data_offsets\":[8,24]}}", "'residual' must begin at byte 16" },
        { "{" + X + ",\"residual\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[17,17]}}", "'residual' must begin at byte 16" },
    };

    [Theory]
    [MemberData(nameof(Malformed))]
    public async Task A_header_that_is_none_is_refused_with_what_is_wrong(string header, string detail)
    {
        var session = await CreateAsync();
        var body = TensorFile.Exactly(Encoding.UTF8.GetBytes(header), Elements16);
        (await session.RefusedAsync(s => s.PostAsync("train-step", Forms.Safetensors, body))).ExpectProblem("malformed-body", "safetensors: ", detail);
        (await session.RefusedAsync(s => ChunkedAsync(s, "train-step", body))).ExpectProblem("malformed-body", "safetensors: ", detail);
    }

    [Theory]
    [InlineData("F32", "[1,1,1,1,1,1,1,2,2]", "[0,16]", "shape-mismatch", "x has at most 8 dimensions, got 9")]
    [InlineData("F32", "[2147483648,0]", "[0,0]", "shape-mismatch", "x: a dimension is at most 2147483647")]
    [InlineData("F32", "[9223372036854775807,0,9223372036854775807]", "[0,0]", "shape-mismatch", "x: a dimension is at most 2147483647")]
    [InlineData("F32", "[4]", "[0,16]", "shape-mismatch", "[4]")]
    [InlineData("F32", "[]", "[0,4]", "shape-mismatch", "[]")]
    [InlineData("F32", "[4,1]", "[0,16]", "shape-mismatch", "[4, 1]")]
    [InlineData("F32", "[2147483647,1]", "[0,8589934588]", "payload-too-large", "got one that announces 8589934")]
    [InlineData("F32", "[2147483647,2147483647]", "[0,18446744056529682436]", "malformed-body", "got 18446744056529682436")]
    [InlineData("U8", "[9223372036854775807]", "[0,9223372036854775807]", "payload-too-large", "got one that announces 9223372036854775")]
    public async Task A_tensor_that_is_no_batch_is_refused(string type, string shape, string offsets, string code, string detail)
    {
        var session = await CreateAsync();
        var end = long.TryParse(offsets.Split(',')[1].TrimEnd(']'), out var parsed) ? Math.Min(parsed, 16) : 16;
        var body = TensorFile.Of(Entry(type, shape, offsets), Elements16[..(int)end]);
        (await session.RefusedAsync(s => s.PostAsync("train-step", Forms.Safetensors, body))).ExpectProblem(code, detail);
        (await session.RefusedAsync(s => ChunkedAsync(s, "train-step", body))).ExpectProblem(code, detail);
    }

    [Theory]
    [InlineData("y")]
    [InlineData("X")]
    [InlineData("")]
    [InlineData("x.data")]
    [InlineData("x.shape.0")]
    [InlineData("x.")]
    [InlineData(".x")]
    [InlineData("mask.a")]
    [InlineData("retain.a.b.c")]
    [InlineData("model.layers.0.weight")]
    public async Task A_name_that_the_call_has_not_is_refused_with_those_that_it_has(string name)
    {
        var session = await CreateAsync();
        var body = new TensorFile().Add("x", "F32", [2, 2], Elements16).Add(name, "F32", 1, 2).ToBytes();
        (await session.RefusedAsync(s => s.PostAsync("train-step", Forms.Safetensors, body))).ExpectProblem("invalid-option", "is not a field of this call");
        body = new TensorFile().Add("x", "F32", [2, 2], Elements16).Text(name, "1").ToBytes();
        (await session.RefusedAsync(s => s.PostAsync("train-step", Forms.Safetensors, body))).ExpectProblem("invalid-option", "is not a field of this call");
    }

    [Fact]
    public async Task What_is_missing_or_there_twice_is_named()
    {
        var session = await CreateAsync();
        var x = new Batch([2, 2], [1, 2, 3, 5]);
        foreach (var (call, file, code, detail) in new[]
        {
            ("train-step", new TensorFile(), "malformed-body", "x is missing"),
            ("train-step", new TensorFile().Text("retain", "false"), "malformed-body", "x is missing"),
            ("train-step", new TensorFile().Add("residual", x), "malformed-body", "x is missing"),
            ("backward", new TensorFile().Add("x", x), "malformed-body", "dy is missing"),
            ("fold", new TensorFile().Add("weight", x), "invalid-option", "layer is missing"),
            ("train-step", new TensorFile().Add("x", x).Text("x", "[[1,2],[3,4]]"), "malformed-body", "'x' twice"),
            ("train-step", new TensorFile().Add("x", x).Add("mask", "U8", 1, 1).Text("mask", "[1,1]"), "malformed-body", "'mask' twice"),
            ("train-step", new TensorFile().Add("x", x).Add("mask", "U8", 1, 1).Add("mask.0", "U8", 1), "invalid-option", "'mask.0' is not a field"),
            ("train-step", new TensorFile().Add("x", x).Add("retain", "U8", 1), "invalid-option", "retain must be true or false"),
            ("train-step", new TensorFile().Add("x", x).Add("retain", "U8", 1, 0), "invalid-option", "retain must be a single number, got 2 values"),
            ("backward", new TensorFile().Add("x", x).Add("dy", x).Text("step_id", "a"), "invalid-option", "step_id or x"),
            ("backward", new TensorFile().Add("x", x).Add("dy", x).Text("update", "sgd"), "invalid-option", "update must be an object"),
            ("backward", new TensorFile().Add("x", x).Add("dy", x).Text("update", "{\"optimizer\":\"sgd\"}").Text("update.momentum", "0"), "malformed-body", "'update.momentum' twice"),
            ("backward", new TensorFile().Add("x", x).Add("dy", new Batch([1, 2], [1, 2])), "shape-mismatch", "dy must have the shape of x"),
        })
        {
            (await session.RefusedAsync(s => s.PostAsync(call, Forms.Safetensors, file.ToBytes()))).ExpectProblem(code, detail);
        }
        var twice = new TensorFile().Add("x", x).Text("kind", "layer_norm").Text("normalized_shape", "[2]").Text("backward", $"{{\"dy\":{x.Json}}}").Add("backward.dy", x);
        (await service.Client.PostAsync("/v1/normalize", Forms.Safetensors, twice.ToBytes())).ExpectProblem("malformed-body", "'backward.dy' twice");
    }

    [Theory]
    [InlineData(17, "the header must be at most 16 bytes long, got 17")]
    [InlineData(100_000_001, "got 100000001")]
    [InlineData(long.MaxValue, "got 9223372036854775807")]
    [InlineData(-1, "got 18446744073709551615")] // u64
    [InlineData(long.MinValue, "got 9223372036854775808")]
    public async Task A_header_longer_than_the_body_or_the_limit_is_refused(long length, string detail)
    {
        var session = await CreateAsync();
        byte[] body = [.. BitConverter.GetBytes(length), .. "{              }"u8];
        (await session.RefusedAsync(s => s.PostAsync("train-step", Forms.Safetensors, body))).ExpectProblem("malformed-body", detail);
        (await session.RefusedAsync(s => ChunkedAsync(s, "train-step", body)))
            .ExpectProblem("malformed-body", length == 17 ? "the body ends after 24 bytes, 1 bytes before the end of the header" : detail);
    }

    [Fact]
    public async Task A_body_of_another_length_than_its_tensors_is_refused()
    {
        var session = await CreateAsync();
        var valid = TensorFile.Of("{" + X + "}", Elements16);
        (await session.RefusedAsync(s => s.PostAsync("train-step", Forms.Safetensors, [.. valid, 0]))).ExpectProblem("malformed-body", "announces 16 bytes of elements, the body has 17 after it");
        (await session.RefusedAsync(s => s.PostAsync("train-step", Forms.Safetensors, valid[..^1]))).ExpectProblem("malformed-body", "announces 16 bytes of elements, the body has 15 after it");
        (await session.RefusedAsync(s => ChunkedAsync(s, "train-step", [.. valid, 0]))).ExpectProblem("malformed-body", "the body goes on after its");
        (await session.RefusedAsync(s => ChunkedAsync(s, "train-step", valid[..^1]))).ExpectProblem("malformed-body", "1 bytes before the end of x");
    }

    private Task<SessionClient> CreateAsync() => service.CreateAsync("""{"num_features":2}""");

    private Task<Answer> ChunkedAsync(SessionClient session, string call, byte[] body) =>
        service.Client.SendAsync(HttpMethod.Post, $"{session.Path}/{call}", new PiecewiseContent(body, Forms.Safetensors, 5));

    private static string Entry(string fields) => $"{{\"x\":{{{fields}}}}}";

    private static string Entry(string type, string shape, string offsets) => Entry($"\"dtype\":\"{type}\",\"shape\":{shape},\"data_offsets\":{offsets}");
}
