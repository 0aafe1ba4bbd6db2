using System.Text.Json;

namespace BnService.Api.Tests.Sessions;

public sealed class PatchSessionTests(Service service) : IClassFixture<Service>
{
    [Theory]
    [InlineData("momentum", "0.5")]
    [InlineData("momentum", "null")]
    [InlineData("momentum", "1")]
    [InlineData("eps", "0.25")]
    [InlineData("eps", "0")]
    [InlineData("mode", "\"frozen\"")]
    [InlineData("labels", """{"team":"ranking"}""")]
    [InlineData("labels", "{}")]
    public async Task One_option_changes_and_all_others_stay(string option, string value)
    {
        var session = await service.CreateAsync("""{"num_features":2,"labels":{"team":"search"}}""");
        var before = await session.GetAsync();
        var answer = (await session.PatchAsync($$"""{"{{option}}":{{value}}}""")).Expect(200);
        Assert.Equal(2, answer.Version);
        Assert.Equal("\"2\"", answer.ETag);
        using var sent = JsonDocument.Parse(value);
        Assert.True(JsonElement.DeepEquals(sent.RootElement, answer[option]), answer.Text);
        foreach (var field in before.Json.EnumerateObject().Where(field => field.Name != option && field.Name is not ("version" or "updated_at")))
            Assert.True(JsonElement.DeepEquals(field.Value, answer[field.Name]), $"{field.Name} became {answer[field.Name]}");
        Assert.Equal(answer.Text, (await session.GetAsync()).Text);
    }

    [Fact]
    public async Task Several_options_change_at_once()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var answer = (await session.PatchAsync("""{"momentum":null,"eps":0.5,"mode":"frozen","labels":{"a":"b"}}""")).Expect(200);
        Assert.Equal(2, answer.Version);
        Assert.Equal(JsonValueKind.Null, answer["momentum"].ValueKind);
        Assert.Equal(0.5, answer["eps"].GetDouble());
        Assert.Equal("frozen", answer["mode"].GetString());
        Assert.Equal("b", answer["labels"].GetProperty("a").GetString());
    }

    [Theory]
    [InlineData("{}")]
    [InlineData("""{"momentum":0.1}""")]
    [InlineData("""{"momentum":0.1,"eps":1e-5,"mode":"train","labels":{"team":"search"}}""")]
    [InlineData("""{"labels":null}""")]
    public async Task A_patch_that_changes_nothing_leaves_the_version(string patch)
    {
        var session = await service.CreateAsync("""{"num_features":2,"labels":{"team":"search"}}""");
        var before = await session.StateAsync();
        Assert.Equal(1, (await session.PatchAsync(patch)).Expect(200).Version);
        Assert.Equal(before, await session.StateAsync());
    }

    [Fact]
    public async Task Time_of_the_last_change_moves_with_a_change_and_time_of_creation_does_not()
    {
        var time = new ManualTime();
        using var timed = Service.At(time);
        var session = await timed.CreateAsync("""{"num_features":2}""");
        var created = (await session.GetAsync())["created_at"].GetDateTimeOffset();
        time.JumpBy(TimeSpan.FromHours(1));
        var answer = (await session.PatchAsync("""{"eps":0.5}""")).Expect(200);
        Assert.Equal(created, answer["created_at"].GetDateTimeOffset());
        Assert.Equal(created.AddHours(1), answer["updated_at"].GetDateTimeOffset());
    }

    [Fact]
    public async Task The_next_step_uses_the_changed_options()
    {
        var x = Batch.Random(1, 8, 2);
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.PatchAsync("""{"momentum":0.75,"eps":0.125}""")).Expect(200);
        var layer = new ReferenceLayer(2) { Momentum = 0.75, Eps = 0.125 };
        Accuracy.Outputs_are(layer.Train(x), x, (await session.TrainAsync(x)).Expect(200).Tensor("y"));
        Accuracy.Running_statistics_are(layer.Running, x, await session.StatsAsync());
    }

    [Theory]
    [InlineData("""{"momentum":1.5}""", "momentum must be a number from 0 to 1 (the weight of the new batch), or null for the average over all batches, got 1.5")]
    [InlineData("""{"momentum":-0.1}""", "momentum must be")]
    [InlineData("""{"momentum":"NaN"}""", "momentum must be")]
    [InlineData("""{"eps":-1e-9}""", "eps must be a finite number of 0 or more, got -1E-09")]
    [InlineData("""{"eps":"Infinity"}""", "eps must be")]
    [InlineData("""{"mode":"eval"}""", "mode must be one of \"train\", \"frozen\", got \"eval\"")]
    [InlineData("""{"labels":{"a":1}}""", "labels must be an object of strings")]
    [InlineData("""{"num_features":3}""", "'num_features' is not a field of this call; allowed: momentum, eps, mode, renorm, labels")]
    [InlineData("""{"name":"other"}""", "'name' is not a field")]
    [InlineData("""{"affine":false}""", "'affine' is not a field")]
    [InlineData("""{"channel_axis":-1}""", "'channel_axis' is not a field")]
    [InlineData("""{"granularity":"per_activation"}""", "'granularity' is not a field")]
    [InlineData("""{"renorm":{"r_max":2}}""", "renorm is not an option of batch_norm; it belongs to batch_renorm")]
    [InlineData("""{"momentum":0.5,"eps":-1}""", "eps must be")]
    public async Task What_must_not_change_is_refused_and_nothing_has_changed(string patch, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.RefusedAsync(s => s.PatchAsync(patch))).ExpectProblem("invalid-option", detail);
    }

    [Fact]
    public async Task A_session_without_running_statistics_cannot_be_frozen()
    {
        var session = await service.CreateAsync("""{"num_features":2,"track_running_stats":false}""");
        (await session.RefusedAsync(s => s.PatchAsync("""{"mode":"frozen"}""")))
            .ExpectProblem("invalid-option", "mode must be train where track_running_stats is false, got frozen");
    }
}
