using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using BnService.Bench.Cases;
using BnService.Bench.Http.Client;

namespace BnService.Bench.Http;

/// <summary>Why an answer is not the right one; null where it is.</summary>
internal delegate string? AnswerCheck(Answer answer);

/// <summary>What each kind of contender must answer.</summary>
/// <param name="data">x, and where y is put to be held against the reference.</param>
internal sealed unsafe class AnswerChecks(CaseData data)
{
    private const int LongestQuote = 100;

    private static readonly byte[] NumPyMagic = [0x93, .. "NUMPY"u8];

    private readonly int _bytes = (int)data.Case.Bytes;

    /// <summary>The request's body.</summary>
    public static AnswerCheck Echo(HttpRequest request, Payload payload) => OfBody(body =>
        body.AsSpan().StartsWith(request.BodyPrefix) && payload.Bytes.SequenceEqual(body.AsSpan(request.BodyPrefixLength))
            ? null : $"echoed {body.Length} bytes that are not those that were sent");

    /// <summary>y as a NumPy file.</summary>
    public AnswerCheck NumPy(Operation operation, bool isPeer = false) => OfBody(body =>
    {
        var head = body.Length - _bytes;
        if (head <= 0 || !body.AsSpan().StartsWith(NumPyMagic)) return $"answered {body.Length} bytes that are no NumPy file";
        var description = Encoding.ASCII.GetString(body, 0, head);
        var shape = $"({data.Case.N}, {data.Case.C})";
        if (!description.Contains("<f4", StringComparison.Ordinal) || !description.Contains(shape, StringComparison.Ordinal))
            return $"answered a NumPy file that is not of {shape} float32";
        return Flaw(operation, MemoryMarshal.Cast<byte, float>(body.AsSpan(head)), isPeer);
    });

    /// <summary>y as a binary tensor of the Open Inference Protocol.</summary>
    public AnswerCheck OpenInference() => answer => OfBody(body =>
    {
        var length = Encoding.ASCII.GetString(answer.Header("Inference-Header-Content-Length"u8));
        var head = body.Length - _bytes;
        return length == head.ToString(CultureInfo.InvariantCulture)
            ? Flaw(Operation.Inference, MemoryMarshal.Cast<byte, float>(body.AsSpan(head)), isPeer: false)
            : $"answered {body.Length} bytes, Inference-Header-Content-Length: '{length}', for {_bytes} bytes of y";
    })(answer);

    /// <summary>y as JSON.</summary>
    public AnswerCheck Json(bool isPeer = false) => OfBody(body =>
    {
        try
        {
            using var json = JsonDocument.Parse(body);
            var y = json.RootElement.GetProperty("y");
            return y.GetProperty("shape").EnumerateArray().Select(size => size.GetInt32()).SequenceEqual([data.Case.N, data.Case.C])
                ? Flaw(Operation.Inference, [.. y.GetProperty("data").EnumerateArray().Select(value => value.GetSingle())], isPeer)
                : "answered y of another shape";
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            return $"answered something else than y as JSON: {exception.Message}";
        }
    });

    private string? Flaw(Operation operation, ReadOnlySpan<float> y, bool isPeer)
    {
        if (y.Length != data.Case.Count) return $"answered {y.Length} numbers for {data.Case.Count}";
        y.CopyTo(new Span<float>(data.Result(0), data.Case.Count));
        // Ours is held to the accuracy that it promises.
        return isPeer ? data.Reference.CloseFlaw(operation, data.Result(0)) : data.Reference.Flaw(operation, data.Result(0));
    }

    /// <summary>An answer of 200 with a body that is right.</summary>
    public static AnswerCheck OfBody(Func<byte[], string?> flaw) => answer =>
    {
        var body = answer.CopyBody();
        return answer.Status == 200 ? flaw(body) : $"answered {answer.Status}: {Quote(body)}";
    };

    private static string Quote(byte[] body)
    {
        var text = Encoding.UTF8.GetString(body.AsSpan(0, Math.Min(body.Length, LongestQuote))).ReplaceLineEndings(" ");
        return text.Length == 0 ? "nothing more" : text;
    }
}
