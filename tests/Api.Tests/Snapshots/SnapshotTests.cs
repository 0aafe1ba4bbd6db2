using System.Text.Json;

namespace BnService.Api.Tests.Snapshots;

/// <summary>States that are frozen while training goes on: taking, reading, using, restoring and deleting them.</summary>
public sealed class SnapshotTests(Service service) : IClassFixture<Service>
{
    private static readonly Batch X = Batch.Random(1, 16, 3), Other = Batch.Random(2, 16, 3);

    private static readonly Dictionary<string, (string Options, int[] Shape)> Kinds = new()
    {
        ["batch_norm"] = ("""{"num_features":3,"activation":"relu"}""", [16, 3]),
        ["batch_norm, no statistics"] = ("""{"num_features":3,"track_running_stats":false}""", [16, 3]),
        ["batch_norm, no parameters"] = ("""{"num_features":3,"affine":false,"momentum":null}""", [16, 3]),
        ["batch_norm, per activation"] = ("""{"num_features":3,"granularity":"per_activation"}""", [8, 3, 4]),
        ["batch_renorm"] = ("""{"kind":"batch_renorm","num_features":3,"renorm":{"warmup_steps":0}}""", [16, 3]),
        ["layer_norm"] = ("""{"kind":"layer_norm","normalized_shape":[2,3]}""", [5, 2, 3]),
        ["rms_norm"] = ("""{"kind":"rms_norm","normalized_shape":[3]}""", [16, 3]),
        ["group_norm"] = ("""{"kind":"group_norm","num_features":4,"num_groups":2}""", [4, 4, 5]),
        ["instance_norm"] = ("""{"kind":"instance_norm","num_features":3}""", [4, 3, 5]),
        ["instance_norm, tracked"] = ("""{"kind":"instance_norm","num_features":3,"track_running_stats":true}""", [4, 3, 5]),
    };

    public static TheoryData<string> KindNames => new(Kinds.Keys);

    [Fact]
    public async Task The_whole_life_of_a_snapshot()
    {
        var session = await service.CreateAsync("""{"name":"alive","num_features":3}""");
        Assert.Equal("""{"snapshots":[]}""", (await session.SnapshotsAsync()).Expect(200).Text);
        (await session.TrainAsync(X)).Expect(200);
        var state = await session.GetStateAsync();

        var created = (await session.SnapshotAsync("""{"description":"before the change"}""")).Expect(201);
        Assert.Equal("/v1/sessions/alive/snapshots/2", created.Headers["Location"]);
        Assert.Equal((2, "\"2\""), (created.Version, created.ETag));
        Assert.Equal(["version", "created_at", "description", "num_batches_tracked"], created.Json.EnumerateObject().Select(member => member.Name));
        Assert.Equal(("before the change", 1), (created["description"].GetString(), created["num_batches_tracked"].GetInt64()));
        Assert.InRange(created["created_at"].GetDateTimeOffset(), DateTimeOffset.UtcNow.AddMinutes(-5), DateTimeOffset.UtcNow);

        // It is there already, and stays what it is.
        var same = (await session.SnapshotAsync("""{"description":"another"}""")).Expect(200);
        Assert.Equal((created.Text, false), (same.Text, same.Headers.ContainsKey("Location")));

        (await session.TrainAsync(Other)).Expect(200);
        Assert.Equal(JsonValueKind.Null, (await session.SnapshotAsync()).Expect(201)["description"].ValueKind);
        var list = (await session.SnapshotsAsync()).Expect(200);
        Assert.Equal([3, 2], list["snapshots"].EnumerateArray().Select(snapshot => snapshot.GetProperty("version").GetInt32()));
        Assert.Equal(created.Text, list["snapshots"][1].GetRawText());

        var details = (await session.GetSnapshotAsync(2)).Expect(200);
        Assert.Equal((2, "\"2\""), (details.Version, details.ETag));
        Assert.Equal(state.Text, details["state"].GetRawText());
        Assert.Equal(created["created_at"].GetRawText(), details["created_at"].GetRawText());

        (await session.DeleteSnapshotAsync(2)).Expect(204);
        (await session.DeleteSnapshotAsync(2)).ExpectProblem("version-not-found", "'alive'", "version 2");
        Assert.Equal([3], (await session.SnapshotsAsync())["snapshots"].EnumerateArray().Select(snapshot => snapshot.GetProperty("version").GetInt32()));
        Assert.Equal(3, (await session.GetAsync()).Version);
    }

    /// <summary>Bit by bit what the session answered when it was frozen, however it has been trained, changed and reset since.</summary>
    [Theory]
    [MemberData(nameof(KindNames))]
    public async Task A_snapshot_of_every_kind_stays_as_it_is(string kind)
    {
        var (options, shape) = Kinds[kind];
        var session = await service.CreateAsync(options);
        for (var seed = 10; seed < 13; seed++) (await session.TrainAsync(Batch.Random(seed, shape))).Expect(200);
        var x = Message.Of(Batch.Random(1, shape));
        var frozen = (await session.SnapshotAsync()).Expect(201).Version;
        var (details, state) = ((await session.GetSnapshotAsync(frozen)).Expect(200), (await session.GetStateAsync()).Expect(200));
        var answers = new Dictionary<string, Answer>();
        foreach (var form in Forms.All) answers[form] = (await session.PostAsync("inference", x, form)).Expect(200);

        for (var round = 0; round < 3; round++)
        {
            (await session.TrainAsync(Batch.Random(20 + round, shape))).Expect(200);
            if ((await session.StatsAsync())["gamma"] is { ValueKind: JsonValueKind.Array } gamma)
                (await session.PutParametersAsync($$"""{"gamma":[{{string.Join(',', Enumerable.Repeat(7 + round, gamma.GetArrayLength()))}}]}""")).Expect(200);
            if (round == 1) (await session.PatchAsync("""{"eps":0.5}""")).Expect(200);
            if (round == 2) (await session.ResetAsync("""{"parameters":true}""")).Expect(200);
            foreach (var form in Forms.All)
            {
                var pinned = (await session.PostAsync($"inference?version={frozen}", x, form)).Expect(200);
                Assert.Equal((answers[form].ETag, answers[form].ContentType), (pinned.ETag, pinned.ContentType));
                Assert.Equal(answers[form].Body, pinned.Body);
            }
            Assert.Equal(details.Text, (await session.GetSnapshotAsync(frozen)).Text);
            Assert.Equal(state.Text, (await session.SendAsync(HttpMethod.Get, $"state?version={frozen}", null)).Expect(200).Text);
        }
        var back = (await session.RestoreAsync(frozen)).Expect(200);
        Assert.Equal(answers[Forms.Npy].Body, (await session.PostAsync("inference", x, Forms.Npy)).Body);
        Assert.Equal(state.Text.Replace($"\"version\":{frozen}", $"\"version\":{back.Version}", StringComparison.Ordinal), back.Text);
    }

    /// <summary>An answer that is sent while its batch still arrives, and training meanwhile.</summary>
    [Theory]
    [InlineData(Forms.Safetensors)]
    [InlineData(Forms.Npy)]
    public async Task A_streamed_inference_pins_a_snapshot_while_training_goes_on(string form)
    {
        var session = await service.CreateAsync("""{"num_features":3,"activation":"relu"}""");
        (await session.TrainAsync(X)).Expect(200);
        (await session.SnapshotAsync()).Expect(201);
        var x = Message.Of(Batch.Random(3, 200_000, 3));
        var expected = (await session.PostAsync("inference", x, form)).Expect(200);
        using var isOver = new CancellationTokenSource();
        var training = Task.Run(async () =>
        {
            for (var seed = 0; !isOver.IsCancellationRequested; seed++) (await session.TrainAsync(Batch.Random(seed, 16, 3))).Expect(200);
        });
        for (var i = 0; i < 10; i++)
        {
            var pinned = (await session.PostAsync("inference?version=2", x, form)).Expect(200);
            Assert.Equal("\"2\"", pinned.ETag);
            Assert.Equal(expected.Body, pinned.Body);
        }
        await isOver.CancelAsync();
        await training;
        Assert.NotEqual(expected.Body, (await session.PostAsync("inference", x, form)).Body);
    }

    [Fact]
    public async Task Fold_and_state_use_the_version_that_is_asked_for()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        (await session.TrainAsync(X)).Expect(200);
        (await session.SnapshotAsync()).Expect(201);
        const string Layer = """{"layer":"linear","weight":[[1,2],[3,4],[5,6]]""";
        var (folded, state) = ((await session.FoldAsync(Layer + "}")).Expect(200), await StateFileAsync(session, ""));
        (await session.TrainAsync(Other)).Expect(200);
        Assert.NotEqual(folded.Text, (await session.FoldAsync(Layer + "}")).Expect(200).Text);
        Assert.Equal(folded.Text, (await session.FoldAsync(Layer + ",\"version\":2}")).Expect(200).Text);
        var file = new Message().With("layer", "linear").With("weight", new Batch([3, 2], [1, 2, 3, 4, 5, 6])).With("version", "2");
        SameAnswer.In(folded, (await session.PostAsync("fold", file, Forms.Safetensors)).Expect(200));
        Assert.Equal(state.Body, (await StateFileAsync(session, "?version=2")).Body);
        foreach (var bad in (string[])["0", "-1", "1.5", "\"two\"", "99999999999999999999"])
            (await session.RefusedAsync(s => s.FoldAsync($$"""{{Layer}},"version":{{bad}}}"""))).ExpectProblem("invalid-option", "version");
        (await session.FoldAsync(Layer + ",\"version\":7}")).ExpectProblem("version-not-found");
    }

    [Fact]
    public async Task A_restored_snapshot_is_the_newest_state_with_its_options_and_a_version_of_its_own()
    {
        var session = await service.CreateAsync("""{"num_features":3,"momentum":0.25}""");
        var (x, dy) = (Batch.Random(1, 16, 3), Batch.Random(2, 16, 3));
        (await session.TrainAsync(x)).Expect(200);
        (await session.BackwardAsync(x, dy, update: """{"optimizer":"adam","learning_rate":0.1}""")).Expect(200);
        (await session.CalibrateAsync(x)).Expect(200);
        var (resource, inferred) = (await session.GetAsync(), await session.InferAsync(x));
        var frozen = (await session.SnapshotAsync()).Expect(201).Version;
        var twin = await service.CreateAsync("""{"num_features":3,"momentum":0.25}""");
        (await twin.TrainAsync(x)).Expect(200);
        (await twin.BackwardAsync(x, dy, update: """{"optimizer":"adam","learning_rate":0.1}""")).Expect(200);
        (await twin.CalibrateAsync(x)).Expect(200);

        (await session.PatchAsync("""{"eps":0.5,"momentum":null,"mode":"frozen","labels":{"a":"b"}}""")).Expect(200);
        (await session.PatchAsync("""{"mode":"train"}""")).Expect(200);
        (await session.TrainAsync(Other)).Expect(200);
        (await session.BackwardAsync(x, dy, update: """{"optimizer":"sgd"}""")).Expect(200);
        (await session.DropCalibrationAsync()).Expect(204);
        var before = (await session.GetAsync()).Version;

        (await session.RefusedAsync(s => s.RestoreAsync(frozen, ("If-Match", $"\"{frozen}\"")))).ExpectProblem("version-conflict");
        var restored = (await session.RestoreAsync(frozen, ("If-Match", $"\"{before}\""))).Expect(200);
        Assert.Equal((before + 1, $"\"{before + 1}\""), (restored.Version, restored.ETag));
        var now = await session.GetAsync();
        Assert.Equal((before + 1, 0.25, 1e-5), (now.Version, now["momentum"].GetDouble(), now["eps"].GetDouble()));
        Assert.Equal(resource["num_batches_tracked"].GetInt64(), now["num_batches_tracked"].GetInt64());
        Assert.Equal(inferred.Tensor("y").Data, (await session.InferAsync(x)).Tensor("y").Data);

        // With all that is behind the numbers: optimizer, what was gathered, what the next step starts from.
        foreach (var one in (SessionClient[])[session, twin])
        {
            (await one.TrainAsync(Other)).Expect(200);
            (await one.BackwardAsync(x, dy, update: """{"optimizer":"adam","learning_rate":0.1}""")).Expect(200);
        }
        foreach (var field in (string[])["running_mean", "running_var", "gamma", "beta"]) Assert.Equal((await twin.StatsAsync()).Numbers(field), (await session.StatsAsync()).Numbers(field));
        Assert.Equal((await twin.CommitAsync()).Expect(200).Numbers("running_var"), (await session.CommitAsync()).Expect(200).Numbers("running_var"));
        // The snapshot is still there, and can be restored once more.
        Assert.True((await session.RestoreAsync(frozen)).Expect(200).Version > before + 1);
    }

    [Theory]
    [InlineData("0")]
    [InlineData("-1")]
    [InlineData("abc")]
    [InlineData("1e3")]
    [InlineData("1.0")]
    [InlineData("+1")]
    [InlineData("%201")]
    [InlineData("0x1")]
    [InlineData("99999999999999999999")]
    public async Task What_is_no_version_is_refused_everywhere(string version)
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        (await session.SnapshotAsync()).Expect(201);
        foreach (var call in Calls(version)) (await session.RefusedAsync(call)).ExpectProblem("invalid-option", "version must be a whole number of 1 or more");
        (await session.RefusedAsync(s => s.InferAsync(X, ""))).ExpectProblem("invalid-option", "version");
    }

    [Theory]
    [InlineData("2")]
    [InlineData("1000000")]
    [InlineData("9223372036854775807")]
    public async Task A_version_that_was_never_frozen_is_not_found_anywhere(string version)
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        (await session.SnapshotAsync()).Expect(201);
        (await session.TrainAsync(X)).Expect(200); // version 2 was, and nobody froze it
        foreach (var call in Calls(version)) (await session.RefusedAsync(call)).ExpectProblem("version-not-found", session.Name, $"version {version}");
    }

    [Fact]
    public async Task A_deleted_snapshot_is_not_found_anywhere()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        (await session.SnapshotAsync()).Expect(201);
        (await session.InferAsync(X, 1)).Expect(200);
        (await session.DeleteSnapshotAsync(1)).Expect(204);
        foreach (var call in Calls("1")) (await session.RefusedAsync(call)).ExpectProblem("version-not-found");
        // The state is still the newest one, and can be frozen again.
        Assert.Equal(1, (await session.SnapshotAsync("""{"description":"again"}""")).Expect(201).Version);
        Assert.Equal("again", (await session.GetSnapshotAsync(1)).Expect(200)["description"].GetString());
        (await session.InferAsync(X, 1)).Expect(200);
    }

    [Fact]
    public async Task Without_the_session_there_is_no_snapshot()
    {
        var session = await service.CreateAsync("""{"name":"with-snapshots","num_features":3}""");
        (await session.SnapshotAsync()).Expect(201);
        (await session.InferAsync(X, 1)).Expect(200);
        (await session.DeleteAsync()).Expect(204);
        foreach (var call in Calls("1").Append(s => s.SnapshotAsync()).Append(s => s.SnapshotsAsync())) (await call(session)).ExpectProblem("session-not-found");
        await service.CreateAsync("""{"name":"with-snapshots","num_features":3}""");
        foreach (var call in Calls("1")) (await call(session)).ExpectProblem("version-not-found");
    }

    private static async Task<Answer> StateFileAsync(SessionClient session, string query) =>
        (await session.SendAsync(HttpMethod.Get, $"state{query}", null, ("Accept", Forms.Safetensors))).Expect(200);

    private static IEnumerable<Func<SessionClient, Task<Answer>>> Calls(string version) =>
    [
        session => session.GetSnapshotAsync(version),
        session => session.DeleteSnapshotAsync(version),
        session => session.RestoreAsync(version),
        session => session.InferAsync(X, version),
        session => session.PostAsync($"inference?version={version}", Message.Of(Batch.Random(1, 100_000, 3)), Forms.Safetensors),
        session => session.PostAsync($"inference?version={version}", Message.Of(X), Forms.Npy),
        session => session.SendAsync(HttpMethod.Get, $"state?version={version}", null),
    ];
}
