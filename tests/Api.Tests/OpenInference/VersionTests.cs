using System.Globalization;
using System.Text.Json;

namespace BnService.Api.Tests.OpenInference;

/// <summary>A snapshot is a version of the model.</summary>
public sealed class VersionTests(Service service) : IClassFixture<Service>
{
    private static readonly Batch X = Batch.Random(1, 8, 3);

    [Fact]
    public async Task A_version_is_a_model_like_the_live_one()
    {
        var model = await service.ModelAsync("""{"name":"versioned","num_features":3}""");
        foreach (var _ in (int[])[1, 2, 3])
        {
            (await model.Session.SnapshotAsync()).Expect(201);
            (await model.Session.TrainAsync(X)).Expect(200);
        }
        const string Metadata = """{"name":"versioned","versions":["1","2","3"],"platform":"bnservice","inputs":[{"name":"x","datatype":"FP32","shape":[-1,3]}],"outputs":[{"name":"y","datatype":"FP32","shape":[-1,3]}]}""";
        foreach (var path in (string[])["", "/versions/1", "/versions/3"]) Assert.Equal(Metadata, (await model.GetAsync(path)).Expect(200).Text);
        Assert.Equal("""{"name":"versioned","ready":true}""", (await model.GetAsync("/versions/2/ready")).Expect(200).Text);
        Assert.Equal((await model.GetAsync("/config")).Text, (await model.GetAsync("/versions/2/config")).Expect(200).Text);
        (await model.Session.DeleteSnapshotAsync(2)).Expect(204);
        Assert.Equal(["1", "3"], (await model.GetAsync())["versions"].EnumerateArray().Select(version => version.GetString()));
        foreach (var path in (string[])["", "/ready", "/config", "/stats"]) (await model.GetAsync("/versions/2" + path)).ExpectError(404, "version 2");
    }

    /// <summary>Numbers are in their order, and not in that of their digits.</summary>
    [Fact]
    public async Task Versions_are_listed_as_numbers()
    {
        var model = await service.ModelAsync("""{"num_features":3}""");
        for (var version = 1; version <= 12; version++)
        {
            if (version is 2 or 9 or 10 or 12) (await model.Session.SnapshotAsync()).Expect(201);
            (await model.Session.TrainAsync(X)).Expect(200);
        }
        Assert.Equal(["2", "9", "10", "12"], (await model.GetAsync())["versions"].EnumerateArray().Select(version => version.GetString()));
    }

    [Fact]
    public async Task Infer_uses_the_version_and_names_it_in_either_form()
    {
        var model = await service.TrainedModelAsync();
        (await model.Session.SnapshotAsync()).Expect(201);
        var request = ModelClient.Request(ModelClient.Input(X));
        var live = InferResult.Of(await model.InferAsync(request));
        Assert.False(live.Json.TryGetProperty("model_version", out _));
        (await model.Session.TrainAsync(Batch.Random(7, 8, 3))).Expect(200);
        var json = (await InferAsync(model, "2", request, [])).Expect(200);
        Assert.Equal("2", json["model_version"].GetString());
        Assert.Equal(["model_name", "model_version", "outputs"], json.Json.EnumerateObject().Select(member => member.Name));
        Assert.Equal(live.Json.GetProperty("outputs").GetRawText(), json["outputs"].GetRawText());
        Assert.NotEqual(live.Singles, InferResult.Of(await model.InferAsync(request)).Singles);

        // Small enough to be answered at once, and large enough to be answered while it arrives.
        foreach (var rows in (int[])[8, 200_000])
        {
            var x = Batch.Random(3, rows, 3);
            var bytes = TensorBytes.Write("FP32", x.Data);
            var header = ModelClient.Request(ModelClient.BinaryInput(x.Shape, "FP32", bytes.Length), """ "id":"7","parameters":{"binary_data_output":true}, """);
            var pinned = (await InferAsync(model, "2", header, bytes)).Expect(200);
            var length = int.Parse(pinned.Headers[ModelClient.LengthHeader], CultureInfo.InvariantCulture);
            using var said = JsonDocument.Parse(pinned.Body.AsMemory(0, length));
            Assert.Equal(("2", "7"), (said.RootElement.GetProperty("model_version").GetString(), said.RootElement.GetProperty("id").GetString()));
            var expected = (await model.Session.PostAsync("inference?version=2", Message.Of(x), Forms.Npy)).Expect(200).Array.Data;
            Assert.Equal(Elements.Bits(expected), Elements.Bits(TensorBytes.Read("FP32", pinned.Body[length..]).Select(value => (float)value).ToArray()));
        }
    }

    [Fact]
    public async Task The_statistics_of_each_version_are_its_own()
    {
        using var own = new Service();
        var model = await own.TrainedModelAsync();
        (await model.Session.SnapshotAsync()).Expect(201);
        var request = ModelClient.Request(ModelClient.Input(X));
        for (var i = 0; i < 3; i++) (await InferAsync(model, "2", request, [])).Expect(200);
        (await InferAsync(model, "2", "{}", [])).ExpectError(400);
        (await model.InferAsync(request)).Expect(200);
        JsonElement Of(Answer answer, string version) => answer["model_stats"].EnumerateArray().Single(entry => entry.GetProperty("version").GetString() == version);
        var pinned = Of((await model.GetAsync("/versions/2/stats")).Expect(200), "2");
        Assert.Equal((3, 24), (pinned.GetProperty("execution_count").GetInt32(), pinned.GetProperty("inference_count").GetInt32()));
        Assert.Equal(1, pinned.GetProperty("inference_stats").GetProperty("fail").GetProperty("count").GetInt32());
        var all = (await own.Client.GetAsync("/v2/models/stats")).Expect(200);
        Assert.Equal(["", "2"], all["model_stats"].EnumerateArray().Select(entry => entry.GetProperty("version").GetString()));
        Assert.Equal(pinned.GetRawText(), Of(all, "2").GetRawText());
        Assert.Equal(1, Of(all, "").GetProperty("execution_count").GetInt32());
        // One that is deleted and frozen anew begins anew.
        (await model.Session.DeleteSnapshotAsync(2)).Expect(204);
        Assert.Single((await own.Client.GetAsync("/v2/models/stats"))["model_stats"].EnumerateArray());
        (await model.Session.SnapshotAsync()).Expect(201);
        Assert.Equal(0, Of((await model.GetAsync("/versions/2/stats")).Expect(200), "2").GetProperty("execution_count").GetInt32());
    }

    [Fact]
    public async Task The_index_lists_every_version_behind_its_model()
    {
        using var own = new Service();
        foreach (var name in (string[])["a", "b", "c"])
        {
            var session = await own.CreateAsync($$"""{"name":"{{name}}","num_features":3}""");
            if (name == "b") continue;
            for (var i = 0; i < 2; i++)
            {
                (await session.SnapshotAsync()).Expect(201);
                (await session.TrainAsync(X)).Expect(200);
            }
        }
        var index = (await own.Client.PostAsync("/v2/repository/index", null)).Expect(200);
        Assert.Equal(["c/", "c/2", "c/1", "b/", "a/", "a/2", "a/1"],
            index.Json.EnumerateArray().Select(entry => $"{entry.GetProperty("name").GetString()}/{entry.GetProperty("version").GetString()}"));
        Assert.All(index.Json.EnumerateArray(), entry => Assert.Equal("READY", entry.GetProperty("state").GetString()));
    }

    /// <summary>A version has one name: what else may be read as its number is counted, and answered, under that.</summary>
    [Fact]
    public async Task A_number_with_zeros_before_it_is_the_number()
    {
        var model = await service.TrainedModelAsync();
        (await model.Session.SnapshotAsync()).Expect(201);
        Assert.Equal("2", (await InferAsync(model, "002", ModelClient.Request(ModelClient.Input(X)), [])).Expect(200)["model_version"].GetString());
        Assert.Equal("2", (await model.GetAsync("/versions/02/stats")).Expect(200)["model_stats"][0].GetProperty("version").GetString());
    }

    private static Task<Answer> InferAsync(ModelClient model, string version, string json, byte[] tensor) =>
        tensor.Length == 0 ? model.OfVersion(version).InferAsync(json) : model.OfVersion(version).InferAsync(json, tensor);
}
