using System.Text.Json;

namespace BnService.Api.Tests.Layer;

public sealed class TrainStepTests(Service service) : IClassFixture<Service>
{
    [Theory]
    [InlineData("""{"x":[[1,2],[3,4]]}""", true)]
    [InlineData("""{"x":[[1,2],[3,4]],"retain":true}""", true)]
    [InlineData("""{"retain":false,"x":[[1,2],[3,4]]}""", false)]
    public async Task A_step_is_retained_unless_it_is_not_wanted(string body, bool isRetained)
    {
        using var own = new Service();
        var session = await own.CreateAsync("""{"num_features":2}""");
        var answer = (await session.TrainAsync(body)).Expect(200);
        Assert.Equal(isRetained ? JsonValueKind.String : JsonValueKind.Null, answer["step_id"].ValueKind);
        Assert.Equal(isRetained, own.RetainedBytes > 0);
    }

    [Fact]
    public async Task The_session_counts_its_steps_and_remembers_the_last_batch()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.TrainAsync("""{"x":[[1,2],[3,4]]}""")).Expect(200);
        var second = (await session.TrainAsync("""{"x":[[1,10],[3,20],[5,60]]}""")).Expect(200);
        var resource = await session.GetAsync();
        Assert.Equal(2, resource["num_batches_tracked"].GetInt64());
        Assert.Equal(3, resource.Version);
        var last = (await session.StatsAsync())["last_batch"];
        Assert.Equal(3, last.GetProperty("count").GetInt64());
        Assert.True(JsonElement.DeepEquals(second["batch_mean"], last.GetProperty("mean")));
        Assert.True(JsonElement.DeepEquals(second["batch_var"], last.GetProperty("var")));
        second.ExpectNumbers("batch_mean", 3, 30);
    }

    [Fact]
    public async Task A_small_batch_and_a_constant_channel_are_warned_of_but_not_refused()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var answer = (await session.TrainAsync("""{"x":[[1,7],[3,7]]}""")).Expect(200);
        var warnings = answer["warnings"].EnumerateArray()
            .ToDictionary(warning => warning.GetProperty("code").GetString()!, warning => warning.GetProperty("detail").GetString()!);
        Assert.Equal(["constant-channels", "small-batch"], warnings.Keys.Order());
        Assert.Contains("2 values per statistic", warnings["small-batch"], StringComparison.Ordinal);
        Assert.Contains("1 of 2 statistics have variance 0", warnings["constant-channels"], StringComparison.Ordinal);
        Assert.Empty((await session.TrainAsync(Batch.Random(1, 8, 2))).Expect(200)["warnings"].EnumerateArray());
    }

    [Fact]
    public async Task Without_running_statistics_the_batch_is_counted_in_the_version_alone()
    {
        var session = await service.CreateAsync("""{"num_features":2,"track_running_stats":false}""");
        var x = Batch.Random(3, 9, 2);
        var answer = (await session.TrainAsync(x)).Expect(200);
        var layer = new ReferenceLayer(2);
        Accuracy.Outputs_are(layer.Train(x), x, answer.Tensor("y"));
        Assert.Equal(0, answer["num_batches_tracked"].GetInt64());
        Assert.Equal(2, answer.Version);
        Assert.Equal(9, (await session.StatsAsync())["last_batch"].GetProperty("count").GetInt64());
    }

    [Fact]
    public async Task A_frozen_session_normalizes_with_its_running_statistics_and_nothing_moves()
    {
        var (session, layer) = await FrozenAsync();
        var (x, dy) = (Batch.Random(5, 6, 3), Batch.Random(6, 6, 3));
        var before = await session.StateAsync();
        var answer = (await session.TrainAsync(x, retain: true)).Expect(200);
        Assert.Equal(before, await session.StateAsync());
        Accuracy.Outputs_are(layer.Infer(x), x, answer.Tensor("y"));
        var stats = await session.StatsAsync();
        answer.ExpectNumbers("batch_mean", stats.Numbers("running_mean"));
        answer.ExpectNumbers("batch_var", stats.Numbers("running_var"));
        Assert.Equal(6, answer["count"].GetInt64());
        Assert.Empty(answer["warnings"].EnumerateArray());

        var expected = layer.BackwardThroughRunning(x, dy);
        Accuracy.Gradients_are(expected, x, (await session.BackwardAsync(answer.StepId!, dy)).Expect(200));
        Accuracy.Gradients_are(expected, x, (await session.BackwardAsync(x, dy, "train")).Expect(200));
        Accuracy.Gradients_are(expected, x, (await session.BackwardAsync(x, dy, "inference")).Expect(200));
    }

    [Fact]
    public async Task A_frozen_session_takes_a_single_example()
    {
        var (session, layer) = await FrozenAsync();
        var x = Batch.Random(7, 1, 3);
        Accuracy.Outputs_are(layer.Infer(x), x, (await session.TrainAsync(x)).Expect(200).Tensor("y"));
    }

    [Fact]
    public async Task A_session_that_is_thawed_trains_on_from_where_it_was()
    {
        var (session, layer) = await FrozenAsync();
        (await session.PatchAsync("""{"mode":"train"}""")).Expect(200);
        var x = Batch.Random(8, 6, 3);
        Accuracy.Outputs_are(layer.Train(x), x, (await session.TrainAsync(x)).Expect(200).Tensor("y"));
        Accuracy.Running_statistics_are(layer.Running, x, await session.StatsAsync());
    }

    [Theory]
    [InlineData("""{"x":[[1,2],[3,4]],"mask":[1]}""", "shape-mismatch", "mask must have the shape [2], one value per sample; got [1]")]
    [InlineData("""{"x":[[1,2],[3,4]],"mask":[1,2]}""", "invalid-option", "mask[1] must be true or 1 (it counts), or false or 0, got 2")]
    [InlineData("""{"x":[[1,2],[3,4]],"mask":[0,0]}""", "batch-too-small", "mask leaves 0 of 2 values per channel in x of shape [2, 2]: a variance needs 2 or more")]
    [InlineData("""{"x":[[1,2],[3,4]],"mask":[1,0]}""", "batch-too-small", "mask leaves 1 of 2 values per channel in x of shape [2, 2]: a variance needs 2 or more")]
    [InlineData("""{"x":[[1,2],[3,4]],"residual":[[1,2]]}""", "shape-mismatch", "residual must have the shape of x, [2, 2], got [1, 2]")]
    [InlineData("""{"x":[[1,2],[3,4]],"mean":[1,2]}""", "invalid-option", "'mean' is not a field of this call; allowed: x, retain, mask, residual")]
    public async Task A_mask_or_residual_that_does_not_fit_is_refused(string body, string code, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => s.TrainAsync(body))).ExpectProblem(code, detail);
    }

    [Theory]
    [InlineData("""{"num_features":2,"kind":"BatchNorm"}""", "kind must be one of \"batch_norm\", \"batch_renorm\"")]
    [InlineData("""{"num_features":2,"num_groups":2}""", "num_groups is not an option of batch_norm; it belongs to group_norm")]
    [InlineData("""{"num_features":2,"normalized_shape":[2]}""", "normalized_shape is not an option of batch_norm")]
    [InlineData("""{"num_features":2,"renorm":{"r_max":3}}""", "renorm is not an option of batch_norm; it belongs to batch_renorm")]
    [InlineData("""{"num_features":2,"ghost_batch_size":1}""", "ghost_batch_size must be a whole number of 2 or more, or null for the whole batch, got 1")]
    [InlineData("""{"kind":"layer_norm","num_features":2}""", "num_features is not an option of layer_norm; send normalized_shape")]
    [InlineData("""{"kind":"layer_norm"}""", "normalized_shape is missing")]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[]}""", "normalized_shape must be 1 to 4 dimensions")]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[2,0]}""", "normalized_shape must be dimensions of 1 or more, got [2, 0]")]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[2],"momentum":0.1}""", "momentum is not an option of layer_norm")]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[2],"channel_axis":2}""", "channel_axis must be 1, or -1")]
    [InlineData("""{"kind":"rms_norm","normalized_shape":[2],"bias":true}""", "bias is not an option of rms_norm; RMS normalization has a gamma and no beta")]
    [InlineData("""{"kind":"group_norm","num_features":4}""", "num_groups is missing")]
    [InlineData("""{"kind":"group_norm","num_features":4,"num_groups":3}""", "num_features must be divisible by num_groups, got num_features 4 and num_groups 3")]
    [InlineData("""{"kind":"group_norm","num_features":4,"num_groups":0}""", "num_groups must be a whole number of 1 or more, got 0")]
    [InlineData("""{"kind":"group_norm","num_features":4,"num_groups":2,"track_running_stats":false}""", "track_running_stats is not an option of group_norm")]
    [InlineData("""{"kind":"instance_norm","num_features":4,"ghost_batch_size":2}""", "ghost_batch_size is not an option of instance_norm")]
    [InlineData("""{"kind":"batch_renorm","num_features":4,"renorm":{"r_max":0.5}}""", "renorm.r_max must be a finite number of 1 or more, got 0.5")]
    [InlineData("""{"kind":"batch_renorm","num_features":4,"renorm":{"d_max":-1}}""", "renorm.d_max must be a finite number of 0 or more, got -1")]
    [InlineData("""{"kind":"batch_renorm","num_features":4,"track_running_stats":false}""", "track_running_stats must be true for batch_renorm")]
    public async Task Options_outside_their_range_or_of_another_kind_are_refused_not_ignored(string body, string detail) =>
        (await service.Client.PostAsync("/v1/sessions", body)).ExpectProblem("invalid-option", detail);

    private async Task<(SessionClient Session, ReferenceLayer Layer)> FrozenAsync()
    {
        var session = await service.CreateAsync("""{"num_features":3,"gamma_init":0.5,"beta_init":0.25}""");
        var layer = new ReferenceLayer(3) { Gamma = [0.5, 0.5, 0.5], Beta = [0.25, 0.25, 0.25] };
        var x = Batch.Random(4, 10, 3);
        (await session.TrainAsync(x)).Expect(200);
        layer.Train(x);
        (await session.PatchAsync("""{"mode":"frozen"}""")).Expect(200);
        return (session, layer);
    }
}
