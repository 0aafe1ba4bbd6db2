namespace BnService.Api.Tests.Generated;

/// <summary>A session that requests are about, with what it has answered so far.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Options">What it was created with.</param>
internal sealed record KnownSession(string Name, string Options)
{
    /// <summary>The session as it was after its last change.</summary>
    public string Resource { get; set; } = "";

    /// <summary>Its state, in JSON, from when it was new.</summary>
    public string State { get; set; } = "{}";

    public long Version { get; set; } = 1;

    /// <summary>A version that was frozen; 0 where there was none.</summary>
    public long Snapshot { get; set; }

    /// <summary>A step that was retained, and the shape of its batch.</summary>
    public (string Id, int[] Shape)? Step { get; set; }
}

/// <summary>
/// What is there when requests come: sessions of every kind, keys of every role and some that are made to be revoked. It is the same at each
/// beginning, so that a request which was made up of the same seed is the same one.
/// </summary>
internal sealed class Surroundings(KeyedService keyed)
{
    /// <summary>Channels of every session.</summary>
    public const int Features = 3;

    private static readonly (string Name, string Options)[] Kinds =
    [
        ("batch", "\"num_features\":3"),
        ("average", "\"num_features\":3,\"momentum\":null,\"require_statistics\":true"),
        ("last", "\"num_features\":3,\"channel_axis\":-1,\"activation\":\"relu\""),
        ("propagates", "\"num_features\":3,\"non_finite\":\"propagate\""),
        ("ghost", "\"num_features\":3,\"ghost_batch_size\":2"),
        ("untracked", "\"num_features\":3,\"track_running_stats\":false"),
        ("positions", "\"num_features\":3,\"granularity\":\"per_activation\""),
        ("renorm", "\"kind\":\"batch_renorm\",\"num_features\":3,\"renorm\":{\"r_max\":3,\"d_max\":5,\"warmup_steps\":2}"),
        ("rows", "\"kind\":\"layer_norm\",\"normalized_shape\":[3]"),
        ("rms", "\"kind\":\"rms_norm\",\"normalized_shape\":[3]"),
        ("group", "\"kind\":\"group_norm\",\"num_features\":3,\"num_groups\":3"),
        ("instance", "\"kind\":\"instance_norm\",\"num_features\":3,\"track_running_stats\":true"),
    ];

    private readonly string?[] _expendable = new string?[3];
    private readonly HashSet<string> _kept = [KeyedService.IdOf(keyed.Admin)];

    public KnownSession[] Sessions { get; private set; } = [];

    /// <summary>Keys by what their callers may do: everything; train; read; train what begins with a prefix.</summary>
    public string[] Keys { get; private set; } = [keyed.Admin];

    public (string Name, string Value) Admin => KeyedService.Bearer(keyed.Admin);

    /// <summary>The key's identifier, made to be rotated and revoked.</summary>
    public string Expendable(int number) => _expendable[number % _expendable.Length]!;

    /// <summary>Makes it what it is at each beginning.</summary>
    public async Task BeginAsync()
    {
        if (Keys.Length == 1)
        {
            Keys = [keyed.Admin, await keyed.KeyAsync("trainer"), await keyed.KeyAsync("reader"), await keyed.KeyAsync("trainer", "ba")];
            _kept.UnionWith(Keys.Select(KeyedService.IdOf));
        }
        await EndAsync();
        for (var i = 0; i < _expendable.Length; i++) await RenewKeyAsync(i);
        Sessions = [.. Kinds.Select(kind => new KnownSession(kind.Name, $"{{\"name\":\"{kind.Name}\",{kind.Options}}}"))];
        foreach (var session in Sessions) await CreateAsync(session);
    }

    /// <summary>Deletes every session, and every key that is not for callers.</summary>
    public async Task EndAsync()
    {
        while ((await keyed.Client.GetAsync("/v1/sessions?limit=1000", Admin)).Expect(200)["sessions"] is var sessions && sessions.GetArrayLength() > 0)
        {
            foreach (var session in sessions.EnumerateArray()) (await keyed.Client.DeleteAsync($"/v1/sessions/{session.GetProperty("id").GetString()}", Admin)).Expect(204);
        }
        foreach (var key in (await keyed.Client.GetAsync("/v1/keys", Admin)).Expect(200)["keys"].EnumerateArray().Select(key => key.GetProperty("id").GetString()!))
        {
            if (!_kept.Contains(key)) (await keyed.Client.DeleteAsync($"/v1/keys/{key}", Admin)).Expect(204);
        }
    }

    /// <summary>Takes from an answer what later requests can name, and makes again what is gone.</summary>
    public async Task LearnAsync(GeneratedRequest request, Answer answer)
    {
        if (answer.Status >= 300) return;
        if (request.Operation.Id == "RevokeKey" && Array.FindIndex(_expendable, id => request.Path.EndsWith($"/{id}", StringComparison.Ordinal)) is var number and >= 0) await RenewKeyAsync(number);
        if (request.Session is not { } session) return;
        if (request.Operation.Id == "DeleteSession") await CreateAsync(session);
        if (request.Operation.Id == "CreateSnapshot") session.Snapshot = answer.Version;
        if (request.Operation.Id is "TrainStep" or "SyncTrainStep" && answer.ContentType == Forms.Json && answer.StepId is { } step)
            session.Step = (step, answer.Tensor("y").Shape);
    }

    /// <summary>The session as it is now.</summary>
    public async Task<string> ReadAsync(KnownSession session) => (await keyed.Client.GetAsync($"/v1/sessions/{session.Name}", Admin)).Expect(200).Text;

    /// <summary>Its whole state.</summary>
    public async Task<Answer> StateAsync(KnownSession session) => (await keyed.Client.GetAsync($"/v1/sessions/{session.Name}/state", Admin)).Expect(200);

    private async Task CreateAsync(KnownSession session)
    {
        (session.Step, session.Snapshot, session.Version) = (null, 0, 1);
        session.Resource = (await keyed.Client.PostAsync("/v1/sessions", session.Options, Admin)).Expect(201).Text;
        session.State = (await StateAsync(session)).Text;
    }

    private async Task RenewKeyAsync(int number) => _expendable[number] = KeyedService.IdOf(await keyed.KeyAsync("reader"));
}
