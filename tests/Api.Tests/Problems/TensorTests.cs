namespace BnService.Api.Tests.Problems;

/// <summary>Tensors that are none, or not those of the session.</summary>
public sealed class TensorTests(Service service) : IClassFixture<Service>
{
    [Theory]
    [InlineData("""{"shape":[2147483647,2147483647],"data":[1,2]}""", "shape-mismatch", "a tensor has at most 2147483647 elements, got shape [2147483647, 2147483647]")]
    [InlineData("""{"shape":[65536,65536],"data":[1,2]}""", "shape-mismatch", "a tensor has at most 2147483647 elements, got shape [65536, 65536]")]
    [InlineData("""{"shape":[65536,32768],"data":[]}""", "shape-mismatch", "at most 2147483647 elements")]
    [InlineData("""{"shape":[2147483647,2],"data":[1,2]}""", "shape-mismatch", "at most 2147483647 elements")]
    [InlineData("""{"shape":[1073741823,2],"data":[1,2]}""", "shape-mismatch", "shape [1073741823, 2] needs 2147483646 elements,", "data has 2")]
    [InlineData("""{"data":[1,2],"shape":[1073741823,2]}""", "shape-mismatch", "needs 2147483646 elements")]
    [InlineData("""{"shape":[2147483647,2147483647,2147483647,2147483647,2147483647,2147483647,2147483647,2147483647],"data":[]}""", "shape-mismatch", "elements")]
    [InlineData("""{"shape":[0,2147483647,2147483647],"data":[]}""", "shape-mismatch", "expected 2 channels (num_features) along axis 1, got 2147483647")]
    [InlineData("""{"shape":[2147483648,2],"data":[1,2]}""", "shape-mismatch", "shape[0] must be a whole number from 0 to 2147483647, got 2147483648")]
    [InlineData("""{"shape":[9223372036854775807,2],"data":[1,2]}""", "shape-mismatch", "shape[0] must be a whole number")]
    [InlineData("""{"shape":[-1,2],"data":[1,2]}""", "shape-mismatch", "shape[0] must be a whole number from 0 to 2147483647, got -1")]
    [InlineData("""{"shape":[-2,-2],"data":[1,2,3,4]}""", "shape-mismatch", "shape[0] must be a whole number from 0 to 2147483647, got -2")]
    [InlineData("""{"shape":[1.5,2],"data":[1,2,3]}""", "shape-mismatch", "shape[0] must be a whole number from 0 to 2147483647, got 1.5")]
    [InlineData("""{"shape":[2,2.0],"data":[1,2,3,4]}""", "shape-mismatch", "shape[1] must be a whole number", "got 2.0")]
    [InlineData("""{"shape":["2",2],"data":[1,2,3,4]}""", "shape-mismatch", "shape[0] must be a whole number", "got \"2\"")]
    [InlineData("""{"shape":[null,2],"data":[1,2,3,4]}""", "shape-mismatch", "shape[0] must be a whole number", "got null")]
    [InlineData("""{"shape":[[2,2]],"data":[1,2,3,4]}""", "shape-mismatch", "shape[0] must be a whole number", "got an array")]
    [InlineData("""{"shape":[1,1,1,1,1,1,1,1,2],"data":[1,2]}""", "shape-mismatch", "shape has at most 8 dimensions")]
    [InlineData("""{"shape":[2,2],"data":[1,2,3]}""", "shape-mismatch", "shape [2, 2] needs 4 elements,", "data has 3")]
    [InlineData("""{"shape":[2,2],"data":[1,2,3,4,5]}""", "shape-mismatch", "shape [2, 2] needs 4 elements,", "data has 5")]
    [InlineData("""{"shape":[2,2],"data":[]}""", "shape-mismatch", "needs 4 elements,", "data has 0")]
    [InlineData("""{"shape":[0,2],"data":[1,2]}""", "shape-mismatch", "shape [0, 2] needs 0 elements,", "data has 2")]
    [InlineData("""{"shape":[2,2],"data":[[1,2],[3,4]]}""", "shape-mismatch", "data must be flat, in row-major order")]
    [InlineData("""{"shape":[],"data":[1]}""", "shape-mismatch", "expected 2D to 5D input (got 0D input of shape [])")]
    [InlineData("""{"shape":[],"data":[]}""", "shape-mismatch", "shape [] needs 1 elements")]
    [InlineData("""{"shape":[2],"data":[1,2]}""", "shape-mismatch", "expected 2D to 5D input (got 1D input of shape [2])")]
    [InlineData("""{"shape":[1,2,1,1,1,1],"data":[1,2]}""", "shape-mismatch", "expected 2D to 5D input (got 6D input of shape [1, 2, 1, 1, 1, 1])")]
    [InlineData("""{"shape":[2,3],"data":[1,2,3,4,5,6]}""", "shape-mismatch", "expected 2 channels (num_features) along axis 1, got 3 in input of shape [2, 3]")]
    [InlineData("""{"shape":[2,3,2],"data":[1,2,3,4,5,6,7,8,9,10,11,12]}""", "shape-mismatch", "expected 2 channels (num_features) along axis 1, got 3")]
    [InlineData("""{"shape":{},"data":[1]}""", "malformed-body", "shape must be an array of whole numbers, got an object")]
    [InlineData("""{"shape":4,"data":[1]}""", "malformed-body", "shape must be an array of whole numbers, got 4")]
    [InlineData("""{"shape":null,"data":[1]}""", "malformed-body", "shape must be an array of whole numbers, got null")]
    [InlineData("""{"shape":[2,2],"data":null}""", "malformed-body", "data must be an array of numbers, got null")]
    [InlineData("""{"shape":[2,2],"data":"AAAA"}""", "malformed-body", "data must be an array of numbers, got \"AAAA\"")]
    [InlineData("""{"shape":[2,2],"data":{}}""", "malformed-body", "data must be an array of numbers, got an object")]
    [InlineData("""{"shape":[2,2]}""", "malformed-body", "lacks 'data'")]
    [InlineData("""{"data":[1,2]}""", "malformed-body", "lacks 'shape'")]
    [InlineData("""{}""", "malformed-body", "lacks 'shape'")]
    [InlineData("""{"shape":[2,2],"data":[1,2,3,4],"dtype":"float32"}""", "malformed-body", "has the fields shape and data, got 'dtype'")]
    [InlineData("""{"Shape":[2,2],"data":[1,2,3,4]}""", "malformed-body", "has the fields shape and data, got 'Shape'")]
    [InlineData("null", "malformed-body", "must be a tensor")]
    [InlineData("5", "malformed-body", "must be a tensor", "got 5")]
    [InlineData("\"[[1,2]]\"", "malformed-body", "must be a tensor")]
    [InlineData("true", "malformed-body", "must be a tensor", "got true")]
    [InlineData("[[1,2],[3]]", "shape-mismatch", "is ragged")]
    [InlineData("[[1],[2,3]]", "shape-mismatch", "is ragged")]
    [InlineData("[[1,2],[3,4,5]]", "shape-mismatch", "is ragged")]
    [InlineData("[[1,2],3]", "shape-mismatch", "is ragged")]
    [InlineData("[1,[2,3]]", "shape-mismatch", "is ragged")]
    [InlineData("[[1,2],[[3],4]]", "shape-mismatch", "is ragged")]
    [InlineData("[[[1],[2]],[3,4]]", "shape-mismatch", "is ragged")]
    [InlineData("[[],[1,2]]", "shape-mismatch", "is ragged")]
    [InlineData("[[1,2],[]]", "shape-mismatch", "is ragged")]
    [InlineData("[[[]],[]]", "shape-mismatch", "is ragged")]
    [InlineData("[[],[[]]]", "shape-mismatch", "is ragged")]
    [InlineData("[]", "shape-mismatch", "expected 2D to 5D input (got 1D input of shape [0])")]
    [InlineData("[1,2]", "shape-mismatch", "expected 2D to 5D input (got 1D input of shape [2])")]
    [InlineData("[[],[]]", "shape-mismatch", "expected 2 channels (num_features) along axis 1, got 0 in input of shape [2, 0]")]
    [InlineData("[[[[[[1]]]]]]", "shape-mismatch", "got 6D input of shape [1, 1, 1, 1, 1, 1]")]
    [InlineData("[[[[[[[[1]]]]]]]]", "shape-mismatch", "got 8D input")]
    [InlineData("[[[[[[[[[1]]]]]]]]]", "shape-mismatch", "has at most 8 dimensions")]
    public async Task What_is_no_tensor_of_the_session_is_refused_by_every_call(string tensor, string code, params string[] details)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => s.TrainAsync($"{{\"x\":{tensor}}}"))).ExpectProblem(code, details);
        (await session.RefusedAsync(s => s.TrainAsync($"{{\"retain\":false,\"x\":{tensor}}}"))).ExpectProblem(code, details);
        (await session.RefusedAsync(s => s.InferAsync($"{{\"x\":{tensor}}}"))).ExpectProblem(code, details);
        if (tensor != "null") (await session.RefusedAsync(s => s.BackwardAsync($"{{\"x\":{tensor},\"dy\":[[1,2],[3,5]]}}"))).ExpectProblem(code, details);
        // As dy it may be a tensor after all, only not one like x.
        var dy = await session.RefusedAsync(s => s.BackwardAsync($"{{\"x\":[[1,2],[3,5]],\"dy\":{tensor}}}"));
        var isTensor = details[0].StartsWith("expected", StringComparison.Ordinal) || details[0].StartsWith("got", StringComparison.Ordinal);
        dy.ExpectProblem(code, isTensor ? ["dy must have the shape of x"] : details);
    }

    [Theory]
    [InlineData("""{}""")]
    [InlineData("""{"retain":true}""")]
    public async Task Without_x_there_is_nothing_to_do(string body)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => s.TrainAsync(body))).ExpectProblem("malformed-body", "x is missing; it must be a tensor");
        (await session.RefusedAsync(s => s.InferAsync("{}"))).ExpectProblem("malformed-body", "x is missing");
    }

    [Theory]
    [InlineData("1")]
    [InlineData("\"true\"")]
    [InlineData("[]")]
    public async Task Retain_is_true_or_false(string retain)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => s.TrainAsync($"{{\"x\":[[1,2],[3,4]],\"retain\":{retain}}}")))
            .ExpectProblem("invalid-option", "retain must be true or false, got ");
    }

    [Theory]
    [InlineData("""{"num_features":2,"channel_axis":-1}""", "[[[1,2,3],[4,5,6]]]", "expected 2 channels (num_features) along axis -1, got 3 in input of shape [1, 2, 3]")]
    [InlineData("""{"num_features":5,"granularity":"per_activation"}""", "[[[1,2,3],[4,5,6]],[[1,2,3],[4,5,6]]]", "expected 5 channels (num_features) along axis 1, got 2")]
    public async Task Channels_are_looked_for_where_the_session_has_them(string options, string x, string detail)
    {
        var session = await service.CreateAsync(options);
        (await session.RefusedAsync(s => s.TrainAsync($"{{\"x\":{x}}}"))).ExpectProblem("shape-mismatch", detail);
    }
}
