namespace BnService.Api.Tests.Idempotency;

/// <summary>A call that is repeated under its key, and what happens to the session before and in between.</summary>
/// <param name="Options">Options of the session.</param>
/// <param name="Call">The call, as the path behind the session's.</param>
/// <param name="Shape">Shape of a batch.</param>
/// <param name="Request">The request, for a session and a batch.</param>
public sealed record ReplayCase(string Options, string Call, int[] Shape, Func<SessionClient, Batch, Task<Message>> Request)
{
    /// <summary>Whether there is an array in the request beside others, or text that has no place in a query: then it is no npy file.</summary>
    public bool FitsArray { get; init; } = true;

    /// <summary>What is done before the first call, beside a train-step.</summary>
    public Func<SessionClient, Task<Answer>>? Before { get; init; }

    /// <summary>What is done before the second call, beside a train-step: anything that leaves gamma and beta.</summary>
    public Func<SessionClient, Task<Answer>>? Meanwhile { get; init; }

    private const string Renorm = """{"kind":"batch_renorm","num_features":3,"renorm":{"warmup_steps":0}}""";
    private const string Update = """{"optimizer":"adam","learning_rate":0.1}""";
    private static readonly int[] Rows = [12, 3], Images = [4, 3, 2, 5];

    private static Message Own(Message message) => message.With("gamma", "[2,-1,0.5]").With("beta", "[0.25,3,-1]");

    public static IReadOnlyDictionary<string, ReplayCase> All { get; } = new Dictionary<string, ReplayCase>
    {
        ["train-step"] = Train("""{"num_features":3}""", Rows),
        ["train-step, relu, images"] = Train("""{"num_features":3,"activation":"relu"}""", Images),
        ["train-step, channels last"] = Train("""{"num_features":3,"channel_axis":-1}""", [4, 2, 5, 3]),
        ["train-step, cumulative"] = Train("""{"num_features":3,"momentum":null}""", Rows),
        ["train-step, no statistics"] = Train("""{"num_features":3,"track_running_stats":false}""", Rows),
        ["train-step, no parameters"] = Train("""{"num_features":3,"affine":false}""", Rows),
        ["train-step, per activation"] = Train("""{"num_features":3,"granularity":"per_activation"}""", Images),
        ["train-step, ghost batches"] = Train("""{"num_features":3,"ghost_batch_size":5}""", Rows),
        ["train-step, with warnings"] = Train("""{"num_features":3}""", [2, 3]),
        ["train-step, not retained"] = Train("""{"num_features":3}""", Rows, message => message.With("retain", "false")),
        ["train-step, mask"] = Train("""{"num_features":3}""", Rows, message => message.With("mask", "[1,0,1,1,0,1,1,1,1,0,1,1]")),
        ["train-step, positions"] = Train("""{"num_features":3}""", [2, 3, 2], message => message.With("mask", "[[1,0],[1,1]]")),
        ["train-step, own parameters"] = Train("""{"num_features":3}""", Rows, Own) with { Meanwhile = session => session.PutParametersAsync("""{"gamma":[7,7,7],"beta":[1,2,3]}""") },
        ["train-step, own parameters, frozen, moved"] = Train("""{"num_features":3}""", Rows, Own) with { Before = Freeze, Meanwhile = Move },
        ["train-step, own parameters, renorm"] = Train(Renorm, Rows, Own),
        ["train-step, residual"] = Train("""{"num_features":3,"activation":"relu"}""", Rows, message => message.With("residual", Batch.Random(9, Rows))) with { FitsArray = false },
        ["train-step, large"] = Train("""{"num_features":3}""", [50_000, 3]),
        ["train-step, empty"] = Train("""{"num_features":3}""", [0, 3]),
        ["train-step, renorm"] = Train(Renorm, Rows),
        ["train-step, renorm, ghost batches"] = Train(Renorm.Replace("3,", "3,\"ghost_batch_size\":5,", StringComparison.Ordinal), Rows),
        ["train-step, renorm, other limits"] = Train(Renorm, Rows) with { Meanwhile = session => session.PatchAsync("""{"renorm":{"r_max":1.01,"d_max":0.01}}""") },
        ["train-step, layer norm"] = Train("""{"kind":"layer_norm","normalized_shape":[3]}""", Rows),
        ["train-step, RMS norm"] = Train("""{"kind":"rms_norm","normalized_shape":[3]}""", Rows),
        ["train-step, group norm"] = Train("""{"kind":"group_norm","num_features":4,"num_groups":2}""", [4, 4, 5]),
        ["train-step, instance norm"] = Train("""{"kind":"instance_norm","num_features":3}""", Images),
        ["train-step, instance norm, tracked"] = Train("""{"kind":"instance_norm","num_features":3,"track_running_stats":true}""", Images),
        ["train-step, frozen"] = Train("""{"num_features":3}""", Rows) with { Before = Freeze },
        ["train-step, frozen, moved"] = Train("""{"num_features":3}""", Rows) with { Before = Freeze, Meanwhile = Move },
        ["train-step, frozen, thawed"] = Train("""{"num_features":3}""", Rows) with { Before = Freeze, Meanwhile = Thaw },
        ["train-step, frozen instance norm, thawed"] = Train("""{"kind":"instance_norm","num_features":3,"track_running_stats":true}""", Images) with { Before = Freeze, Meanwhile = Thaw },
        ["train-step, then frozen"] = Train("""{"num_features":3}""", Rows) with { Meanwhile = Freeze },
        ["train-step, renorm, then frozen"] = Train(Renorm, Rows) with { Meanwhile = Freeze },
        ["train-step, instance norm, then frozen"] = Train("""{"kind":"instance_norm","num_features":3,"track_running_stats":true}""", Images) with { Meanwhile = Freeze },
        ["train-step, other eps"] = Train("""{"num_features":3}""", Rows) with { Meanwhile = session => session.PatchAsync("""{"eps":0.5}""") },
        ["train-step, layer norm, other eps"] = Train("""{"kind":"layer_norm","normalized_shape":[3]}""", Rows) with { Meanwhile = session => session.PatchAsync("""{"eps":0.5}""") },
        ["train-step, then reset"] = Train("""{"num_features":3}""", Rows) with { Meanwhile = session => session.ResetAsync(null) },

        ["backward through a step"] = Through("""{"num_features":3}""", Rows, null),
        ["backward through a step, update"] = Through("""{"num_features":3}""", Rows, Update),
        ["backward through a step, relu, update"] = Through("""{"num_features":3,"activation":"relu"}""", Images, """{"optimizer":"sgd","learning_rate":0.5}"""),
        ["backward through a step, renorm, update"] = Through(Renorm, Rows, Update),
        ["backward through a frozen step, moved"] = Through("""{"num_features":3}""", Rows, Update) with { Before = Freeze, Meanwhile = Move },
        ["backward through a step, other eps"] = Through("""{"num_features":3}""", Rows, Update) with { Meanwhile = session => session.PatchAsync("""{"eps":0.5}""") },
        ["backward through x"] = Again("""{"num_features":3}""", Rows, null),
        ["backward through x, update"] = Again("""{"num_features":3}""", Rows, Update),
        ["backward through x, update without beta"] = Again("""{"num_features":3,"bias":false}""", Rows, Update),
        ["backward through x, update, relu"] = Again("""{"num_features":3,"activation":"relu"}""", Images, """{"optimizer":"sgd","learning_rate":0.5,"momentum":0.9}"""),
        ["backward through x, mask"] = Again("""{"num_features":3,"activation":"relu"}""", Rows, Update, message => message.With("mask", "[1,0,1,1,0,1,1,1,1,0,1,1]")),
        ["backward through x, own parameters"] = Again("""{"num_features":3,"affine":false}""", Rows, null, Own),
        ["backward through x, update, clipped"] = Again("""{"num_features":3}""", Rows, """{"optimizer":"adamw","clip_norm":0.5,"parameters":{"gamma":{"weight_decay":0.1},"beta":{"frozen":true}}}"""),
        ["backward through x, residual"] = Again("""{"num_features":3,"activation":"relu"}""", Rows, Update, message => message.With("residual", Batch.Random(9, Rows))),
        ["backward through x, ghost batches"] = Again("""{"num_features":3,"ghost_batch_size":5}""", Rows, Update),
        ["backward through x, no parameters"] = Again("""{"num_features":3,"affine":false}""", Rows, null),
        ["backward through x, renorm"] = Again(Renorm, Rows, null),
        ["backward through x, renorm, update"] = Again(Renorm, Rows, Update),
        ["backward through x, running statistics"] = Again("""{"num_features":3,"activation":"relu"}""", Rows, null, message => message.With("mode", "inference")),
        ["backward through x, running statistics, update"] = Again("""{"num_features":3}""", Rows, Update, message => message.With("mode", "inference")),
        ["backward through x, frozen, moved"] = Again("""{"num_features":3}""", Rows, Update) with { Before = Freeze, Meanwhile = Move },
        ["backward through x, frozen, thawed"] = Again("""{"num_features":3}""", Rows, null) with { Before = Freeze, Meanwhile = Thaw },
        ["backward through x, then frozen"] = Again("""{"num_features":3}""", Rows, Update) with { Meanwhile = Freeze },
        ["backward through x, other eps"] = Again("""{"num_features":3}""", Rows, null) with { Meanwhile = session => session.PatchAsync("""{"eps":0.5}""") },
        ["backward through x, layer norm"] = Again("""{"kind":"layer_norm","normalized_shape":[3]}""", Rows, Update),
        ["backward through x, group norm"] = Again("""{"kind":"group_norm","num_features":4,"num_groups":2}""", [4, 4, 5], Update),
        ["backward through x, instance norm, tracked"] = Again("""{"kind":"instance_norm","num_features":3,"track_running_stats":true}""", Images, Update),

        ["calibration/batches"] = Calibrate("""{"num_features":3}""", Rows),
        ["calibration/batches, one value"] = Calibrate("""{"num_features":3}""", [1, 3]),
        ["calibration/batches, empty"] = Calibrate("""{"num_features":3}""", [0, 3]),
        ["calibration/batches, dropped"] = Calibrate("""{"num_features":3}""", Rows) with { Meanwhile = session => session.DropCalibrationAsync() },
        ["calibration/batches, committed"] = Calibrate("""{"num_features":3}""", Rows) with { Meanwhile = session => session.CommitAsync() },
        ["merge"] = new("""{"num_features":3}""", "merge", Rows, (_, _) => Task.FromResult(new Message().With("count", "3").With("mean", "[1,2,3]").With("m2", "[4,5,6]"))) { FitsArray = false },
    };

    private static Func<SessionClient, Task<Answer>> Freeze => session => session.PatchAsync("""{"mode":"frozen"}""");

    private static Func<SessionClient, Task<Answer>> Move => session => session.PutRunningStatsAsync("""{"running_mean":[7,8,9],"running_var":[2,3,4]}""");

    private static Func<SessionClient, Task<Answer>> Thaw => session => session.PatchAsync("""{"mode":"train"}""");

    private static ReplayCase Train(string options, int[] shape, Func<Message, Message>? with = null) =>
        new(options, "train-step", shape, (_, x) => Task.FromResult(With(Message.Of(x), with)));

    private static ReplayCase Through(string options, int[] shape, string? update) => new(options, "backward", shape, async (session, x) =>
    {
        var step = (await session.TrainAsync(x, retain: true)).Expect(200).StepId!;
        return Updating(new Message().With("dy", Batch.Random(8, shape)).With("step_id", step), update);
    });

    private static ReplayCase Again(string options, int[] shape, string? update, Func<Message, Message>? with = null) =>
        new(options, "backward", shape, (_, x) => Task.FromResult(With(Updating(Message.Of(x).With("dy", Batch.Random(8, shape)), update), with))) { FitsArray = false };

    private static ReplayCase Calibrate(string options, int[] shape) =>
        new(options, "calibration/batches", shape, (_, x) => Task.FromResult(Message.Of(x))) { FitsArray = false };

    private static Message Updating(Message message, string? update) => update is null ? message : message.With("update", update);

    private static Message With(Message message, Func<Message, Message>? with) => with is null ? message : with(message);
}
