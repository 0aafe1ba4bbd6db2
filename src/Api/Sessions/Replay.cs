using System.Text.Json;
using System.Text.Json.Serialization;
using BnService.Api.Errors;
using BnService.Api.Storage;
using BnService.Api.Wire.Safetensors;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Api.Sessions;

/// <summary>Names a call, so that its answer is found again.</summary>
/// <param name="Topic">What kind of call it is; empty for calls with an Idempotency-Key.</param>
/// <param name="Key">The name; unique in the session and topic.</param>
/// <param name="Fingerprint">What was asked: the same for equal calls alone.</param>
internal sealed record AnswerKey(string Topic, string Key, string Fingerprint)
{
    /// <summary>The topic of the Idempotency-Key.</summary>
    public const string Idempotency = "";

    /// <summary>No name: a call whose answer is not remembered.</summary>
    public static AnswerKey None { get; } = new("", "", "");

    /// <summary>Refuses the answer to another call.</summary>
    /// <exception cref="ProblemException">The key was used for something else.</exception>
    public void RequireSame(StoredReplay replay)
    {
        if (replay.Key.Fingerprint == Fingerprint) return;
        throw new ProblemException(ProblemCode.IdempotencyKeyReused,
            $"Idempotency-Key '{Key}' has come with another request to this session; a key names one request and its repetitions");
    }
}

/// <summary>
/// A replay as it is stored, and as ranks tell it to each other: the part of an answer that cannot be computed from the call again, since
/// the state has moved on. Nodes of other versions read it: its members and the names of its arrays stay.
/// </summary>
internal sealed record StoredReplay(long Version, long BatchesTracked)
{
    // The text that holds all but the arrays.
    private const string Text = "RememberedAnswer";

    [JsonIgnore]
    public AnswerKey Key { get; init; } = AnswerKey.None;

    public string? StepId { get; init; }

    public IReadOnlyList<Finding> Warnings { get; init; } = [];

    public double Eps { get; init; }

    /// <summary>Number of values that <see cref="Arrays"/> were made of, where they are statistics.</summary>
    public long Count { get; init; }

    /// <summary>Number of batches that <see cref="Arrays"/> were made of, where they are statistics.</summary>
    public long Batches { get; init; }

    /// <summary>Of a step that several ranks make together: who took part, by their nonces.</summary>
    public IReadOnlyList<string> Participants { get; init; } = [];

    /// <summary>Of a rank's part of such a step: the update that it asks for, as a text that is the same for equal ones.</summary>
    public string? Update { get; init; }

    /// <summary>Of a rank's part of such a step: the versions that its If-Match allows to be changed; null for any.</summary>
    public IReadOnlyList<long>? AllowedVersions { get; init; }

    /// <summary>Of a rank's part of such a step: when it came, by its node's clock; for nodes of earlier versions alone.</summary>
    public DateTimeOffset? JoinedAt { get; init; }

    public string? ProblemCode { get; init; }

    public string? Detail { get; init; }

    [JsonIgnore]
    public IReadOnlyDictionary<string, double[]> Arrays { get; init; } = new Dictionary<string, double[]>();

    public StoredAnswer Encode()
    {
        var file = new SafetensorsFile();
        foreach (var (name, values) in Arrays) file.AddShort(name, values);
        file.AddText(nameof(AnswerKey.Fingerprint), Key.Fingerprint);
        file.AddText(Text, JsonSerializer.Serialize(this, ReplayJson.Default.StoredReplay));
        return new StoredAnswer(Key.Topic, Key.Key, Checksum.Append(file.ToArray(Checksum.Bytes)));
    }

    /// <param name="stored">What was stored.</param>
    /// <param name="withArrays">Whether its arrays are wanted, which take by far the most time.</param>
    /// <exception cref="DamagedStateException">It is not as it was written.</exception>
    public static StoredReplay Decode(StoredAnswer stored, bool withArrays = true)
    {
        try
        {
            var file = new SafetensorsArrays(Checksum.Content(stored.Content));
            return JsonSerializer.Deserialize(file.Texts[Text], ReplayJson.Default.StoredReplay)! with
            {
                Key = new AnswerKey(stored.Topic, stored.Key, file.Texts[nameof(AnswerKey.Fingerprint)]),
                Arrays = withArrays ? file.Names.ToDictionary(name => name, name => file[name]) : [],
            };
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            var what = stored.Topic.Length == 0 ? $"Idempotency-Key '{stored.Key}'" : $"step {stored.Key}";
            throw new DamagedStateException(
                $"what is remembered of the answer to {what} is damaged in the storage: it was made, and how it was answered is not known "
                + "any more. Look at the session's state, and go on with a new key or step");
        }
    }

    /// <summary>The replay with more arrays; those that are null are left out.</summary>
    public StoredReplay With(params ReadOnlySpan<(string Name, double[]? Values)> arrays)
    {
        var all = new Dictionary<string, double[]>(Arrays);
        foreach (var (name, values) in arrays)
        {
            if (values is not null) all.Add(name, values);
        }
        return this with { Arrays = all };
    }

    public double[]? Find(string name) => Arrays.GetValueOrDefault(name);
}

[JsonSourceGenerationOptions(NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals)]
[JsonSerializable(typeof(StoredReplay))]
internal sealed partial class ReplayJson : JsonSerializerContext;

/// <summary>The replay of a train-step: its answer, and what normalized the batch besides the batch itself.</summary>
internal sealed record StepReplay(long Version, long BatchesTracked, string? StepId, IReadOnlyList<Finding> Warnings, NormalizedWith With)
{
    public StoredReplay Store() => With.AddTo(new(Version, BatchesTracked) { StepId = StepId, Warnings = Warnings });

    public static StepReplay Of(StoredReplay replay) =>
        new(replay.Version, replay.BatchesTracked, replay.StepId, replay.Warnings, NormalizedWith.Of(replay));
}

/// <summary>gamma and beta, where a layer has them.</summary>
internal sealed record Parameters(double[]? Gamma, double[]? Beta)
{
    public static Parameters? Of(double[]? gamma, double[]? beta) => (gamma ?? beta) is null ? null : new(gamma, beta);
}

/// <summary>The replay of a backward call, or of an update.</summary>
internal sealed record GradientReplay(long Version, long BatchesTracked)
{
    private const string Gamma = "gamma", Beta = "beta", GammaBefore = "gamma_before", BetaBefore = "beta_before";
    private const string SumDy = "sum_dy", SumDyXmu = "sum_dy_xmu", Dgamma = "dgamma", Dbeta = "dbeta";

    /// <summary>The parameters after the update; null where there was none.</summary>
    public Parameters? After { get; init; }

    /// <summary>The parameters that the gradients were computed with, which the update moves; null where there was none.</summary>
    public Parameters? Before { get; init; }

    /// <summary>What normalized the batch besides the batch itself; null where a retained step has that.</summary>
    public NormalizedWith? With { get; init; }

    /// <summary>The sums of all ranks, through the statistics of all their parts; null for other calls.</summary>
    public GradientSums? Sums { get; init; }

    /// <summary>The gradients of all ranks, each through the running statistics; null for other calls.</summary>
    public ParameterGradients? Gradients { get; init; }

    public StoredReplay Store()
    {
        var stored = new StoredReplay(Version, BatchesTracked).With(
            (Gamma, After?.Gamma), (Beta, After?.Beta), (GammaBefore, Before?.Gamma), (BetaBefore, Before?.Beta));
        stored = With is null ? stored : With.AddTo(stored);
        return Sums is null && Gradients is null ? stored : stored.With([.. Part(Sums, Gradients)]);
    }

    public static GradientReplay Of(StoredReplay replay) => new(replay.Version, replay.BatchesTracked)
    {
        After = Parameters.Of(replay.Find(Gamma), replay.Find(Beta)),
        Before = Parameters.Of(replay.Find(GammaBefore), replay.Find(BetaBefore)),
        With = NormalizedWith.Of(replay),
        Sums = SumsOf(replay),
        Gradients = GradientsOf(replay),
    };

    /// <summary>The sums, or the gradients, of one rank or of all by their names.</summary>
    public static (string Name, double[]? Values)[] Part(GradientSums? sums, ParameterGradients? gradients) =>
        [(SumDy, sums?.SumDy), (SumDyXmu, sums?.SumDyXmu), (Dgamma, gradients?.DGamma), (Dbeta, gradients?.DBeta)];

    /// <summary>The sums of one rank or of all; null where it has none.</summary>
    public static GradientSums? SumsOf(StoredReplay replay) => replay.Find(SumDy) is { } sum ? new(sum, replay.Arrays[SumDyXmu]) : null;

    /// <summary>The gradients of one rank or of all; null where it has none.</summary>
    public static ParameterGradients? GradientsOf(StoredReplay replay) =>
        replay.Find(Dgamma) is { } dgamma ? new(dgamma, replay.Arrays[Dbeta]) : null;
}

/// <summary>
/// The replay of a change of population statistics: what has been gathered, or taken over; the mean is null where that is nothing, and the
/// variance where it is not known of so few values.
/// </summary>
internal sealed record PopulationReplay(long Version, long BatchesTracked, long Batches, long Count, double[]? Mean, double[]? Variance)
{
    public StoredReplay Store() => new StoredReplay(Version, BatchesTracked) { Batches = Batches, Count = Count }
        .With((nameof(Mean), Mean), (nameof(Variance), Variance));

    public static PopulationReplay Of(StoredReplay replay) => new(
        replay.Version, replay.BatchesTracked, replay.Batches, replay.Count, replay.Find(nameof(Mean)), replay.Find(nameof(Variance)));
}
