using System.Globalization;
using System.Text;
using System.Text.Json.Nodes;

namespace BnService.EndToEnd.Endurance;

/// <summary>One who trains a session of his own with all calls there are, right and wrong ones, and knows at any time how far it has come.</summary>
internal sealed class TrainingClient
{
    private const int Features = 16;

    // A key may send 100 requests per second, and some acts are several.
    private static readonly TimeSpan Pace = TimeSpan.FromMilliseconds(20);

    private readonly Client _client;
    private readonly Random _random;
    private readonly string _session;
    private readonly (int Weight, Func<Task> Act)[] _acts;
    private (string Id, Batch X)? _step;
    private (long Version, long Tracked)? _frozen;
    private long _tracked, _number;
    private int _mistakes, _syncs;

    public TrainingClient(Client client, string session, int seed)
    {
        (_client, _session, _random) = (client, session, new Random(seed));
        _acts =
        [
            (10, () => TrainAsync(Forms.Json)), (6, () => TrainAsync(Forms.Npy)), (6, () => TrainAsync(Forms.Safetensors)), (6, BackwardAsync), (3, BackwardThroughXAsync),
            (8, InferAsync), (1, InferMuchAsync), (6, InferOpenlyAsync), (6, ReadAsync), (2, FreezeAsync), (2, CalibrateAsync), (3, CreateAndDeleteAsync),
            (4, RepeatAsync), (3, ConflictAsync), (2, NormalizeAsync), (1, SynchronizeAsync), (6, SendBadAsync), (7, MistakeAsync),
        ];
    }

    private string Path(Call call, params string[] more) => call.Path([_session, .. more]);

    /// <summary>Creates the session.</summary>
    public Task CreateAsync() => _client.SendAsync(Call.Create, "/v1/sessions", 201, $$"""{"name":"{{_session}}","num_features":{{Features}}}""");

    /// <summary>One thing after the other, each at least as often as its weight, until there is to be no more.</summary>
    public async Task RunAsync(Func<bool> isOver)
    {
        var weights = _acts.Sum(act => act.Weight);
        for (var number = 0; number < weights || !isOver(); number++)
        {
            var left = number < weights ? number : _random.Next(weights);
            await _acts.First(act => (left -= act.Weight) < 0).Act();
            await Task.Delay(Pace);
        }
    }

    /// <summary>Leaves the session as it was in the beginning, and makes sure that it has come as far as was answered.</summary>
    public async Task EndAsync()
    {
        var session = await _client.SendAsync(Call.Get, Path(Call.Get), 200);
        Assert.Equal(_tracked, session["num_batches_tracked"].GetInt64());
        if (_frozen is { } frozen) await _client.SendAsync(Call.DeleteSnapshot, Path(Call.DeleteSnapshot, Text(frozen.Version)), 204);
        _frozen = null;
        await _client.SendAsync(Call.DropCalibration, Path(Call.DropCalibration), 204);
    }

    private Batch NextBatch() => Batch.Random(_random.Next(), 4 + _random.Next(12), Features);

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

    private async Task TrainAsync(string form)
    {
        var (x, isRetained) = (NextBatch(), _random.Next(3) == 0);
        var message = Message.Of(x).With("retain", isRetained ? "true" : "false");
        var answer = await _client.SendAsync(Call.TrainStep, Path(Call.TrainStep) + message.Query(form), (form, message.Body(form)), [200]);
        Count(x);
        Assert.Equal(Text(_tracked), form switch
        {
            Forms.Json => answer["num_batches_tracked"].GetRawText(),
            Forms.Npy => answer.Headers["Bn-Num-Batches-Tracked"],
            _ => answer.Tensors.Texts["num_batches_tracked"],
        });
        if (isRetained && form == Forms.Json) _step = (answer.StepId!, x);
    }

    private void Count(Batch x, bool isReplayed = false)
    {
        _client.Tally.Passed("normalize", x.Data.Length, isCertain: true);
        if (isReplayed) return;
        _tracked++;
        _client.Tally.Stepped(_session);
    }

    // Its activations may have made room for others.
    private async Task BackwardAsync()
    {
        if (_step is not { } step) return;
        var answer = await SendAsync(Call.Backward, $$"""{"step_id":"{{step.Id}}","dy":{{step.X.Json}}}""", [200, 410]);
        _client.Tally.Passed("gradients", step.X.Data.Length, answer.Status == 200);
        if (answer.Status == 410) _step = null;
    }

    private async Task BackwardThroughXAsync()
    {
        var x = NextBatch();
        await SendAsync(Call.Backward, $$"""{"x":{{x.Json}},"dy":{{x.Json}},"update":{"optimizer":"adam","learning_rate":0.0001} }""", [200]);
        _client.Tally.Passed("gradients", x.Data.Length, isCertain: true);
        // The statistics of the batch may be taken by a pass that normalizes as well.
        _client.Tally.Passed("normalize", x.Data.Length, isCertain: false);
    }

    private async Task InferAsync()
    {
        var (x, form) = (NextBatch(), _random.Next(2) == 0 ? Forms.Json : Forms.Npy);
        var query = _frozen is { } frozen && _random.Next(3) == 0 ? $"?version={frozen.Version}" : "";
        await _client.SendAsync(Call.Inference, Path(Call.Inference) + query, (form, Message.Of(x).Body(form)), [200]);
        _client.Tally.Passed("normalize", x.Data.Length, isCertain: true);
    }

    // So much that its answer begins before its end has come.
    private async Task InferMuchAsync()
    {
        var x = Batch.Random(_random.Next(), 1000 + _random.Next(20_000), Features);
        var answer = await _client.SendAsync(Call.Inference, Path(Call.Inference), (Forms.Npy, ArrayFile.Of(x)), [200]);
        _client.Tally.Passed("normalize", x.Data.Length, answer.Status == 200);
    }

    private async Task InferOpenlyAsync()
    {
        var x = NextBatch();
        var json = _random.Next(4) > 0 ? ModelClient.Request(ModelClient.Input(x)) : "{\"inputs\":[]}";
        var answer = await _client.SendAsync(Call.Infer, Path(Call.Infer), (Forms.Json, Encoding.UTF8.GetBytes(json)), json.Length > 13 ? [200] : [400]);
        if (answer.Status == 200) _client.Tally.Passed("normalize", x.Data.Length, isCertain: true);
    }

    private Task ReadAsync() => _random.Next(8) switch
    {
        0 => _client.SendAsync(Call.Get, Path(Call.Get), 200),
        1 => _client.SendAsync(Call.Stats, Path(Call.Stats), 200),
        2 => _client.SendAsync(Call.History, Path(Call.History) + "?limit=20", 200),
        3 => _client.SendAsync(Call.Diagnostics, Path(Call.Diagnostics), 200),
        4 => _client.SendAsync(Call.State, Path(Call.State), 200),
        5 => _client.SendAsync(Call.List, "/v1/sessions?limit=5", 200),
        6 => _client.SendAsync(Call.Model, Path(Call.Model), 200),
        _ => _client.SendAsync(Call.Snapshots, Path(Call.Snapshots), 200),
    };

    private async Task FreezeAsync()
    {
        if (_frozen is not { } frozen)
        {
            var made = await _client.SendAsync(Call.Snapshot, Path(Call.Snapshot), null, [200, 201]);
            _frozen = (made.Version, _tracked);
            return;
        }
        await _client.SendAsync(Call.GetSnapshot, Path(Call.GetSnapshot, Text(frozen.Version)), 200);
        if (_random.Next(2) == 0)
        {
            await _client.SendAsync(Call.Restore, Path(Call.Restore, Text(frozen.Version)), 200);
            _tracked = frozen.Tracked;
        }
        await _client.SendAsync(Call.DeleteSnapshot, Path(Call.DeleteSnapshot, Text(frozen.Version)), 204);
        _frozen = null;
    }

    private async Task CalibrateAsync()
    {
        for (var i = 0; i < 2; i++) await SendAsync(Call.Calibrate, $$"""{"x":{{NextBatch().Json}}}""", [200]);
        if (_random.Next(2) == 0)
        {
            await _client.SendAsync(Call.DropCalibration, Path(Call.DropCalibration), 204);
            return;
        }
        await _client.SendAsync(Call.Commit, Path(Call.Commit), 200);
        _tracked = (await _client.SendAsync(Call.Get, Path(Call.Get), 200))["num_batches_tracked"].GetInt64();
    }

    private async Task CreateAndDeleteAsync()
    {
        var name = $"{_session}.{_number++}";
        await _client.SendAsync(Call.Create, "/v1/sessions", 201, $$"""{"name":"{{name}}","kind":"layer_norm","normalized_shape":[4]}""");
        await _client.SendAsync(Call.Create, "/v1/sessions", 409, $$"""{"name":"{{name}}","num_features":4}""");
        await _client.SendAsync(Call.Inference, Call.Inference.Path(name), 200, """{"x":[[1,2,3,4]]}""");
        _client.Tally.Passed("normalize", 4, isCertain: true);
        await _client.SendAsync(Call.Delete, Call.Delete.Path(name), 204);
        await _client.SendAsync(Call.Get, Call.Get.Path(name), 404);
    }

    private async Task RepeatAsync()
    {
        var (x, key) = (NextBatch(), ("Idempotency-Key", $"k{_number++}"));
        var body = $$"""{"x":{{x.Json}},"retain":false}""";
        await _client.SendAsync(Call.TrainStep, Path(Call.TrainStep), 200, body, key);
        Count(x);
        var again = await _client.SendAsync(Call.TrainStep, Path(Call.TrainStep), 200, body, key);
        Count(x, isReplayed: true);
        Assert.Equal("true", again.Headers["Idempotent-Replayed"]);
        Assert.Equal(_tracked, again["num_batches_tracked"].GetInt64());
        await _client.SendAsync(Call.TrainStep, Path(Call.TrainStep), 422, """{"x":[[1]]}""", key);
    }

    private async Task ConflictAsync()
    {
        var x = NextBatch();
        var body = $$"""{"x":{{x.Json}},"retain":false}""";
        await _client.SendAsync(Call.TrainStep, Path(Call.TrainStep), 412, body, ("If-Match", "\"999999999\""));
        _client.Tally.Passed("normalize", x.Data.Length, isCertain: false);
        var version = (await _client.SendAsync(Call.Get, Path(Call.Get), 200)).ETag!;
        await _client.SendAsync(Call.TrainStep, Path(Call.TrainStep), 200, body, ("If-Match", version));
        Count(x);
    }

    private async Task NormalizeAsync()
    {
        var x = NextBatch();
        await _client.SendAsync(Call.Normalize, "/v1/normalize", 200, $$"""{"kind":"rms_norm","normalized_shape":[{{Features}}],"x":{{x.Json}},"backward":{"dy":{{x.Json}}} }""");
        _client.Tally.Passed("normalize", x.Data.Length, isCertain: true);
        _client.Tally.Passed("gradients", x.Data.Length, isCertain: true);
    }

    // Two ranks, or one that waits in vain.
    private async Task SynchronizeAsync()
    {
        var ranks = _syncs++ % 4 == 0 ? 1 : 2;
        var x = NextBatch();
        var body = (Forms.Json, Encoding.UTF8.GetBytes($$"""{"x":{{x.Json}},"retain":false}"""));
        await Task.WhenAll(Enumerable.Range(0, ranks).Select(rank =>
            _client.SendAsync(Call.SyncTrainStep, Path(Call.SyncTrainStep, "g") + $"?rank={rank}&world_size=2", body, ranks == 2 ? [200] : [504])));
        _client.Tally.Passed("normalize", ranks * x.Data.Length, ranks == 2);
        if (ranks < 2) return;
        _tracked++;
        _client.Tally.Stepped(_session);
    }

    // Nobody knows what became of the request, but what is right of it is answered.
    private async Task SendBadAsync()
    {
        var json = JsonNode.Parse($$"""{"x":{{NextBatch().Json}},"residual":null}""");
        var mutation = new Mutation(_random);
        var body = _random.Next(3) switch { 0 => mutation.Broken(json), 1 => mutation.WithExtremes(json), _ => mutation.Changed(json) };
        var answer = await _client.SendAsync(Call.Inference, Path(Call.Inference), (Forms.Json, body), [200, 400, 422]);
        if (answer.Status == 200) _client.Tally.Passed("normalize", answer["y"].GetProperty("data").GetArrayLength(), isCertain: true);
    }

    private Task MistakeAsync() => (_mistakes++ % 7) switch
    {
        0 => _client.SendAsync(Call.TrainStep, Path(Call.TrainStep), 422, """{"x":[[1,2],[3,4]]}"""),
        1 => _client.SendAsync(Call.TrainStep, Call.TrainStep.Path("nobody"), 404, """{"x":[[1,2],[3,4]]}"""),
        2 => _client.SendAsync(Call.Inference, Path(Call.Inference), ("text/plain", "x"u8.ToArray()), [415]),
        3 => _client.SendAsync(Call.Get, Path(Call.Get), 406, null, ("Accept", "text/html")),
        4 => _client.SendAsync(new Call("GET", "(none)"), "/v1/nosuch", 404),
        5 => _client.SendAsync(new Call("DELETE", "(none)"), Path(Call.TrainStep), 405),
        _ => _client.SendAsync(Call.Inference, Path(Call.Inference) + "?version=123456789", 404, """{"x":[[1]]}"""),
    };

    private Task<Answer> SendAsync(Call call, string json, int[] statuses) => _client.SendAsync(call, Path(call), (Forms.Json, Encoding.UTF8.GetBytes(json)), statuses);
}
