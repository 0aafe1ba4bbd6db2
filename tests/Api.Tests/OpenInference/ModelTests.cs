namespace BnService.Api.Tests.OpenInference;

public sealed class ModelTests(Service service) : IClassFixture<Service>
{
    [Theory]
    [InlineData("""{"name":"batch","num_features":7}""", "[-1,7]")]
    [InlineData("""{"name":"renorm","kind":"batch_renorm","num_features":2}""", "[-1,2]")]
    [InlineData("""{"name":"group","kind":"group_norm","num_features":4,"num_groups":2}""", "[-1,4]")]
    [InlineData("""{"name":"instance","kind":"instance_norm","num_features":5}""", "[-1,5]")]
    [InlineData("""{"name":"layer","kind":"layer_norm","normalized_shape":[3,4]}""", "[-1,3,4]")]
    [InlineData("""{"name":"rms","kind":"rms_norm","normalized_shape":[6]}""", "[-1,6]")]
    [InlineData("""{"name":"A.b-c_9","num_features":1}""", "[-1,1]")]
    public async Task A_session_is_a_model(string options, string shape)
    {
        var model = await service.ModelAsync(options);
        var name = model.Session.Name;
        Assert.Equal(
            $$"""{"name":"{{name}}","versions":[],"platform":"bnservice","inputs":[{"name":"x","datatype":"FP32","shape":{{shape}}}],"outputs":[{"name":"y","datatype":"FP32","shape":{{shape}}}]}""",
            (await model.GetAsync()).Expect(200).Text);
        Assert.Equal($$"""{"name":"{{name}}","ready":true}""", (await model.GetAsync("/ready")).Expect(200).Text);
        Assert.Equal(
            $$"""{"name":"{{name}}","platform":"bnservice","max_batch_size":0,"input":[{"name":"x","data_type":"TYPE_FP32","dims":{{shape}}}],"output":[{"name":"y","data_type":"TYPE_FP32","dims":{{shape}}}]}""",
            (await model.GetAsync("/config")).Expect(200).Text);
    }

    [Fact]
    public async Task A_name_may_be_percent_encoded_and_a_query_may_follow()
    {
        await service.CreateAsync("""{"name":"enc-o.d_ed","num_features":2}""");
        foreach (var path in (string[])["/v2/models/%65nc%2Do%2Ed%5Fed", "/v2/models/enc-o.d_ed/?a=b&version=3", "/v2/models/enc%2do.d_ed/ready?x", "/v2/models/enc-o.d_ed/config?version=1"])
            Assert.Equal("enc-o.d_ed", (await service.Client.GetAsync(path)).Expect(200).Name);
        var answer = await service.Client.PostAsync("/v2/models/%65nc-o.d_ed/infer?priority=1&version=2",
            """{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}""");
        Assert.Equal("enc-o.d_ed", InferResult.Of(answer).Model);
    }

    [Fact]
    public async Task A_session_may_be_called_stats()
    {
        using var own = new Service();
        await own.CreateAsync("""{"name":"stats","num_features":2}""");
        Assert.True((await own.Client.GetAsync("/v2/models/stats")).Expect(200).Has("model_stats"));
        Assert.Equal("stats", (await own.Client.GetAsync("/v2/models/stats/ready")).Expect(200).Name);
        Assert.Equal("stats", (await own.Client.GetAsync("/v2/models/stats/stats")).Expect(200)["model_stats"][0].GetProperty("name").GetString());
    }

    [Fact]
    public async Task A_session_is_found_by_its_id_and_named_by_its_name()
    {
        var created = (await service.Client.PostAsync("/v1/sessions", """{"name":"by-id","num_features":2}""")).Expect(201);
        Assert.Equal("by-id", (await service.Client.GetAsync($"/v2/models/{created["id"].GetString()}")).Expect(200).Name);
    }

    [Theory]
    [InlineData("GET", "")]
    [InlineData("GET", "/ready")]
    [InlineData("GET", "/config")]
    [InlineData("GET", "/stats")]
    [InlineData("POST", "/infer")]
    public async Task A_version_that_was_never_frozen_is_not_there(string method, string call)
    {
        var model = await service.ModelAsync("""{"num_features":2}""");
        foreach (var version in (string[])["-1", "latest", "%20", "99999999999999999999"])
        {
            var answer = await service.Client.SendAsync(new HttpMethod(method), $"{model.Path}/versions/{version}{call}", null);
            answer.ExpectError(404, $"model '{model.Session.Name}' has no version '{Uri.UnescapeDataString(version)}'");
        }
        foreach (var version in (string[])["0", "1", "2"])
        {
            var answer = await service.Client.SendAsync(new HttpMethod(method), $"{model.Path}/versions/{version}{call}", null);
            answer.ExpectError(404, $"session '{model.Session.Name}' has no snapshot of version {version}");
        }
        (await service.Client.GetAsync("/v2/models/nosuch/versions/1")).ExpectError(404, "there is no model 'nosuch'");
    }

    [Fact]
    public async Task A_deleted_session_is_no_model_any_more()
    {
        var model = await service.ModelAsync("""{"num_features":2}""");
        (await model.Session.DeleteAsync()).Expect(204);
        (await model.GetAsync("/ready")).ExpectError(404);
        (await model.InferAsync("{}")).ExpectError(404);
    }
}
