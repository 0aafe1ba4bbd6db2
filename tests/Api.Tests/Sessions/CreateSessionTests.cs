using System.Text.Json;

namespace BnService.Api.Tests.Sessions;

public sealed class CreateSessionTests(Service service) : IClassFixture<Service>
{
    private const string AllOptions =
        """
        {"name":"all-options","kind":"batch_norm","num_features":7,"eps":0.001,"momentum":0.25,"affine":true,"bias":false,
         "track_running_stats":true,"unbiased_running_var":false,"channel_axis":-1,"granularity":"per_activation","mode":"frozen",
         "activation":"relu","gamma_init":0.5,"beta_init":-1.5,"ghost_batch_size":null,"non_finite":"propagate",
         "require_statistics":true,"labels":{"team":"search","löß":"ü \"quoted\""}}
        """;

    [Fact]
    public async Task Only_num_features_is_needed_and_the_defaults_are_those_of_PyTorch()
    {
        var answer = (await service.Client.PostAsync("/v1/sessions", """{"num_features":3}""")).Expect(201);
        var id = answer["id"].GetString()!;
        AssertFields(answer,
            $$"""
            {"id":"{{id}}","name":"{{id}}","kind":"batch_norm","num_features":3,"eps":1e-5,"momentum":0.1,"affine":true,"bias":true,
             "track_running_stats":true,"unbiased_running_var":true,"channel_axis":1,"granularity":"per_channel","mode":"train",
             "activation":"none","gamma_init":1,"beta_init":0,"ghost_batch_size":null,"non_finite":"reject","require_statistics":false,
             "labels":{},"num_batches_tracked":0,"version":1}
            """);
        Assert.Equal($"/v1/sessions/{id}", answer.Headers["Location"]);
        Assert.Equal("\"1\"", answer.ETag);
        Assert.Equal(answer["created_at"].GetDateTimeOffset(), answer["updated_at"].GetDateTimeOffset());
    }

    [Fact]
    public async Task Every_option_is_kept_and_found_again()
    {
        var created = (await service.Client.PostAsync("/v1/sessions", AllOptions)).Expect(201);
        using var sent = JsonDocument.Parse(AllOptions);
        foreach (var option in sent.RootElement.EnumerateObject())
            Assert.True(JsonElement.DeepEquals(option.Value, created[option.Name]), $"{option.Name} is {created[option.Name]}");
        Assert.Equal("/v1/sessions/all-options", created.Headers["Location"]);
        var found = (await service.Client.GetAsync(created.Headers["Location"])).Expect(200);
        Assert.True(JsonElement.DeepEquals(created.Json, found.Json), found.Text);
        Assert.Equal(created.ETag, found.ETag);
    }

    [Theory]
    [InlineData("name", "null")]
    [InlineData("momentum", "null")]
    [InlineData("momentum", "0")]
    [InlineData("momentum", "1")]
    [InlineData("eps", "0")]
    [InlineData("labels", "null")]
    [InlineData("gamma_init", "-2.5e-3")]
    [InlineData("num_features", "1")]
    public async Task The_edges_of_the_options_are_allowed(string option, string value)
    {
        var features = option == "num_features" ? "" : "\"num_features\":2,";
        var answer = (await service.Client.PostAsync("/v1/sessions", $"{{{features}\"{option}\":{value}}}")).Expect(201);
        using var sent = JsonDocument.Parse(value);
        if (option is not ("name" or "labels")) Assert.True(JsonElement.DeepEquals(sent.RootElement, answer[option]), answer.Text);
    }

    [Fact]
    public async Task A_new_session_has_the_initial_values_that_were_asked_for()
    {
        var session = await service.CreateAsync("""{"num_features":2,"gamma_init":0.5,"beta_init":-1.5}""");
        var stats = (await session.StatsAsync()).Expect(200);
        stats.ExpectNumbers("gamma", 0.5, 0.5);
        stats.ExpectNumbers("beta", -1.5, -1.5);
        stats.ExpectNumbers("running_mean", 0, 0);
        stats.ExpectNumbers("running_var", 1, 1);
        Assert.Equal(JsonValueKind.Null, stats["last_batch"].ValueKind);
    }

    [Theory]
    [InlineData("""{"num_features":2,"affine":false}""", false, false, true)]
    [InlineData("""{"num_features":2,"bias":false}""", true, false, true)]
    [InlineData("""{"num_features":2,"track_running_stats":false}""", true, true, false)]
    [InlineData("""{"num_features":2,"affine":false,"bias":true,"track_running_stats":false}""", false, false, false)]
    public async Task What_a_session_does_not_have_is_null_in_its_stats(string options, bool hasGamma, bool hasBeta, bool tracks)
    {
        var stats = await (await service.CreateAsync(options)).StatsAsync();
        Assert.Equal(hasGamma ? JsonValueKind.Array : JsonValueKind.Null, stats["gamma"].ValueKind);
        Assert.Equal(hasBeta ? JsonValueKind.Array : JsonValueKind.Null, stats["beta"].ValueKind);
        foreach (var field in (string[])["running_mean", "running_var"])
            Assert.Equal(tracks ? JsonValueKind.Array : JsonValueKind.Null, stats[field].ValueKind);
        Assert.Equal(tracks ? JsonValueKind.Object : JsonValueKind.Null, stats["diagnostics"].ValueKind);
    }

    [Fact]
    public async Task Labels_may_be_as_many_and_as_long_as_promised_but_no_more()
    {
        Assert.Equal(201, (await CreateWithLabelsAsync(64, 64, 256)).Status);
        (await CreateWithLabelsAsync(65, 1, 1)).ExpectProblem("invalid-option", "labels", "64", "65");
        (await CreateWithLabelsAsync(1, 65, 1)).ExpectProblem("invalid-option", "labels", "64", "65");
        (await CreateWithLabelsAsync(1, 1, 257)).ExpectProblem("invalid-option", "labels", "256", "257");
        (await CreateWithLabelsAsync(1, 0, 1)).ExpectProblem("invalid-option", "labels", "64", "0");
    }

    private Task<Answer> CreateWithLabelsAsync(int count, int keyLength, int valueLength)
    {
        // Two digits tell the keys apart, where they are long enough to hold them.
        var labels = Enumerable.Range(0, count)
            .Select(i => $"\"{(count == 1 ? new string('k', keyLength) : $"{i:D2}".PadRight(keyLength, 'k'))}\":\"{new string('v', valueLength)}\"");
        return service.Client.PostAsync("/v1/sessions", $"{{\"num_features\":1,\"labels\":{{{string.Join(',', labels)}}}}}");
    }

    private static void AssertFields(Answer answer, string expected)
    {
        using var fields = JsonDocument.Parse(expected);
        foreach (var field in fields.RootElement.EnumerateObject())
            Assert.True(JsonElement.DeepEquals(field.Value, answer[field.Name]), $"{field.Name} is {answer[field.Name]}, not {field.Value}");
    }
}
