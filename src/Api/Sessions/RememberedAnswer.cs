using System.Text.Json;
using System.Text.Json.Serialization;
using BnService.Api.Errors;
using BnService.Api.Storage;
using BnService.Api.Wire.Safetensors;
using BnService.Core.Statistics;

namespace BnService.Api.Sessions;

/// <summary>Names a question, so that its answer is found again.</summary>
/// <param name="Topic">What kind of question it is; empty for calls with an Idempotency-Key.</param>
/// <param name="Key">The name; unique in the session and topic.</param>
/// <param name="Fingerprint">What was asked: the same for equal questions alone.</param>
internal sealed record AnswerKey(string Topic, string Key, string Fingerprint)
{
    /// <summary>The topic of the Idempotency-Key.</summary>
    public const string Idempotency = "";

    /// <summary>No name: a question whose answer is not remembered.</summary>
    public static AnswerKey None { get; } = new("", "", "");

    /// <summary>Refuses an answer to another question.</summary>
    /// <exception cref="ProblemException">The key was used for something else.</exception>
    public void RequireSame(RememberedAnswer answer)
    {
        if (answer.Key.Fingerprint == Fingerprint) return;
        throw new ProblemException(ProblemCode.IdempotencyKeyReused,
            $"Idempotency-Key '{Key}' has come with another request to this session; a key names one request and its repetitions");
    }
}

/// <summary>What of an answer cannot be computed from its question again: the state has moved on.</summary>
/// <param name="Version">Version of the state after it.</param>
/// <param name="BatchesTracked">Number of batches that had moved the running statistics.</param>
internal sealed record RememberedAnswer(long Version, long BatchesTracked)
{
    /// <summary>The question.</summary>
    [JsonIgnore]
    public AnswerKey Key { get; init; } = AnswerKey.None;

    /// <summary>Names the step that was retained, or null.</summary>
    public string? StepId { get; init; }

    /// <summary>What was said of the batch.</summary>
    public IReadOnlyList<Finding> Warnings { get; init; } = [];

    /// <summary>The eps that a batch was normalized with.</summary>
    public double Eps { get; init; }

    /// <summary>Number of values behind <see cref="Arrays"/>, where they are statistics.</summary>
    public long Count { get; init; }

    /// <summary>Number of batches behind <see cref="Arrays"/>, where they are statistics.</summary>
    public long Batches { get; init; }

    /// <summary>Of a step that several ranks make together: who took part, by their nonces.</summary>
    public IReadOnlyList<string> Participants { get; init; } = [];

    /// <summary>Of a rank's part of such a step: the update that it asks for, as a text that is the same for equal ones.</summary>
    public string? Update { get; init; }

    /// <summary>Of a rank's part of such a step: the versions that its If-Match allows to be changed; null for any.</summary>
    public IReadOnlyList<long>? AllowedVersions { get; init; }

    /// <summary>Of a rank's part of such a step: when it came, by its node's clock; for nodes of before alone.</summary>
    public DateTimeOffset? JoinedAt { get; init; }

    /// <summary>Code of the problem that it was, or null.</summary>
    public string? ProblemCode { get; init; }

    /// <summary>Detail of that problem.</summary>
    public string? Detail { get; init; }

    /// <summary>Values by their names.</summary>
    [JsonIgnore]
    public IReadOnlyDictionary<string, double[]> Arrays { get; init; } = new Dictionary<string, double[]>();

    /// <summary>Encodes the answer.</summary>
    public StoredAnswer Encode()
    {
        var file = new SafetensorsFile();
        foreach (var (name, values) in Arrays) file.AddShort(name, values);
        file.AddText(nameof(AnswerKey.Fingerprint), Key.Fingerprint);
        file.AddText(nameof(RememberedAnswer), JsonSerializer.Serialize(this, AnswerJson.Default.RememberedAnswer));
        return new StoredAnswer(Key.Topic, Key.Key, Checksum.Append(file.ToArray(Checksum.Bytes)));
    }

    /// <summary>Decodes an answer.</summary>
    /// <param name="stored">What was stored.</param>
    /// <param name="withArrays">Whether its arrays are asked for, which take by far the most time.</param>
    /// <exception cref="DamagedStateException">It is not as it was written.</exception>
    public static RememberedAnswer Decode(StoredAnswer stored, bool withArrays = true)
    {
        try
        {
            var file = new SafetensorsArrays(Checksum.Content(stored.Content));
            return JsonSerializer.Deserialize(file.Texts[nameof(RememberedAnswer)], AnswerJson.Default.RememberedAnswer)! with
            {
                Key = new AnswerKey(stored.Topic, stored.Key, file.Texts[nameof(AnswerKey.Fingerprint)]),
                Arrays = withArrays ? file.Names.ToDictionary(name => name, name => file[name]) : [],
            };
        }
        catch (Exception exception) when (exception is not OutOfMemoryException)
        {
            throw new DamagedStateException(
                $"what is remembered of the answer to {(stored.Topic.Length == 0 ? $"Idempotency-Key '{stored.Key}'" : $"step {stored.Key}")} is damaged in "
                + "the storage: it was made, and how it was answered is not known any more. Look at the session's state, and go on with a new key or step");
        }
    }
}

/// <summary>How what is not arrays is written.</summary>
[JsonSourceGenerationOptions(NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals)]
[JsonSerializable(typeof(RememberedAnswer))]
internal sealed partial class AnswerJson : JsonSerializerContext;
