namespace BnService.Api.Tests.Layer;

/// <summary>Which requests backward takes.</summary>
public sealed class BackwardRequestTests(Service service) : IClassFixture<Service>
{
    private const string X = "[[1,2],[3,5]]";

    [Theory]
    [InlineData("""{"dy":[[1,2],[3,5]]}""", "send either step_id or x with dy, and not both")]
    [InlineData("""{"x":null,"step_id":null,"dy":[[1,2],[3,5]]}""", "send either step_id or x with dy, and not both")]
    [InlineData("""{"x":[[1,2],[3,5]],"step_id":"a","dy":[[1,2],[3,5]]}""", "send either step_id or x with dy, and not both")]
    [InlineData("""{"step_id":"a","dy":[[1,2],[3,5]],"mode":"train"}""", "mode belongs to x; with step_id the step decides")]
    [InlineData("""{"x":[[1,2],[3,5]],"dy":[[1,2],[3,5]],"mode":"frozen"}""", "mode must be one of \"train\", \"inference\", got \"frozen\"")]
    [InlineData("""{"step_id":"a","dy":[[1,2],[3,5]],"residual":[[1,2],[3,5]]}""", "mask and residual belong to x; with step_id the step knows them")]
    [InlineData("""{"step_id":"a","dy":[[1,2],[3,5]],"mask":[1,1]}""", "mask and residual belong to x; with step_id the step knows them")]
    [InlineData("""{"step_id":5,"dy":[[1,2],[3,5]]}""", "step_id must be a string, got 5")]
    public async Task Options_that_contradict_each_other_are_refused(string body, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => s.BackwardAsync(body))).ExpectProblem("invalid-option", detail);
    }

    [Theory]
    [InlineData("""{"x":[[1,2],[3,5]]}""", "dy is missing; it must be a tensor")]
    [InlineData("""{"x":[[1,2],[3,5]],"dy":null}""", "dy must be a tensor")]
    [InlineData("""{"step_id":"a"}""", "dy is missing; it must be a tensor")]
    public async Task Without_dy_there_is_nothing_to_take_back(string body, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => s.BackwardAsync(body))).ExpectProblem("malformed-body", detail);
    }

    [Theory]
    [InlineData("[[1,2]]", "dy must have the shape of x, [2, 2], got [1, 2]")]
    [InlineData("[1,2,3,4]", "dy must have the shape of x, [2, 2], got [4]")]
    [InlineData("[[[1,2],[3,5]]]", "dy must have the shape of x, [2, 2], got [1, 2, 2]")]
    [InlineData("""{"shape":[4,1],"data":[1,2,3,4]}""", "dy must have the shape of x, [2, 2], got [4, 1]")]
    public async Task Dy_has_the_shape_of_x(string dy, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        foreach (var mode in (string[])["train", "inference"])
        {
            (await session.RefusedAsync(s => s.BackwardAsync($$"""{"x":{{X}},"dy":{{dy}},"mode":"{{mode}}","update":{"optimizer":"sgd"} }""")))
                .ExpectProblem("shape-mismatch", detail);
        }
    }

    [Fact]
    public async Task Null_is_the_same_as_nothing()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var plain = (await session.BackwardAsync($$"""{"x":{{X}},"dy":{{X}}}""")).Expect(200);
        var nulls = (await session.BackwardAsync($$"""{"step_id":null,"x":{{X}},"dy":{{X}},"mode":null,"update":null}""")).Expect(200);
        Assert.Equal(plain.Text, nulls.Text);
    }

    [Fact]
    public async Task Before_the_first_batch_the_running_statistics_are_0_and_1()
    {
        var session = await service.CreateAsync("""{"num_features":2,"eps":0}""");
        var answer = (await session.BackwardAsync("""{"x":[[1,2],[3,5]],"dy":[[1,1],[1,2]],"mode":"inference"}""")).Expect(200);
        Assert.Equal([1, 1, 1, 2], answer.Tensor("dx").Data);
        answer.ExpectNumbers("dgamma", 4, 12);
        answer.ExpectNumbers("dbeta", 2, 3);
    }
}
