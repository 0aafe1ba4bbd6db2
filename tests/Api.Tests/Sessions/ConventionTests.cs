using System.Text.Json;

namespace BnService.Api.Tests.Sessions;

/// <summary>Sessions whose options are sent in a framework's convention; the numbers are written out by hand.</summary>
public sealed class ConventionTests(Service service) : IClassFixture<Service>
{
    [Theory]
    [InlineData("pytorch", "0.1", "1e-5", "true", "[]")]
    [InlineData("keras", "0.01", "1e-3", "false", """["momentum:0.01","eps:0.001","unbiased_running_var:false","channel_axis:-1"]""")]
    [InlineData("flax", "0.01", "1e-5", "false", """["momentum:0.01","unbiased_running_var:false","channel_axis:-1"]""")]
    [InlineData("onnx", "0.1", "1e-5", "false", """["momentum:0.1","unbiased_running_var:false"]""")]
    [InlineData("caffe", "0.001", "1e-5", "true", """["momentum:0.001","affine:false","zero_debias:true"]""")]
    [InlineData("paper", "null", "1e-5", "true", """["momentum:"]""")]
    public async Task Each_framework_sets_its_defaults_and_says_so(string convention, string momentum, string eps, string isUnbiased, string converted)
    {
        var answer = (await service.Client.PostAsync("/v1/sessions", $$"""{"num_features":2,"convention":"{{convention}}"}""")).Expect(201);
        Is(momentum, answer["momentum"]);
        Is(eps, answer["eps"]);
        Is(isUnbiased, answer["unbiased_running_var"]);
        Assert.Equal(convention, answer["convention"].GetProperty("name").GetString());
        var options = answer["convention"].GetProperty("converted").EnumerateArray().ToList();
        Assert.Equal(JsonSerializer.Deserialize<string[]>(converted), options.Select(option => $"{option.GetProperty("option")}:{option.GetProperty("stored")}".ToLowerInvariant()));
        Assert.All(options, option => Assert.Equal(JsonValueKind.Null, option.GetProperty("sent").ValueKind));
        Assert.All(options, option => Assert.False(string.IsNullOrEmpty(option.GetProperty("detail").GetString())));
        // Kept, not only answered.
        Assert.Equal(answer.Text, (await service.Client.GetAsync(answer.Headers["Location"])).Text);
    }

    [Theory]
    [InlineData("pytorch", "0.99", "0.99")]
    [InlineData("paper", "0.99", "0.99")]
    [InlineData("keras", "0.99", "0.01")]
    [InlineData("keras", "0.9", "0.1")]
    [InlineData("flax", "0.999", "0.001")]
    [InlineData("onnx", "0.7", "0.3")]
    [InlineData("caffe", "0.95", "0.05")]
    [InlineData("keras", "0", "1")]
    [InlineData("keras", "1", "0")]
    [InlineData("keras", "null", "null")]
    [InlineData("pytorch", "null", "null")]
    public async Task A_momentum_is_read_as_the_framework_means_it(string convention, string sent, string stored)
    {
        var answer = (await service.Client.PostAsync("/v1/sessions", $$"""{"num_features":2,"convention":"{{convention}}","momentum":{{sent}}}""")).Expect(201);
        Is(stored, answer["momentum"]);
        var conversion = answer["convention"].GetProperty("converted").EnumerateArray().Where(option => option.GetProperty("option").GetString() == "momentum").ToList();
        if (convention is "pytorch" or "paper" || sent == "null")
        {
            Assert.Empty(conversion);
            return;
        }
        Is(sent, conversion.Single().GetProperty("sent"));
        Is(stored, conversion.Single().GetProperty("stored"));
    }

    [Fact]
    public async Task What_is_sent_wins_over_the_conventions_defaults()
    {
        var answer = (await service.Client.PostAsync("/v1/sessions",
            """{"num_features":2,"convention":"keras","momentum":0.75,"eps":1e-7,"unbiased_running_var":true,"channel_axis":1}""")).Expect(201);
        Is("0.25", answer["momentum"]);
        Is("1e-7", answer["eps"]);
        Is("true", answer["unbiased_running_var"]);
        Is("""[{"option":"momentum","sent":0.75,"stored":0.25}]""", answer["convention"].GetProperty("converted"), without: "detail");
    }

    [Fact]
    public async Task A_step_moves_the_statistics_as_the_framework_would()
    {
        var session = await service.CreateAsync("""{"num_features":1,"convention":"keras","momentum":0.75}""");
        (await session.TrainAsync(new Batch([2, 1], [1, 5]))).Expect(200); // mean 3, M2 8
        var stats = await session.StatsAsync();
        stats.ExpectNumbers("running_mean", 0.75); // 0.75·0 + 0.25·3
        stats.ExpectNumbers("running_var", 1.75); // 0.75·1 + 0.25·8/2
    }

    [Theory]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[2],"convention":"keras"}""", "1e-3")]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[2],"convention":"flax"}""", "1e-6")]
    [InlineData("""{"kind":"rms_norm","normalized_shape":[2],"convention":"flax"}""", "1e-6")]
    [InlineData("""{"kind":"group_norm","num_features":2,"num_groups":1,"convention":"flax"}""", "1e-6")]
    [InlineData("""{"kind":"instance_norm","num_features":2,"convention":"keras"}""", "1e-3")]
    [InlineData("""{"kind":"group_norm","num_features":2,"num_groups":1,"convention":"pytorch"}""", "1e-5")]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[2],"convention":"keras","eps":0.5}""", "0.5")]
    [InlineData("""{"kind":"batch_renorm","num_features":2,"convention":"keras"}""", "1e-3")]
    [InlineData("""{"kind":"rms_norm","normalized_shape":[2],"convention":"keras"}""", "1e-6")]
    [InlineData("""{"kind":"rms_norm","normalized_shape":[2],"convention":"pytorch"}""", "1.1920928955078125e-7")]
    [InlineData("""{"kind":"rms_norm","normalized_shape":[2],"convention":"pytorch","precision":"float64"}""", "2.220446049250313e-16")]
    [InlineData("""{"kind":"rms_norm","normalized_shape":[2],"convention":"onnx"}""", "1e-5")]
    [InlineData("""{"kind":"rms_norm","normalized_shape":[2]}""", "1e-5")]
    public async Task The_other_kinds_take_their_eps_from_it(string options, string eps) =>
        Is(eps, (await service.Client.PostAsync("/v1/sessions", options)).Expect(201)["eps"]);

    /// <summary>x / √(mean(x²) + eps) with mean(x²) = 2.5e-6, in a session and without one, in every form that can name a convention.</summary>
    [Theory]
    [InlineData("keras", 0.5345225)] // eps 1e-6
    [InlineData("flax", 0.5345225)]
    [InlineData("pytorch", 0.6178944)] // eps 2^-23
    [InlineData("onnx", 0.2828427)] // eps 1e-5
    public async Task Small_rows_are_normalized_with_the_frameworks_eps(string convention, double y)
    {
        var options = $$"""{"kind":"rms_norm","normalized_shape":[2],"convention":"{{convention}}""";
        var once = (await service.Client.PostAsync("/v1/normalize", $$"""{{options}}","x":[[0.001,0.002]]}""")).Expect(200);
        Near(y, once.Tensor("y").Data[0]);
        var session = await service.CreateAsync($$"""{{options}}"}""");
        Near(y, (await session.InferAsync("""{"x":[[0.001,0.002]]}""")).Expect(200).Tensor("y").Data[0]);
        var imported = new SessionClient(service.Client, $"convention-{Guid.NewGuid():N}");
        var state = $$$"""{"weight":[1,1],"convention":"{{{convention}}}","options":{"kind":"rms_norm"}}""";
        (await service.Client.PutAsync($"{imported.Path}/state", state)).Expect(201);
        Near(y, (await imported.InferAsync("""{"x":[[0.001,0.002]]}""")).Expect(200).Tensor("y").Data[0]);
        var npy = await service.Client.PostAsync($"/v1/normalize?kind=rms_norm&normalized_shape=[2]&convention={convention}", Forms.Npy,
            ArrayFile.Of(new Batch([1, 2], [0.001f, 0.002f])), ("Accept", Forms.Json));
        Near(y, npy.Expect(200).Tensor("y").Data[0]);
    }

    [Theory]
    [InlineData("keras", "")]
    [InlineData("flax", "")]
    [InlineData("keras", ",\"channel_axis\":1")]
    [InlineData("pytorch", "")]
    public async Task Channels_are_where_the_framework_has_them(string convention, string options)
    {
        var axis = convention == "pytorch" || options.Length > 0 ? 1 : -1;
        var x = Batch.Random(7, 4, 3, 5, 3);
        foreach (var kind in (string[])["\"kind\":\"batch_norm\"", "\"kind\":\"instance_norm\"", "\"kind\":\"group_norm\",\"num_groups\":3"])
        {
            var named = "{" + kind + $",\"convention\":\"{convention}\"{options}";
            var eps = convention == "keras" ? "1e-3" : convention == "flax" && !kind.Contains("batch", StringComparison.Ordinal) ? "1e-6" : "1e-5";
            var plain = "{" + kind + $",\"eps\":{eps},\"channel_axis\":{axis}";
            var expected = (await service.Client.PostAsync("/v1/normalize", plain + $",\"x\":{x.Json}}}")).Expect(200);
            var actual = (await service.Client.PostAsync("/v1/normalize", named + $",\"x\":{x.Json}}}")).Expect(200);
            Assert.Equal(expected.Tensor("y").Data, actual.Tensor("y").Data);
            Assert.Equal(axis == -1, Converted(actual).Contains("channel_axis"));
            var session = await service.CreateAsync(named + ",\"num_features\":3}");
            Is($"{axis}", (await session.GetAsync())["channel_axis"]);
            Assert.Equal(axis == -1, Converted(await session.GetAsync()).Contains("channel_axis"));
            Assert.Equal(expected.Tensor("y").Data, (await session.TrainAsync(x)).Expect(200).Tensor("y").Data);
        }
    }

    [Fact]
    public async Task Gamma_and_beta_are_there_where_the_framework_has_them()
    {
        const string Instance = """{"kind":"instance_norm","num_features":2,"convention":"pytorch"}""";
        var session = await service.CreateAsync(Instance);
        Is("false", (await session.GetAsync())["affine"]);
        Is("false", (await session.GetAsync())["track_running_stats"]);
        Assert.Equal(JsonValueKind.Null, (await session.StatsAsync())["gamma"].ValueKind);
        var affine = Instance.Replace("}", ",\"affine\":true}", StringComparison.Ordinal);
        Is("true", (await service.Client.PostAsync("/v1/sessions", affine)).Expect(201)["affine"]);
        // Parameters that come along are there.
        var once = (await service.Client.PostAsync("/v1/normalize",
            """{"kind":"instance_norm","convention":"pytorch","gamma":[2],"x":[[[1,3]]],"eps":0}""")).Expect(200);
        Assert.Equal([-2, 2], once.Tensor("y").Data.Select(value => Math.Round(value, 6)));
    }

    [Theory]
    [InlineData("""{"num_features":2}""")]
    [InlineData("""{"num_features":2,"convention":null}""")]
    public async Task Without_a_convention_there_is_none(string options)
    {
        var answer = (await service.Client.PostAsync("/v1/sessions", options)).Expect(201);
        Assert.Equal(JsonValueKind.Null, answer["convention"].ValueKind);
        Is("0.1", answer["momentum"]);
    }

    [Fact]
    public async Task A_patch_is_in_our_terms_and_leaves_the_record_of_what_was_converted()
    {
        var session = await service.CreateAsync("""{"num_features":2,"convention":"keras"}""");
        var before = await session.GetAsync();
        var answer = (await session.PatchAsync("""{"momentum":0.25}""")).Expect(200);
        Is("0.25", answer["momentum"]);
        Assert.True(JsonElement.DeepEquals(before["convention"], answer["convention"]));
    }

    [Theory]
    [InlineData("""{"num_features":2,"convention":"torch"}""", "convention must be one of \"pytorch\", \"keras\", \"flax\", \"onnx\", \"caffe\", \"paper\", got \"torch\"")]
    [InlineData("""{"num_features":2,"convention":1}""", "convention must be one of")]
    [InlineData("""{"num_features":2,"convention":{"name":"keras"}}""", "convention must be one of")]
    [InlineData("""{"num_features":2,"convention":"keras","momentum":1.5}""", "momentum must be a number from 0 to 1 (with convention keras the weight of the old statistics), or null for the average over all batches, got 1.5")]
    [InlineData("""{"num_features":2,"convention":"keras","momentum":"NaN"}""", "momentum must be a number from 0 to 1")]
    [InlineData("""{"num_features":2,"convention":"keras","eps":-1}""", "eps must be a finite number of 0 or more, got -1")]
    [InlineData("""{"kind":"layer_norm","normalized_shape":[2],"convention":"keras","momentum":0.9}""", "momentum is not an option of layer_norm")]
    public async Task What_is_no_convention_or_no_momentum_is_refused(string options, string detail) =>
        (await service.Client.PostAsync("/v1/sessions", options)).ExpectProblem("invalid-option", detail);

    private static string[] Converted(Answer answer) =>
        [.. answer["convention"].GetProperty("converted").EnumerateArray().Select(option => option.GetProperty("option").GetString()!)];

    private static void Near(double expected, double actual) => Assert.Equal(expected, actual, 1e-6);

    private static void Is(string expected, JsonElement actual, string? without = null)
    {
        using var document = JsonDocument.Parse(expected);
        var text = without is null ? actual.GetRawText() : JsonSerializer.Serialize(
            actual.EnumerateArray().Select(item => item.EnumerateObject().Where(field => field.Name != without).ToDictionary(field => field.Name, field => field.Value)));
        using var compared = JsonDocument.Parse(text);
        Assert.True(JsonElement.DeepEquals(document.RootElement, compared.RootElement), $"{text} is not {expected}");
    }
}
