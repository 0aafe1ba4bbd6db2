using System.Globalization;

namespace BnService.Api.Tests.OpenInference;

public sealed class InferBinaryTests(Service service) : IClassFixture<Service>
{
    private const string BinaryOutput = """ "parameters":{"binary_data_output":true},""";

    [Theory]
    [InlineData("FP32", 0)]
    [InlineData("FP64", 0)]
    [InlineData("FP16", 1e-3)]
    [InlineData("BF16", 1e-2)]
    public async Task Every_datatype_goes_in_and_comes_out(string datatype, double tolerance)
    {
        var model = await service.TrainedModelAsync();
        // What the type can hold, so that both ways read the same numbers.
        var x = new Batch([7, 3], [.. TensorBytes.Read(datatype, TensorBytes.Write(datatype, Batch.Random(4, 7, 3).Data)).Select(value => (float)value)]);
        var bytes = TensorBytes.Write(datatype, x.Data);
        var answer = await model.InferAsync(ModelClient.Request(ModelClient.BinaryInput(x.Shape, datatype, bytes.Length), BinaryOutput), bytes);
        var result = InferResult.Of(answer);
        Assert.Equal((datatype, bytes.Length), (result.Datatype, result.Bytes!.Length));
        Assert.Equal($"{answer.Body.Length}", answer.Headers["Content-Length"]);
        var expected = (await model.Session.InferAsync(x)).Expect(200).Tensor("y").Data;
        Assert.Equal(expected.Length, result.Elements.Length);
        Assert.All(expected.Zip(result.Elements), pair => Assert.InRange(pair.Second - pair.First, -tolerance * (1 + Math.Abs(pair.First)), tolerance * (1 + Math.Abs(pair.First))));
    }

    [Theory]
    [InlineData("FP16")]
    [InlineData("BF16")]
    public async Task The_halves_travel_in_binary_only(string datatype)
    {
        var model = await service.TrainedModelAsync();
        (await model.InferAsync(ModelClient.Request(ModelClient.Input(Batch.Random(1, 1, 3), datatype), BinaryOutput)))
            .ExpectError(400, $"input 'x' is {datatype}, which travels in binary only");
        var bytes = TensorBytes.Write(datatype, [1, 2, 3]);
        var input = ModelClient.BinaryInput([1, 3], datatype, 6);
        (await model.InferAsync(ModelClient.Request(input), bytes)).ExpectError(400, $"output 'y' is {datatype}, which travels in binary only");
        Assert.Equal(3, InferResult.Of(await model.InferAsync(ModelClient.Request(input, """ "outputs":[{"name":"y","parameters":{"binary_data":true}}],"""), bytes)).Elements.Length);
    }

    [Theory]
    [InlineData("", false)]
    [InlineData(""" "parameters":{"binary_data_output":true},""", true)]
    [InlineData(""" "parameters":{"binary_data_output":false},""", false)]
    [InlineData(""" "outputs":[{"name":"y","parameters":{"binary_data":true}}],""", true)]
    [InlineData(""" "parameters":{"binary_data_output":true},"outputs":[{"name":"y","parameters":{"binary_data":false}}],""", false)]
    [InlineData(""" "parameters":{"binary_data_output":false},"outputs":[{"name":"y","parameters":{"binary_data":true}}],""", true)]
    [InlineData(""" "parameters":{"binary_data_output":true},"outputs":[{"name":"y"}],""", true)]
    [InlineData(""" "parameters":{"binary_data_output":true},"outputs":[{"name":"y","parameters":{"binary_data":null}}],""", true)]
    public async Task What_is_said_of_the_output_goes_before_what_is_said_of_all(string more, bool isBinary)
    {
        var model = await service.TrainedModelAsync();
        var x = Batch.Random(4, 2, 3);
        var bytes = TensorBytes.Write("FP32", x.Data);
        var ofJson = InferResult.Of(await model.InferAsync(ModelClient.Request(ModelClient.Input(x), more)));
        var ofBytes = InferResult.Of(await model.InferAsync(ModelClient.Request(ModelClient.BinaryInput([2, 3], "FP32", 24), more), bytes));
        Assert.Equal((isBinary, isBinary), (ofJson.Bytes is not null, ofBytes.Bytes is not null));
        Assert.Equal(ofJson.Singles, ofBytes.Singles);
    }

    [Theory]
    [InlineData(null)]
    [InlineData("application/octet-stream")]
    [InlineData("application/json")]
    [InlineData("application/json; charset=utf-8")]
    [InlineData("application/x-www-form-urlencoded")]
    public async Task Any_content_type_is_served_and_none(string? type)
    {
        var model = await service.TrainedModelAsync();
        (string, string)[] headers = type is null ? [] : [("Content-Type", type)];
        var bytes = TensorBytes.Write("FP32", [1, 2, 3]);
        InferResult.Of(await model.InferAsync(ModelClient.Request(ModelClient.BinaryInput([1, 3], "FP32", 12)), bytes, headers));
        InferResult.Of(await model.InferAsync(ModelClient.Request(ModelClient.Input(new Batch([1, 3], [1, 2, 3]))), headers));
    }

    [Theory]
    [InlineData("""{"num_features":3}""", new[] { 4, 3 })]
    [InlineData("""{"num_features":3}""", new[] { 0, 3 })]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[2,3]}""", new[] { 5, 2, 3 })]
    public async Task A_body_without_JSON_is_the_input_itself(string options, int[] shape)
    {
        var model = await service.ModelAsync(options);
        var x = Batch.Random(6, shape);
        var result = InferResult.Of(await model.SendAsync(TensorBytes.Write("FP32", x.Data), (ModelClient.LengthHeader, "0")));
        Assert.Equal(shape, result.Shape);
        Assert.Equal("FP32", result.Datatype);
        Assert.NotNull(result.Bytes);
        Assert.Equal((await model.Session.InferAsync(x)).Expect(200).Tensor("y").Data, result.Singles);
    }

    [Theory]
    [InlineData(0f)]
    [InlineData(0.1f)]
    [InlineData(1f)]
    [InlineData(2f)]
    [InlineData(-1e30f)]
    public async Task A_body_without_JSON_and_without_the_header_is_told_of_it(float value)
    {
        var model = await service.ModelAsync("""{"num_features":3}""");
        (await model.SendAsync(TensorBytes.Write("FP32", [value, value, value])))
            .ExpectError(400, "bytes that are no text", $"send the header {ModelClient.LengthHeader}: 0");
    }

    [Theory]
    [InlineData(1)]
    [InlineData(11)]
    [InlineData(13)]
    [InlineData(16)]
    public async Task A_body_without_JSON_is_whole_rows(int length)
    {
        var model = await service.ModelAsync("""{"num_features":3}""");
        (await model.SendAsync(new byte[length], (ModelClient.LengthHeader, "0"))).ExpectError(400, "12 bytes a row", $"{length} bytes");
    }

    [Theory]
    [InlineData("x")]
    [InlineData("-1")]
    [InlineData("+5")]
    [InlineData("1.0")]
    [InlineData("0x10")]
    [InlineData("5, 5")]
    [InlineData("1000")]
    [InlineData("2147483648")]
    [InlineData("99999999999999999999999")]
    public async Task A_length_that_is_none_is_refused(string length)
    {
        var model = await service.ModelAsync("""{"num_features":3}""");
        (await model.SendAsync("{}"u8.ToArray(), (ModelClient.LengthHeader, length))).ExpectError(400, ModelClient.LengthHeader, length[..Math.Min(length.Length, 40)]);
    }

    /// <summary>Every length but the right one cuts the JSON short or leaves bytes too few; 0 means something else.</summary>
    [Fact]
    public async Task Every_other_length_is_refused()
    {
        var model = await service.ModelAsync("""{"num_features":3}""");
        var json = ModelClient.Request(ModelClient.BinaryInput([1, 3], "FP32", 12));
        byte[] body = [.. System.Text.Encoding.UTF8.GetBytes(json), .. TensorBytes.Write("FP32", [1, 2, 3])];
        for (var length = 1; length <= body.Length + 1; length++)
        {
            var answer = await model.SendAsync(body, (ModelClient.LengthHeader, length.ToString(CultureInfo.InvariantCulture)));
            answer.Expect(length == json.Length ? 200 : 400);
        }
        (await model.SendAsync(body)).ExpectError(400);
    }

    [Theory]
    [InlineData(12, 11, "11 bytes follow the JSON", "announce 12")]
    [InlineData(12, 13, "13 bytes follow the JSON", "announce 12")]
    [InlineData(12, 0, "0 bytes follow the JSON", "announce 12")]
    [InlineData(11, 11, "binary_data_size of input 'x' must be 12 (FP32 of shape [1, 3]), got 11", "")]
    [InlineData(16, 16, "must be 12", "got 16")]
    [InlineData(0, 0, "must be 12", "got 0")]
    [InlineData(9223372036854775807, 12, "must be 12", "got 9223372036854775807")]
    public async Task The_bytes_are_as_many_as_shape_and_datatype_make_them(long announced, int sent, string text, string more)
    {
        var model = await service.ModelAsync("""{"num_features":3}""");
        (await model.InferAsync(ModelClient.Request(ModelClient.BinaryInput([1, 3], "FP32", announced)), new byte[sent])).ExpectError(400, text, more);
    }

    /// <summary>A layer that changes nothing gives back the bits that it was given, NaN's own among them.</summary>
    [Fact]
    public async Task Binary_keeps_every_bit()
    {
        var model = await service.ModelAsync("""{"num_features":1,"eps":0,"affine":false}""");
        uint[] bits = [0x7FC00001, 0x7F800000, 0xFF800000, 0x00000001, 0x3F800001, 0x7F7FFFFF];
        byte[] bytes = [.. bits.SelectMany(BitConverter.GetBytes)];
        var result = InferResult.Of(await model.InferAsync(ModelClient.Request(ModelClient.BinaryInput([6, 1], "FP32", 24), BinaryOutput), bytes));
        Assert.Equal(bytes, result.Bytes);
        (await model.InferAsync(ModelClient.Request(ModelClient.BinaryInput([6, 1], "FP32", 24)), bytes)).ExpectError(400, "element 0 of output 'y' is NaN");
    }

    [Fact]
    public async Task No_rows_are_no_bytes()
    {
        var model = await service.ModelAsync("""{"num_features":3}""");
        // KServe writes null for the data of an empty tensor that it sends in binary.
        var json = """{"inputs":[{"name":"x","shape":[0,3],"datatype":"FP32","data":null,"parameters":{"binary_data_size":0}}],"parameters":{"binary_data_output":true}}""";
        foreach (var answer in (Answer[])[await model.InferAsync(json), await model.InferAsync(json, Array.Empty<byte>())])
        {
            var result = InferResult.Of(answer);
            Assert.Equal([0, 3], result.Shape);
            Assert.Empty(result.Bytes!);
        }
    }
}
