namespace BnService.Api.Tests.Nodes;

/// <summary>
/// A step is prepared on the state that a node knows, and made on what another node has left meanwhile: its answer is that of the state it
/// was made on, to the last bit, as a lone service gives it for the same calls one after the other.
/// </summary>
public sealed class OvertakenTests : IDisposable
{
    private static readonly Batch X = Batch.Random(1, 16, 3), Other = Batch.Random(2, 16, 3), Dy = Batch.Random(3, 16, 3);

    private const string Renorm = """{"kind":"batch_renorm","num_features":3,"renorm":{"warmup_steps":0}}""";
    private const string Tracked = """{"kind":"instance_norm","num_features":3,"track_running_stats":true}""";

    private static readonly Dictionary<string, (string Options, int[] Shape, Func<SessionClient, Task<Answer>>[] Before, Func<SessionClient, Task<Answer>> Overtaking)> Cases = new()
    {
        ["gamma and beta"] = ("""{"num_features":3,"activation":"relu"}""", [16, 3], [], Parameters),
        ["gamma alone"] = ("""{"num_features":3}""", [16, 3], [], s => s.PutParametersAsync("""{"gamma":[3,-2,0.5]}""")),
        ["beta alone"] = ("""{"num_features":3}""", [16, 3], [], s => s.PutParametersAsync("""{"beta":[3,-2,0.5]}""")),
        ["gamma, layer norm"] = ("""{"kind":"layer_norm","normalized_shape":[3]}""", [16, 3], [], Parameters),
        ["gamma, group norm"] = ("""{"kind":"group_norm","num_features":3,"num_groups":1}""", [4, 3, 5], [], Parameters),
        ["gamma, instance norm"] = (Tracked, [4, 3, 5], [], Parameters),
        ["gamma, ghost batches"] = ("""{"num_features":3,"ghost_batch_size":5}""", [16, 3], [], Parameters),
        ["gamma, large"] = ("""{"num_features":3}""", [100_000, 3], [], Parameters),
        ["gamma, frozen"] = ("""{"num_features":3}""", [16, 3], [Train, Freeze], Parameters),
        ["running statistics"] = ("""{"num_features":3}""", [16, 3], [], Train),
        ["running statistics, renorm"] = (Renorm, [16, 3], [Train], s => s.TrainAsync(Other)),
        ["running statistics, renorm, ghost batches"] = (Renorm.Replace("3,", "3,\"ghost_batch_size\":5,", StringComparison.Ordinal), [16, 3], [Train], Train),
        ["running statistics, frozen"] = ("""{"num_features":3}""", [16, 3], [Train, Freeze], Move),
        ["limits, renorm"] = (Renorm, [16, 3], [Train], s => s.PatchAsync("""{"renorm":{"r_max":1.01,"d_max":0.01}}""")),
        ["eps"] = ("""{"num_features":3}""", [16, 3], [], s => s.PatchAsync("""{"eps":0.5}""")),
        ["momentum"] = ("""{"num_features":3}""", [16, 3], [Train], s => s.PatchAsync("""{"momentum":0.9}""")),
        ["frozen meanwhile"] = ("""{"num_features":3}""", [16, 3], [Train], Freeze),
        ["frozen meanwhile, renorm"] = (Renorm, [16, 3], [Train], Freeze),
        ["frozen meanwhile, instance norm"] = (Tracked, [4, 3, 5], [s => s.TrainAsync(Batch.Random(9, 4, 3, 5))], Freeze),
        ["thawed meanwhile"] = ("""{"num_features":3}""", [16, 3], [Train, Freeze], Thaw),
        ["thawed meanwhile, large"] = ("""{"num_features":3}""", [100_000, 3], [Train, Freeze], Thaw),
        ["reset"] = ("""{"num_features":3}""", [16, 3], [Train, Train], s => s.ResetAsync("""{"parameters":true}""")),
        ["restored"] = ("""{"num_features":3}""", [16, 3], [s => s.SnapshotAsync(), Parameters, Train], s => s.RestoreAsync(1)),
    };

    private readonly WatchedStore _store = new();
    private readonly Service _one, _two, _alone = new();

    public OvertakenTests() => (_one, _two) = (Service.Node(_store, "one"), Service.Node(_store, "two"));

    public static TheoryData<string, string> CasesInForms
    {
        get
        {
            var cases = new TheoryData<string, string>();
            foreach (var name in Cases.Keys)
            {
                foreach (var form in Forms.All) cases.Add(name, form);
            }
            return cases;
        }
    }

    public void Dispose()
    {
        _one.Dispose();
        _two.Dispose();
        _alone.Dispose();
    }

    [Theory]
    [MemberData(nameof(CasesInForms))]
    public async Task A_step_is_answered_as_if_it_had_come_after_what_overtook_it(string name, string form)
    {
        var (here, alone) = await CreateAsync(name);
        var (there, overtaking, x) = (new SessionClient(_two.Client, here.Name), Cases[name].Overtaking, Message.Of(Batch.Random(1, Cases[name].Shape)));
        _store.BeforeNextUpdate = async () => (await overtaking(there)).Expect(200);
        // A frozen step changes nothing that would be stored: under a key each does.
        var overtaken = (await here.PostAsync("train-step", x, form, headers: ("Idempotency-Key", "k"))).Expect(200);
        Assert.Null(_store.BeforeNextUpdate);
        (await overtaking(alone)).Expect(200);
        await SameAsync(here, alone, x, overtaken, name);
        Assert.Equal((await alone.StatsAsync()).Text, (await there.StatsAsync()).Text);
        SameAnswer.Again(overtaken, await there.PostAsync("train-step", x, form, headers: ("Idempotency-Key", "k")));
    }

    /// <summary>What overtakes it waits before it for the same write.</summary>
    [Theory]
    [MemberData(nameof(CasesInForms))]
    public async Task A_step_is_answered_as_if_it_had_come_after_what_waited_before_it(string name, string form)
    {
        var (here, alone) = await CreateAsync(name);
        var (overtaking, x) = (Cases[name].Overtaking, Message.Of(Batch.Random(1, Cases[name].Shape)));
        const string Labels = """{"labels":{"a":"b"}}""";
        var isHeld = new TaskCompletionSource();
        _store.BeforeNextUpdate = () => isHeld.Task;
        var first = here.PatchAsync(Labels);
        await Eventually.TrueAsync(() => _store.BeforeNextUpdate is null, "nothing is stored");
        var second = overtaking(here);
        await Eventually.EqualAsync(1, () => _one.WaitingChanges(here.Name));
        var third = here.PostAsync("train-step", x, form);
        await Eventually.EqualAsync(2, () => _one.WaitingChanges(here.Name));
        isHeld.SetResult();
        (await first).Expect(200);
        (await second).Expect(200);
        (await alone.PatchAsync(Labels)).Expect(200);
        (await overtaking(alone)).Expect(200);
        await SameAsync(here, alone, x, (await third).Expect(200), name);
    }

    [Fact]
    public async Task A_step_that_is_overtaken_again_and_again_is_made_at_last()
    {
        var here = await _one.CreateAsync("""{"num_features":3,"momentum":null}""");
        var there = new SessionClient(_two.Client, here.Name);
        Func<Task> overtake = null!;
        var times = 0;
        overtake = async () =>
        {
            (await there.TrainAsync(Other)).Expect(200);
            if (++times < 5) _store.BeforeNextUpdate = overtake;
        };
        _store.BeforeNextUpdate = overtake;
        var answer = (await here.TrainAsync(X)).Expect(200);
        Assert.Equal((5, 7, 6), (times, answer.Version, answer["num_batches_tracked"].GetInt64()));
    }

    [Fact]
    public async Task Of_the_same_request_on_two_nodes_one_is_made()
    {
        var here = await _one.CreateAsync("""{"num_features":3}""");
        var there = new SessionClient(_two.Client, here.Name);
        var body = $$"""{"x":{{X.Json}}}""";
        Answer? theirs = null;
        _store.BeforeNextUpdate = async () => theirs = (await there.TrainAsync(body, ("Idempotency-Key", "k"))).Expect(200);
        var ours = (await here.TrainAsync(body, ("Idempotency-Key", "k"))).Expect(200);
        SameAnswer.Again(theirs!, ours);
        Assert.Equal(2, (await here.GetAsync()).Version);
        Assert.StartsWith("two:", ours.StepId, StringComparison.Ordinal);
        // Nothing is retained here for a step that was made there.
        Assert.Equal(0, _one.RetainedBytes);
        (await here.BackwardAsync(ours.StepId!, Dy)).ExpectProblem("step-expired", "node 'two'");
        (await there.BackwardAsync(ours.StepId!, Dy)).Expect(200);
    }

    [Fact]
    public async Task Another_request_with_the_key_that_overtakes_is_the_one_that_counts()
    {
        var here = await _one.CreateAsync("""{"num_features":3}""");
        var there = new SessionClient(_two.Client, here.Name);
        _store.BeforeNextUpdate = async () => (await there.TrainAsync($$"""{"x":{{Other.Json}}}""", ("Idempotency-Key", "k"))).Expect(200);
        (await here.TrainAsync($$"""{"x":{{X.Json}}}""", ("Idempotency-Key", "k"))).ExpectProblem("idempotency-key-reused");
        Assert.Equal(2, (await here.GetAsync()).Version);
    }

    private async Task<(SessionClient Here, SessionClient Alone)> CreateAsync(string name)
    {
        var (options, _, before, _) = Cases[name];
        var (here, alone) = (await _one.CreateAsync(options), await _alone.CreateAsync(options));
        foreach (var call in before)
        {
            foreach (var session in (SessionClient[])[here, alone]) Assert.InRange((await call(session)).Status, 200, 201);
        }
        return (here, alone);
    }

    private static async Task SameAsync(SessionClient here, SessionClient alone, Message x, Answer overtaken, string name)
    {
        var expected = (await alone.PostAsync("train-step", x, Forms.Json)).Expect(200);
        SameAnswer.In(expected, overtaken, "step_id");
        Assert.Equal((await alone.StatsAsync()).Text, (await here.StatsAsync()).Text);
        // What it has retained is what it was made with.
        var dy = Batch.Random(3, Cases[name].Shape).Json;
        string Backward(Answer step) => $$"""{"step_id":"{{StepOf(step)}}","dy":{{dy}}}""";
        Assert.Equal((await alone.BackwardAsync(Backward(expected))).Expect(200).Text, (await here.BackwardAsync(Backward(overtaken))).Expect(200).Text);
    }

    private static string StepOf(Answer answer) => answer.ContentType switch
    {
        Forms.Npy => answer.Headers["Bn-Step-Id"],
        Forms.Safetensors => answer.Tensors.Texts["step_id"],
        _ => answer.StepId!,
    };

    private static Task<Answer> Train(SessionClient session) => session.TrainAsync(Batch.Random(9, 16, 3));

    private static Task<Answer> Parameters(SessionClient session) => session.PutParametersAsync("""{"gamma":[3,-2,0.5],"beta":[0.1,0.2,0.3]}""");

    private static Task<Answer> Move(SessionClient session) => session.PutRunningStatsAsync("""{"running_mean":[7,8,9],"running_var":[2,3,4]}""");

    private static Task<Answer> Freeze(SessionClient session) => session.PatchAsync("""{"mode":"frozen"}""");

    private static Task<Answer> Thaw(SessionClient session) => session.PatchAsync("""{"mode":"train"}""");
}
