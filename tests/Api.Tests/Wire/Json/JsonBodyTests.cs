using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using System.Text.RegularExpressions;
using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Api.Wire.Json;
using BnService.Core.Tensors;

namespace BnService.Api.Tests.Wire.Json;

/// <summary>
/// Bodies that are damaged in every way: nothing but a problem may come of them, and System.Text.Json decides what JSON is.
/// </summary>
public sealed class JsonBodyTests
{
    private const int Seed = 20_261_123;
    private const string NotJson = "the body is not well-formed JSON: ";

    private static readonly (string Body, Func<byte[], object> Read)[] Calls =
    [
        ("""{"x":{"shape":[2,2],"data":[1,-2.5,3e1,"NaN"]},"retain":false,"mask":[1,0],"residual":[[1,2],[3.25,-4E-2]]}""", Read<TrainStepRequest>),
        ("""{"x":[[1,"-Infinity"],[0.1,1234567.875]]}""", Read<InferenceRequest>),
        ("""{"step_id":"a\u00e9","dy":{"data":[1,0,0,1],"sh\u0061pe":[2,2]},"mode":"train","update":{"optimizer":"sgd","learning_rate":0.1}}""", Read<BackwardRequest>),
        ("""{"kind":"layer_norm","x":[[1.5,2],[3,5]],"gamma":[1,1],"backward":{"dy":[[1,0],[0,1]]},"mask":null}""", Read<NormalizeRequest>),
        ("""{"name":"n","num_features":2,"labels":{"a":"b","c":"d"},"momentum":null}""", Read<CreateSessionRequest>),
    ];

    private static readonly string[] Parts =
    [
        "{", "}", "[", "]", ",", ":", "\"", "\\", " ", "\n", "\0", "-", "+", ".", "e", "E", "0", "1", "9", "00", "null", "true", "1e39", "NaN", "\"NaN\"", "\"x\"",
        "{}", "[]", "[[", "]]", "\"x\":", "\\u0000", "\\ud800", "/", "//", "/**/", "\xff", "\xc0\x80", "é", "0.1", "-0", "1e-400", "12345678901234567890", "\"shape\":[1],",
    ];

    [Fact]
    public void A_body_that_ends_at_any_byte_is_malformed()
    {
        foreach (var (body, read) in Calls)
        {
            for (var length = 1; length < body.Length; length++)
            {
                foreach (var behind in (string[])["", new(' ', 100), "\n"])
                {
                    var refusal = Assert.Throws<ProblemException>(() => read(Encoding.UTF8.GetBytes(body[..length] + behind)));
                    Assert.Equal(ProblemCode.MalformedBody, refusal.Code);
                    Assert.StartsWith(NotJson, refusal.Message, StringComparison.Ordinal);
                    Assert.Matches(@"\(line [12], column \d+\)$", refusal.Message);
                }
            }
            (read(Encoding.UTF8.GetBytes(body)) as IDisposable)?.Dispose();
        }
    }

    [Fact]
    public void What_follows_the_body_is_malformed_wherever_it_starts()
    {
        foreach (var (body, read) in Calls)
        {
            foreach (var tail in (string[])["x", "{}", ",", "]", "}", "1", "\0", "/"])
                Assert.StartsWith(NotJson, Assert.Throws<ProblemException>(() => read(Encoding.UTF8.GetBytes(body + " " + tail))).Message, StringComparison.Ordinal);
        }
    }

    [Fact]
    public void The_place_of_a_flaw_is_that_in_the_whole_body()
    {
        var refusal = Assert.Throws<ProblemException>(() => Read<TrainStepRequest>("{\"retain\":true,\n\"x\":[[1,2],\n[3,01]]}"u8.ToArray()));
        Assert.Contains("expected a value or ']', got 01, which is not how JSON writes a number (line 3, column 4)", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Sixty_four_levels_are_allowed_in_all_wherever_they_begin()
    {
        static string Labels(int levels) => $$"""{"num_features":2,"labels":{{new string('[', levels)}}{{new string(']', levels)}}}""";
        Assert.Contains("labels must be an object of strings", Refusal<CreateSessionRequest>(Labels(63)), StringComparison.Ordinal);
        Assert.Contains("nested deeper than 64 levels", Refusal<CreateSessionRequest>(Labels(64)), StringComparison.Ordinal);
        static string Inner(int levels) => $$$"""{"dy":[1],"update":{"optimizer":{{{new string('[', levels)}}}{{{new string(']', levels)}}} }}""";
        Assert.Contains("update.optimizer must be one of", Refusal<BackwardRequest>(Inner(62)), StringComparison.Ordinal);
        Assert.Contains("nested deeper than 64 levels", Refusal<BackwardRequest>(Inner(63)), StringComparison.Ordinal);
    }

    [Fact]
    public void Damaged_bodies_are_refused_as_JSON_or_as_what_they_say() => Fuzz.Run(Seed, 30_000, 400_000, random =>
    {
        var (body, read) = Calls[random.Next(Calls.Length)];
        var bytes = Damaged(random, body);
        var text = Encoding.Latin1.GetString(bytes);
        ProblemException? refusal = null;
        try
        {
            (read(bytes) as IDisposable)?.Dispose();
        }
        catch (ProblemException problem)
        {
            refusal = problem;
        }
        var isJson = IsJson(bytes);
        if (!isJson && !IsJson(Quoted(bytes)) && refusal is null) Assert.Fail($"accepted, and no JSON: {text}");
        // Escapes of half a character are JSON by its grammar, and no text.
        if (isJson && refusal is not null && refusal.Message.StartsWith(NotJson, StringComparison.Ordinal) && !text.Contains("\\u", StringComparison.Ordinal)
            && bytes.All(b => b < 0x80)) Assert.Fail($"refused ({refusal.Message}), and JSON: {text}");
        if (refusal?.Message.Contains("Exception of type", StringComparison.Ordinal) == true) Assert.Fail($"unexplained: {text}");
    });

    [Fact]
    public void Damaged_arrays_are_what_they_are_to_the_serializer() => Fuzz.Run(Seed, 30_000, 400_000, random =>
    {
        var array = string.Join(",", Enumerable.Range(0, random.Next(1, 5)).Select(_ =>
            random.Next(2) == 0 ? NumberTexts.Any(random) : $"[{string.Join(",", Enumerable.Range(0, random.Next(3)).Select(_ => NumberTexts.Any(random)))}]"));
        var bytes = Damaged(random, $$"""{"x":[{{array}}]}{{new string(' ', random.Next(2) * 80)}}""");
        var text = Encoding.Latin1.GetString(bytes);
        if (!text.StartsWith("{\"x\":[", StringComparison.Ordinal)) return;
        var expected = IsJson(Quoted(bytes)) ? Elements(Quoted(bytes)) : null;
        Tensor? read = null;
        try
        {
            read = ((InferenceRequest)Read<InferenceRequest>(bytes)).X;
        }
        catch (ProblemException)
        {
        }
        if (expected is null != read is null) Assert.Fail($"{(read is null ? "refused" : "accepted")}: {text}");
        if (read is null) return;
        Assert.Equal(expected!.Select(BitConverter.SingleToUInt32Bits), read.Data.ToArray().Select(BitConverter.SingleToUInt32Bits));
        read.Dispose();
    });

    // The elements of x, or null where it is not the only field, or no tensor.
    private static float[]? Elements(byte[] body)
    {
        using var document = JsonDocument.Parse(body);
        var fields = document.RootElement.EnumerateObject().ToArray();
        if (fields is not [{ Name: "x" } x]) return null;
        var elements = new List<float>();
        try
        {
            return ShapeOf(x.Value, elements, 0) is null ? null : [.. elements];
        }
        catch (InvalidOperationException)
        {
            return null;
        }
    }

    // Depth by depth; an empty array is as deep as the tensor goes. Null where dimensions differ or an element is none.
    private static int[]? ShapeOf(JsonElement value, List<float> elements, int depth)
    {
        if (value.ValueKind != JsonValueKind.Array)
        {
            var element = value.ValueKind switch
            {
                JsonValueKind.Number => value.GetSingle(),
                JsonValueKind.String => value.GetString() switch { "NaN" => float.NaN, "Infinity" => 1e30f * 1e30f, "-Infinity" => -1e30f * 1e30f, _ => (float?)null },
                _ => null,
            };
            if (element is null || (value.ValueKind == JsonValueKind.Number && !float.IsFinite(element.Value))) return null;
            elements.Add(element.Value);
            return [];
        }
        if (depth == Shape.MaxRank) return null;
        int[]? common = null;
        foreach (var item in value.EnumerateArray())
        {
            var shape = ShapeOf(item, elements, depth + 1);
            if (shape is null || (common is not null && !common.SequenceEqual(shape))) return null;
            common = shape;
        }
        return [value.GetArrayLength(), .. common ?? []];
    }

    private static byte[] Damaged(Random random, string body)
    {
        var bytes = Encoding.UTF8.GetBytes(body).ToList();
        for (var damages = random.Next(4); damages > 0; damages--)
        {
            var at = random.Next(bytes.Count + 1);
            var part = Encoding.Latin1.GetBytes(Parts[random.Next(Parts.Length)]);
            switch (random.Next(6))
            {
                case 0: bytes.InsertRange(at, part); break;
                case 1: bytes.RemoveRange(at, Math.Min(random.Next(1, 4), bytes.Count - at)); break;
                case 2: if (at < bytes.Count) bytes[at] = (byte)random.Next(256); break;
                case 3: if (at < bytes.Count) bytes[at] = part[0]; break;
                case 4: bytes.InsertRange(at, bytes.Skip(random.Next(bytes.Count)).Take(random.Next(20)).ToArray()); break;
                default: bytes.RemoveRange(at, (bytes.Count - at) * random.Next(4) / 8); break;
            }
            if (bytes.Count == 0) bytes.Add((byte)'{');
        }
        return [.. bytes];
    }

    // NaN and infinities are read without quotes as well.
    private static byte[] Quoted(byte[] text) =>
        Encoding.Latin1.GetBytes(Regex.Replace(Encoding.Latin1.GetString(text), "(?<=[\\[,:]\\s*)(NaN|-?Infinity)(?=\\s*[\\],}])", "\"$1\""));

    private static bool IsJson(byte[] text)
    {
        try
        {
            JsonDocument.Parse(text).Dispose();
            return true;
        }
        catch (JsonException)
        {
            return false;
        }
    }

    private static string Refusal<T>(string body)
        where T : class => Assert.Throws<ProblemException>(() => Read<T>(Encoding.UTF8.GetBytes(body))).Message;

    private static object Read<T>(byte[] body)
        where T : class => JsonMessageReader.Read(body, (JsonTypeInfo<T>)ContractJson.Context.GetTypeInfo(typeof(T))!);
}
