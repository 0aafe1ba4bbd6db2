namespace BnService.Api.Tests.Sessions;

/// <summary>PUT of a session: created, or answered where it is there with the same options.</summary>
public sealed class PutSessionTests(Service service) : IClassFixture<Service>
{
    [Fact]
    public async Task Of_many_workers_one_creates_the_session_and_all_have_it()
    {
        for (var round = 0; round < 5; round++)
        {
            var path = $"/v1/sessions/together-{round}";
            var answers = await Task.WhenAll(Enumerable.Range(0, 40).Select(_ => service.Client.PutAsync(path, """{"num_features":3,"momentum":0.25}""")));
            var created = Assert.Single(answers, answer => answer.Status == 201);
            Assert.Equal(path, created.Headers["Location"]);
            Assert.All(answers, answer => Assert.True(answer.Status is 200 or 201, answer.Text));
            Assert.All(answers, answer => Assert.Equal((created.Text, "\"1\""), (answer.Text, answer.ETag)));
        }
    }

    [Theory]
    [InlineData("""{"num_features":4}""", """{"num_features":4,"kind":"batch_norm","eps":1e-5,"momentum":0.1,"affine":true,"channel_axis":1}""")]
    [InlineData("""{"num_features":4,"convention":"keras"}""", """{"num_features":4,"momentum":0.01,"eps":1e-3,"unbiased_running_var":false,"channel_axis":-1}""")]
    [InlineData("""{"num_features":4,"momentum":0.9,"convention":"onnx"}""", """{"num_features":4,"momentum":0.1,"unbiased_running_var":false}""")]
    [InlineData("""{"num_features":4,"labels":{"a":"b"}}""", """{"num_features":4,"labels":{"c":"d"}}""")]
    [InlineData("""{"num_features":4,"momentum":null}""", """{"num_features":4,"momentum":null}""")]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[2,3]}""", """{"kind":"layer_norm","normalized_shape":[2,3]}""")]
    [InlineData("""{"kind":"batch_renorm","num_features":4}""", """{"kind":"batch_renorm","num_features":4,"renorm":{"r_max":3,"d_max":5,"warmup_steps":5000}}""")]
    [InlineData("""{"num_features":4,"granularity":"per_activation"}""", """{"num_features":4,"granularity":"per_activation"}""")]
    public async Task The_same_options_in_any_terms_are_the_same_session(string first, string second)
    {
        var name = $"same-{Guid.NewGuid():N}";
        var created = (await service.Client.PutAsync($"/v1/sessions/{name}", first)).Expect(201);
        var (path, body) = ($"/v1/sessions/{name}", first.Contains("keras", StringComparison.Ordinal) && created["channel_axis"].GetInt32() == 1 ? second.Replace(",\"channel_axis\":-1", "", StringComparison.Ordinal) : second);
        Assert.Equal(created.Text, (await service.Client.PutAsync(path, body)).Expect(200).Text);
        Assert.Equal(created.Text, (await service.Client.PutAsync(path, first)).Expect(200).Text);
        Assert.Equal(created.Text, (await service.Client.PutAsync($"/v1/sessions/{created["id"].GetString()}", first)).Expect(200).Text);
    }

    [Theory]
    [InlineData("""{"num_features":3}""", """{"num_features":4}""", "num_features is 3, sent was 4")]
    [InlineData("""{"num_features":3}""", """{"num_features":3,"momentum":null,"eps":1e-3}""", "eps is 1E-05, sent was 0.001; momentum is 0.1, sent was null")]
    [InlineData("""{"num_features":3}""", """{"num_features":3,"convention":"flax","channel_axis":1}""", "momentum is 0.1, sent was 0.01; unbiased_running_var is true, sent was false")]
    [InlineData("""{"num_features":3}""", """{"kind":"layer_norm","normalized_shape":[3]}""", "kind is \"batch_norm\", sent was \"layer_norm\"; normalized_shape is absent, sent was [3]")]
    [InlineData("""{"kind":"group_norm","num_features":4,"num_groups":2}""", """{"kind":"group_norm","num_features":4,"num_groups":4}""", "num_groups is 2, sent was 4")]
    [InlineData("""{"num_features":3,"affine":false}""", """{"num_features":3}""", "affine is false, sent was true")]
    public async Task Other_options_are_told_one_by_one(string first, string second, string differences)
    {
        var session = await service.CreateAsync(first);
        var answer = await session.RefusedAsync(s => service.Client.PutAsync(s.Path, second));
        answer.ExpectProblem("session-exists", $"session '{session.Name}' is there with other options: ", differences);
    }

    [Fact]
    public async Task A_session_that_has_been_trained_is_answered_as_it_is()
    {
        var path = "/v1/sessions/trained-before";
        (await service.Client.PutAsync(path, """{"num_features":2}""")).Expect(201);
        var session = new SessionClient(service.Client, "trained-before");
        (await session.TrainAsync("""{"x":[[1,2],[3,5]]}""")).Expect(200);
        var answer = (await service.Client.PutAsync(path, """{"num_features":2,"name":"trained-before"}""")).Expect(200);
        Assert.Equal((2, "\"2\"", 1), (answer.Version, answer.ETag, answer["num_batches_tracked"].GetInt32()));
        (await session.RefusedAsync(_ => service.Client.PutAsync(path, """{"num_features":2}""", ("If-Match", "\"1\"")))).ExpectProblem("version-conflict");
        (await service.Client.PutAsync(path, """{"num_features":2}""", ("If-Match", "\"2\""))).Expect(200);
        (await session.RefusedAsync(_ => service.Client.PutAsync(path, """{"num_features":2}""", ("If-None-Match", "*")))).ExpectProblem("version-conflict", "If-None-Match");
    }

    [Theory]
    [InlineData("fresh-1", """{"num_features":2,"name":"other"}""", "invalid-option", "name must be absent, or the one in the path, 'fresh-1', got 'other'")]
    [InlineData("-fresh", """{"num_features":2}""", "invalid-option", "name must be 1 to 128 letters")]
    [InlineData("fresh-2", """{}""", "invalid-option", "num_features is missing")]
    [InlineData("fresh-3", """{"num_features":2,"num_groups":2}""", "invalid-option", "num_groups is not an option of batch_norm")]
    public async Task What_is_wrong_creates_nothing(string name, string body, string code, string detail)
    {
        (await service.Client.PutAsync($"/v1/sessions/{name}", body)).ExpectProblem(code, detail);
        (await service.Client.GetAsync($"/v1/sessions/{name}")).ExpectProblem("session-not-found");
    }

    [Fact]
    public async Task The_last_place_is_enough_for_all_who_want_the_same_session()
    {
        using var small = Service.With(("Limits:MaxSessions", "1"));
        var answers = await Task.WhenAll(Enumerable.Range(0, 40).Select(_ => small.Client.PutAsync("/v1/sessions/only", """{"num_features":2}""")));
        Assert.Single(answers, answer => answer.Status == 201);
        Assert.Equal(39, answers.Count(answer => answer.Status == 200));
        (await small.Client.PutAsync("/v1/sessions/other", """{"num_features":2}""")).ExpectProblem("limit-reached");
    }

    [Fact]
    public async Task If_match_asks_for_a_session_that_is_there()
    {
        (await service.Client.PutAsync("/v1/sessions/fresh-4", """{"num_features":2}""", ("If-Match", "*"))).ExpectProblem("version-conflict");
        (await service.Client.PutAsync("/v1/sessions/fresh-4", """{"num_features":2}""", ("If-None-Match", "*"))).Expect(201);
    }
}
