namespace BnService.Api.Tests.OpenInference;

public sealed class InferJsonTests(Service service) : IClassFixture<Service>
{
    public static TheoryData<string, int[]> Batches => new()
    {
        { """{"num_features":3}""", [4, 3] },
        { """{"num_features":3}""", [2, 3, 5] },
        { """{"num_features":3}""", [2, 3, 4, 5] },
        { """{"num_features":3}""", [2, 3, 2, 2, 2] },
        { """{"num_features":3,"channel_axis":-1}""", [2, 4, 3] },
        { """{"num_features":3}""", [1, 3] },
        { """{"num_features":3}""", [0, 3] },
        { """{"kind":"layer_norm","normalized_shape":[2,3]}""", [4, 2, 3] },
        { """{"kind":"rms_norm","normalized_shape":[5]}""", [3, 5] },
        { """{"kind":"group_norm","num_features":4,"num_groups":2}""", [2, 4, 3] },
        { """{"kind":"instance_norm","num_features":2}""", [2, 2, 6] },
    };

    /// <summary>The same numbers as the service's own call, of flat and of nested data.</summary>
    [Theory]
    [MemberData(nameof(Batches))]
    public async Task It_infers_what_the_session_infers(string options, int[] shape)
    {
        var model = await service.ModelAsync(options);
        var x = Batch.Random(3, shape);
        if (x.Data.Length > 8 && options.StartsWith("""{"num""", StringComparison.Ordinal)) (await model.Session.TrainAsync(x)).Expect(200);
        var expected = (await model.Session.InferAsync(x)).Expect(200).Tensor("y");
        foreach (var nested in (bool[])[false, true])
        {
            var result = InferResult.Of(await model.InferAsync(ModelClient.Request(ModelClient.Input(x, nested: nested))));
            Assert.Equal(model.Session.Name, result.Model);
            Assert.Equal(("FP32", null), (result.Datatype, result.Id));
            Assert.Equal(shape, result.Shape);
            Assert.Equal(expected.Data, result.Singles);
        }
    }

    [Fact]
    public async Task The_answer_is_the_specification_s_to_the_letter()
    {
        var model = await service.ModelAsync("""{"name":"letter","num_features":2,"eps":0}""");
        var answer = await model.InferAsync("""{"id":"42","inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[0.5,-3]}],"outputs":[{"name":"y"}]}""");
        Assert.Equal("""{"model_name":"letter","id":"42","outputs":[{"name":"y","shape":[1,2],"datatype":"FP32","data":[0.5,-3]}]}""", answer.Expect(200).Text);
        Assert.False(answer.Headers.ContainsKey(ModelClient.LengthHeader));
    }

    /// <summary>What clients send beside what the protocol needs: KServe its model_name, others null for what they leave out.</summary>
    [Theory]
    [InlineData("""{"model_name":"other","inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}],"outputs":null,"parameters":null,"id":null}""")]
    [InlineData("""{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3],"parameters":null,"content_type":"np"}],"outputs":[]}""")]
    [InlineData("""{"unknown":{"inputs":[1,{"a":[[]]}]},"inputs":[{"data":[1,2,3],"parameters":{"a":{},"binary_data_size":null},"datatype":"FP32","shape":[1,3],"name":"x"}]}""")]
    [InlineData("""{"parameters":{"sequence_id":7,"sequence_start":true,"sequence_end":false,"priority":1,"timeout":5,"custom":"a","binary_data_output":false},"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}""")]
    [InlineData("""{"outputs":[{"name":"y","parameters":{"binary_data":false,"more":1}}],"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}""")]
    [InlineData("""{"outputs":[{"name":"y","parameters":null}],"inputs":[{"name":"\u0078","shape":[1,3],"datatype":"FP32","data":[1,2,3]}]}""")]
    [InlineData(" {\t\"inputs\" : [ { \"name\":\"x\" , \"shape\" : [ 1 , 3 ],\r\n\"datatype\":\"FP32\",\"data\" : [ [ 1 , 2.0 ,\n3e0 ] ] } ] }\n ")]
    [InlineData("""{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":[1,2,3]}],"deep":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}""")]
    public async Task It_is_liberal_in_what_it_takes(string request)
    {
        var model = await service.ModelAsync("""{"num_features":3,"eps":0}""");
        var result = InferResult.Of(await model.InferAsync(request));
        Assert.Equal([1, 2, 3], result.Elements);
        Assert.Null(result.Id);
    }

    [Theory]
    [InlineData("", "")]
    [InlineData("a", "a")]
    [InlineData("7d5c6f4e-0000-4000-8000-1a2b3c4d5e6f", "7d5c6f4e-0000-4000-8000-1a2b3c4d5e6f")]
    [InlineData("""\"\\\u00e9\ud83d\ude00\n""", "\"\\é😀\n")]
    public async Task The_id_comes_back(string sent, string expected)
    {
        var model = await service.ModelAsync("""{"num_features":1}""");
        foreach (var output in (string[])["false", "true"])
        {
            var answer = await model.InferAsync(
                $$"""{"id":"{{sent}}","parameters":{"binary_data_output":{{output}}},"inputs":[{"name":"x","shape":[1,1],"datatype":"FP32","data":[1]}]}""");
            Assert.Equal(expected, InferResult.Of(answer).Id);
        }
    }

    [Theory]
    [InlineData("NaN", float.NaN)]
    [InlineData("Infinity", float.PositiveInfinity)]
    [InlineData("-Infinity", float.NegativeInfinity)]
    public async Task What_is_not_finite_is_read_bare_or_as_a_string_and_answered_in_binary_alone(string token, float expected)
    {
        var model = await service.ModelAsync("""{"num_features":2}""");
        foreach (var data in (string[])[$"[0,{token}]", $"[0,\"{token}\"]", $"[[0,{token}]]", $"[ [ 0 , \"{token}\" ] ]"])
        {
            string Request(string output) => $$"""{"parameters":{"binary_data_output":{{output}}},"inputs":[{"data":{{data}},"name":"x","shape":[1,2],"datatype":"FP32"}]}""";
            Assert.Equal([0, expected], InferResult.Of(await model.InferAsync(Request("true"))).Singles);
            var refused = await model.Session.RefusedAsync(_ => model.InferAsync(Request("false")));
            refused.ExpectError(400, "element 1 of output 'y' is", "binary_data_output");
        }
    }

    [Fact]
    public async Task Float64_in_JSON_has_the_digits_that_binary_has()
    {
        var model = await service.TrainedModelAsync();
        var x = Batch.Random(9, 5, 3);
        var json = InferResult.Of(await model.InferAsync(ModelClient.Request(ModelClient.Input(x, "FP64"))));
        var binary = InferResult.Of(await model.InferAsync(ModelClient.Request(ModelClient.Input(x, "FP64"), """ "parameters":{"binary_data_output":true},""")));
        Assert.Equal(("FP64", "FP64"), (json.Datatype, binary.Datatype));
        Assert.Equal(binary.Elements, json.Elements);
    }

    [Fact]
    public async Task A_batch_larger_than_what_is_written_at_once_comes_whole()
    {
        var model = await service.TrainedModelAsync();
        var x = Batch.Random(2, 20_000, 3);
        var expected = (await model.Session.InferAsync(x)).Expect(200).Tensor("y").Data;
        foreach (var more in (string[])["", """ "parameters":{"binary_data_output":true},"""])
            Assert.Equal(expected, InferResult.Of(await model.InferAsync(ModelClient.Request(ModelClient.Input(x), more))).Singles);
    }
}
