using System.Text.Json.Nodes;

namespace BnService.Api.Tests.Problems;

/// <summary>Null for a field is as if it were absent, except where null is one of its values. See ExamplesTests for every field at once.</summary>
public sealed class NullTests(Service service) : IClassFixture<Service>
{
    public static TheoryData<string> Options => new(
        "name", "kind", "num_groups", "normalized_shape", "eps", "affine", "bias", "track_running_stats", "unbiased_running_var", "channel_axis", "granularity", "mode",
        "activation", "gamma_init", "beta_init", "ghost_batch_size", "renorm", "non_finite", "require_statistics", "labels", "convention");

    [Theory]
    [MemberData(nameof(Options))]
    public async Task A_session_is_created_as_without_the_option(string option)
    {
        var plain = Comparable((await service.Client.PostAsync("/v1/sessions", """{"num_features":2}""")).Expect(201));
        var withNull = Comparable((await service.Client.PostAsync("/v1/sessions", $$"""{"num_features":2,"{{option}}":null}""")).Expect(201));
        Assert.True(JsonNode.DeepEquals(plain, withNull), $"{plain} and {withNull}");
    }

    [Fact]
    public async Task A_momentum_of_null_is_the_average_over_all_batches()
    {
        var created = (await service.Client.PostAsync("/v1/sessions", """{"num_features":2,"momentum":null}""")).Expect(201);
        Assert.Equal(System.Text.Json.JsonValueKind.Null, created["momentum"].ValueKind);
        var session = await service.CreateAsync("""{"num_features":2}""");
        Assert.Equal(System.Text.Json.JsonValueKind.Null, (await session.PatchAsync("""{"momentum":null}""")).Expect(200)["momentum"].ValueKind);
    }

    [Theory]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[2]}""")]
    [InlineData("""{"kind":"group_norm","num_features":2,"num_groups":1}""")]
    public async Task A_momentum_of_null_says_nothing_to_kinds_without_one(string options)
    {
        var session = await service.CreateAsync(options.Replace("{", "{\"momentum\":null,", StringComparison.Ordinal));
        (await session.PatchAsync("""{"momentum":null,"mode":null,"renorm":null,"eps":0.5}""")).Expect(200);
        (await service.Client.PostAsync("/v1/normalize", options.Replace("{", "{\"momentum\":null,\"x\":[[1,2],[3,5]],", StringComparison.Ordinal))).Expect(200);
    }

    [Fact]
    public async Task A_patch_changes_nothing_for_null()
    {
        var session = await service.CreateAsync("""{"kind":"batch_renorm","num_features":2,"eps":0.5,"mode":"frozen","renorm":{"r_max":2},"labels":{"a":"b"}}""");
        var before = (await session.GetAsync()).Expect(200).Text;
        (await session.PatchAsync("""{"eps":null,"mode":null,"renorm":null,"labels":null}""")).Expect(200);
        Assert.Equal(before, (await session.GetAsync()).Expect(200).Text);
    }

    [Theory]
    [InlineData("train-step", """{"x":[[1,2],[3,5]],"retain":null,"mask":null,"residual":null}""")]
    [InlineData("inference", """{"x":[[1,2],[3,5]],"residual":null}""")]
    [InlineData("backward", """{"step_id":null,"x":[[1,2],[3,5]],"dy":[[1,2],[3,5]],"mode":null,"mask":null,"residual":null,"update":null}""")]
    [InlineData("backward", """{"x":[[1,2],[3,5]],"dy":[[1,2],[3,5]],"update":{"optimizer":"adam","learning_rate":null,"momentum":null,"nesterov":null,"beta1":null,"eps":null,"weight_decay":null}}""")]
    [InlineData("reset", """{"parameters":null}""")]
    [InlineData("fold", """{"layer":"linear","weight":[[1,0],[0,1]],"bias":null,"groups":null,"position":null,"padding":null,"version":null}""")]
    public async Task Calls_do_as_without_the_field(string call, string body)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.TrainAsync("""{"x":[[1,2],[3,5]]}""")).Expect(200);
        var answer = (await service.Client.PostAsync($"{session.Path}/{call}", body)).Expect(200);
        if (call == "train-step") Assert.NotNull(answer.StepId);
    }

    [Theory]
    [InlineData("train-step", """{"x":null}""", "malformed-body", "x must be a tensor")]
    [InlineData("backward", """{"x":[[1,2],[3,5]],"dy":null}""", "malformed-body", "dy must be a tensor")]
    [InlineData("backward", """{"x":[[1,2],[3,5]],"dy":[[1,2],[3,5]],"update":{"optimizer":null}}""", "invalid-option", "update.optimizer must be one of")]
    [InlineData("fold", """{"layer":null,"weight":[[1,0],[0,1]]}""", "invalid-option", "layer must be one of")]
    public async Task What_a_call_cannot_do_without_is_missed(string call, string body, string code, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => service.Client.PostAsync($"{s.Path}/{call}", body))).ExpectProblem(code, detail);
    }

    private static JsonObject Comparable(Answer created)
    {
        var resource = JsonNode.Parse(created.Text)!.AsObject();
        foreach (var own in (string[])["id", "name", "created_at", "updated_at"]) resource.Remove(own);
        return resource;
    }
}
