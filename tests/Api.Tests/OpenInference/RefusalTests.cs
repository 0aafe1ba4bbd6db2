using System.Text;

namespace BnService.Api.Tests.OpenInference;

/// <summary>What is wrong with a request is said in the protocol's form, and costs neither memory nor state.</summary>
[Collection(WholeProcess.Name)]
public sealed class RefusalTests(Service service) : IClassFixture<Service>
{
    private const string Valid = """{"id":"\u00e9","parameters":{"a":1},"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,-2.5e1,NaN]}],"outputs":[{"name":"y","parameters":{"binary_data":true}}]}""";

    private readonly long _rentedBefore = Service.RentedBytes;

    public static TheoryData<string, string> Bad => new()
    {
        { "", "the body is empty; it must be a JSON object" },
        { " ", "the body is empty; it must be a JSON object" },
        { "[]", "the request must be a JSON object, got an array" },
        { "null", "the request must be a JSON object, got null" },
        { "{}", "inputs is missing or empty" },
        { """{"inputs":[]}""", "inputs is missing or empty" },
        { """{"inputs":null}""", "inputs must be an array of objects, got null" },
        { """{"inputs":{}}""", "inputs must be an array of objects, got an object" },
        { """{"inputs":[1]}""", "inputs must be an array of objects, got 1" },
        { """{"inputs":[{}]}""", "the model's input is 'x', got none" },
        { Input("""{"name":"input__0","shape":[1,3],"datatype":"FP32","data":[1,2,3]}"""), "the model's input is 'x', got 'input__0'" },
        { Input("""{"name":"X","shape":[1,3],"datatype":"FP32","data":[1,2,3]}"""), "the model's input is 'x', got 'X'" },
        { Input("""{"name":1,"shape":[1,3],"datatype":"FP32","data":[1,2,3]}"""), "name of an input must be a string, got 1" },
        { Input("""{"name":"x","name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}"""), "names 'name' twice" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]},{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}"""), "the model has one input, 'x'; the request has more" },
        { """{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}],"inputs":[{"name":"x"}]}""", "the model has one input" },
        { Input("""{"name":"x","datatype":"FP32","data":[1,2,3]}"""), "shape of input 'x' is missing" },
        { Input("""{"name":"x","shape":null,"datatype":"FP32","data":[1,2,3]}"""), "shape of input 'x' is missing" },
        { Input("""{"name":"x","shape":3,"datatype":"FP32","data":[1,2,3]}"""), "shape must be an array of whole numbers, got 3" },
        { Input("""{"name":"x","shape":[-1,3],"datatype":"FP32","data":[1,2,3]}"""), "a dimension of shape must be a whole number from 0 to 2147483647, got -1" },
        { Input("""{"name":"x","shape":[1.5,2],"datatype":"FP32","data":[1,2,3]}"""), "got 1.5" },
        { Input("""{"name":"x","shape":["1",3],"datatype":"FP32","data":[1,2,3]}"""), "got \"1\"" },
        { Input("""{"name":"x","shape":[18446744073709551615,3],"datatype":"FP32","data":[1,2,3]}"""), "got 18446744073709551615" },
        { Input("""{"name":"x","shape":[2147483647,3],"datatype":"FP32","data":[1,2,3]}"""), "at most 2147483647 elements" },
        { Input("""{"name":"x","shape":[1,1,1,1,1,1,1,1,3],"datatype":"FP32","data":[1,2,3]}"""), "at most 8 dimensions" },
        { Input("""{"name":"x","shape":[],"datatype":"FP32","data":[1]}"""), "expected 2D to 5D input" },
        { Input("""{"name":"x","shape":[3],"datatype":"FP32","data":[1,2,3]}"""), "expected 2D to 5D input" },
        { Input("""{"name":"x","shape":[1,3,1,1,1,1],"datatype":"FP32","data":[1,2,3]}"""), "expected 2D to 5D input" },
        { Input("""{"name":"x","shape":[3,1],"datatype":"FP32","data":[1,2,3]}"""), "expected 3 channels" },
        { Input("""{"name":"x","shape":[2,3],"datatype":"FP32","data":[1,2,3]}"""), "data of input 'x' has 3 elements, its shape [2, 3] needs 6" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[]}"""), "has 0 elements" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3,4]}"""), "has 4 elements" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[[1],[2],[3]]}"""), "data of input 'x' is nested as [3, 1], its shape is [1, 3]" },
        { Input("""{"name":"x","shape":[2,3],"datatype":"FP32","data":[[1,2,3],[4,5]]}"""), "ragged" },
        { Input("""{"name":"x","shape":[2,3],"datatype":"FP32","data":[[1,2,3],4,5,6]}"""), "ragged" },
        { Input("""{"name":"x","shape":[2,3],"datatype":"FP32","data":[1,2,3,[4,5,6]]}"""), "ragged" },
        { Input("""{"name":"x","shape":[2,3],"datatype":"FP32","data":[[],[1]]}"""), "ragged" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[[[[[[[[[1,2,3]]]]]]]]]}"""), "nested deeper than 8" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":1}"""), "data must be an array of numbers, got 1" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":{"a":1}}"""), "data must be an array of numbers, got an object" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,true,3]}"""), "element 1 of data must be a number, NaN, Infinity or -Infinity, got true" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,null,3]}"""), "element 1 of data must be a number, NaN, Infinity or -Infinity, got null" },
        { Input("""{"name":"x","shape":[2,3],"datatype":"FP32","data":[1,2,3,null,5,6]}"""), "element 3 of data must be a number, NaN, Infinity or -Infinity, got null" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,"2",3]}"""), "element 1" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,{},3]}"""), "element 1" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,nan,3]}"""), "element 1" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,"NaN,3]}"""), "element 1" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,NaNs,3]}"""), "',' or ']'" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,+2,3]}"""), "element 1" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,02,3]}"""), "element 1" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2.,3]}"""), "element 1" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,.2,3]}"""), "element 1" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2e,3]}"""), "element 1" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,-,3]}"""), "element 1" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,,3]}"""), "element 1" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3,]}"""), "element 3" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1 2 3]}"""), "',' or ']'" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,1e39,3]}"""), "x element 1 is 1e39, beyond float32" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP64","data":[1,-1e300,3]}"""), "beyond float32" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3],"data":[1,2,3]}"""), "names 'data' twice" },
        { Input("""{"name":"x","shape":[1,3],"data":[1,2,3]}"""), "datatype of input 'x' is missing" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"BYTES","data":[1,2,3]}"""), "datatype must be one of FP32, FP64, FP16, BF16, INT8, INT16, INT32, INT64, UINT8, UINT16, UINT32, UINT64, BOOL, got 'BYTES'" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"INT8","data":[1,128,3]}"""), "element 1 of data of input 'x' must be a whole number from -128 to 127 (INT8), got 128" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"UINT64","data":[1,2,-1]}"""), "element 2 of data of input 'x' must be a whole number from 0 to 18446744073709551615 (UINT64), got -1" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"INT32","data":[1.5,2,3]}"""), "element 0 of data of input 'x' must be a whole number from -2147483648 to 2147483647 (INT32), got 1.5" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"INT16","data":[1,2,NaN]}"""), "element 2 of data of input 'x' must be a whole number from -32768 to 32767 (INT16), got NaN" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"BOOL","data":[true,false,2]}"""), "element 2 of data of input 'x' must be true, false, 1 or 0 (BOOL), got 2" },
        { Input("""{"name":"x","shape":[1,3],"data":[1,false,3],"datatype":"INT32"}"""), "element 1 of data must be a number, NaN, Infinity or -Infinity, got false" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"fp32","data":[1,2,3]}"""), "got 'fp32'" },
        { Input("""{"name":"x","shape":[1,3],"datatype":32,"data":[1,2,3]}"""), "datatype must be a string, got 32" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32"}"""), "either data or the parameter binary_data_size" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":null}"""), "got neither" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3],"parameters":{"binary_data_size":12}}"""), "got both" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","parameters":{"binary_data_size":12}}"""), "input 'x' has binary_data_size 12, but the request has no header Inference-Header-Content-Length" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","parameters":{"binary_data_size":-12}}"""), "binary_data_size must be a whole number of 0 or more, got -12" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","parameters":{"binary_data_size":"12"}}"""), "got \"12\"" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","parameters":{"binary_data_size":12.5}}"""), "got 12.5" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","parameters":[]}"""), "parameters of an input must be an object" },
        { Input("""{"name":"x","shape":[1,3],"datatype":"FP32","parameters":{"shared_memory_region":"r","shared_memory_byte_size":12}}"""), "the service shares no memory" },
        { """{"parameters":7,"inputs":[]}""", "parameters of the request must be an object, got 7" },
        { """{"parameters":{"binary_data_output":1},"inputs":[]}""", "binary_data_output must be true or false, got 1" },
        { """{"parameters":{"binary_data_output":true,"binary_data_output":false},"inputs":[]}""", "names 'binary_data_output' twice" },
        { """{"id":7,"inputs":[]}""", "id must be a string, got 7" },
        { """{"id":"\ud800","inputs":[]}""", @"the body is not well-formed JSON: \ud800 is half of a character (line 1, column 8)" },
        { """{"id":"a","id":"b","inputs":[]}""", "names 'id' twice" },
        { """{"\ud800":1}""", @"the body is not well-formed JSON: \ud800 is half of a character (line 1, column 3)" },
        { Output("""{"name":"z"}"""), "the model's output is 'y', got 'z'" },
        { Output("{}"), "the model's output is 'y', got none" },
        { Output("""{"name":"y"},{"name":"y"}"""), "the model has one output, 'y'; the request asks for more" },
        { Output("7"), "outputs must be an array of objects, got 7" },
        { Output("""{"name":"y","parameters":{"binary_data":"true"}}"""), "binary_data must be true or false, got \"true\"" },
        { Output("""{"name":"y","parameters":{"classification":3}}"""), "classification" },
        { Output("""{"name":"y","parameters":{"shared_memory_region":"r"}}"""), "shared_memory_region" },
        { Valid + "x", "the body is not well-formed JSON: it goes on after its end with x (line 1, column " + (Valid.Length + 1) + "); if that is a tensor, send the header Inference-Header-Content-Length: " + Valid.Length },
        { Valid + "{}", "it goes on after its end with an object" },
        { "\uFEFF" + Valid + "x", "Inference-Header-Content-Length: " + (Valid.Length + 3) },
        { "// no\n" + Valid, "expected a value, got //; JSON has no comments (line 1, column 1)" },
    };

    [Theory]
    [MemberData(nameof(Bad))]
    public async Task It_is_named(string body, string text)
    {
        var model = await service.ModelAsync("""{"num_features":3}""");
        (await model.Session.RefusedAsync(_ => model.InferAsync(body))).ExpectError(400, text);
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
    }

    [Fact]
    public async Task A_request_that_ends_at_any_byte_before_its_last_is_refused()
    {
        var model = await service.ModelAsync("""{"num_features":3}""");
        var body = Encoding.UTF8.GetBytes(Valid);
        for (var length = 0; length < body.Length; length++) (await model.SendAsync(body[..length])).ExpectError(400);
        InferResult.Of(await model.SendAsync(body));
        await Eventually.EqualAsync(_rentedBefore, () => Service.RentedBytes);
    }

    [Theory]
    [InlineData(100, 200)]
    [InlineData(101, 400)]
    [InlineData(10_000, 400)]
    public async Task JSON_is_nested_a_hundred_deep_and_no_deeper(int depth, int status)
    {
        var model = await service.ModelAsync("""{"num_features":3}""");
        var deep = new string('[', depth - 1) + new string(']', depth - 1);
        (await model.InferAsync($$"""{"a":{{deep}},"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}""")).Expect(status);
        (await model.InferAsync($$"""{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":{{deep}}}]}""")).ExpectError(400);
        var index = new string('[', depth - 1) + new string(']', depth - 1);
        (await service.Client.PostAsync("/v2/repository/index", $$"""{"a":{{index}}}""")).Expect(status);
    }

    [Fact]
    public async Task What_the_session_refuses_is_400_as_well()
    {
        var model = await service.ModelAsync("""{"num_features":3,"require_statistics":true}""");
        (await model.InferAsync(Input("""{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}"""))).ExpectError(400, "requires running statistics");
        using var small = Service.With(("Limits:MaxStatistics", "2"));
        var rows = await small.ModelAsync("""{"kind":"layer_norm","normalized_shape":[3]}""");
        (await rows.InferAsync(ModelClient.Request(ModelClient.Input(Batch.Random(1, 3, 3))))).ExpectError(400, "Limits:MaxStatistics");
    }

    [Fact]
    public async Task An_id_has_an_end()
    {
        var model = await service.ModelAsync("""{"num_features":3}""");
        string WithId(int length) => $$"""{"id":"{{new string('i', length)}}","inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}""";
        Assert.Equal(4096, InferResult.Of(await model.InferAsync(WithId(4096))).Id!.Length);
        (await model.InferAsync(WithId(4097))).ExpectError(400, "id has at most 4096 characters, got 4097");
    }

    [Fact]
    public async Task A_body_over_the_limit_is_413()
    {
        using var small = Service.With(("Limits:MaxBodyBytes", "100000"));
        var model = await small.ModelAsync("""{"num_features":3}""");
        (await model.Session.RefusedAsync(_ => model.InferAsync(new string(' ', 100_001)))).ExpectError(413, "at most 100000 bytes");
        (await small.Client.PostAsync("/v2/repository/index", new string(' ', 100_001))).ExpectError(413);
    }

    private static string Input(string input) => $$"""{"inputs":[{{input}}]}""";

    private static string Output(string output) => $$"""{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}],"outputs":[{{output}}]}""";
}
