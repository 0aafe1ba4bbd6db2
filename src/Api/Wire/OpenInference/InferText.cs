using System.Text.Json;
using BnService.Api.Errors;
using BnService.Api.Wire.Json;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.OpenInference;

/// <summary>Names and refusals of the protocol's infer call.</summary>
internal static class InferText
{
    public const string Input = "x";

    public const string Output = "y";

    /// <summary>Header with the bytes of the JSON in front of binary tensors, of requests and answers.</summary>
    public const string LengthHeader = "Inference-Header-Content-Length";

    /// <summary>
    /// Whether the JSON reader has stopped at what is not JSON; an escape of an unpaired surrogate it finds only when it compares the text.
    /// </summary>
    public static bool IsMalformedJson(Exception exception) =>
        exception is JsonException or InvalidOperationException { Source: "System.Text.Json.Rethrowable" };

    public static ProblemException Refused(string text) => new(ProblemCode.MalformedBody, text);
}

/// <summary>The protocol's names of the types in which tensors travel.</summary>
internal static class Datatypes
{
    public static string Described(Precision precision) => precision == Precision.Float64 ? "FP64" : "FP32";

    public static string Configured(Precision precision) => $"TYPE_{Described(precision)}";

    private static readonly (string Name, ElementType Type)[] Known =
    [
        ("FP32", ElementType.F32), ("FP64", ElementType.F64), ("FP16", ElementType.F16), ("BF16", ElementType.BF16),
        ("INT8", ElementType.I8), ("INT16", ElementType.I16), ("INT32", ElementType.I32), ("INT64", ElementType.I64),
        ("UINT8", ElementType.U8), ("UINT16", ElementType.U16), ("UINT32", ElementType.U32), ("UINT64", ElementType.U64),
        ("BOOL", ElementType.BOOL),
    ];

    /// <summary>The types that are spoken, for messages.</summary>
    public static string All { get; } = string.Join(", ", Known.Select(known => known.Name));

    public static string Name(this ElementType type) => Array.Find(Known, known => known.Type == type).Name;

    /// <summary>The type of a name; null where it is none of ours.</summary>
    public static ElementType? Find(string name) => Array.FindIndex(Known, known => known.Name == name) is var index and >= 0
        ? Known[index].Type : null;

    /// <summary>The least and the most that elements of a type of whole numbers can be; null for other types.</summary>
    public static (long Least, ulong Most)? RangeOf(ElementType type) => type switch
    {
        ElementType.I64 => (long.MinValue, long.MaxValue),
        ElementType.I32 => (int.MinValue, int.MaxValue),
        ElementType.I16 => (short.MinValue, (ulong)short.MaxValue),
        ElementType.I8 => (sbyte.MinValue, (ulong)sbyte.MaxValue),
        ElementType.U64 => (0, ulong.MaxValue),
        ElementType.U32 => (0, uint.MaxValue),
        ElementType.U16 => (0, ushort.MaxValue),
        ElementType.U8 => (0, byte.MaxValue),
        ElementType.BOOL => (0, 1),
        _ => null,
    };

    /// <summary>Whether numbers of the type are written in JSON; the halves travel in binary only.</summary>
    public static bool HasJson(this ElementType type) => type is not (ElementType.F16 or ElementType.BF16);
}

/// <summary>The request of the repository's index (Triton's extension_model_repository.md): <c>{"ready": true}</c>, or nothing.</summary>
internal static class IndexRequest
{
    /// <summary>
    /// Whether only models that are ready are asked for. Refuses what is no such request; members that are not known are passed over.
    /// </summary>
    public static bool AsksForReady(ReadOnlySpan<byte> body)
    {
        body = JsonToken.WithoutMark(body);
        if (body.IsEmpty) return false;
        var asked = false;
        var reader = new Utf8JsonReader(body, new JsonReaderOptions { MaxDepth = InferHeaderReader.MaxDepth });
        try
        {
            reader.Read();
            if (reader.TokenType != JsonTokenType.StartObject)
                throw InferText.Refused($"the request must be a JSON object, got {JsonToken.Describe(ref reader)}");
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var isReady = reader.ValueTextEquals("ready"u8);
                reader.Skip();
                if (isReady && reader.TokenType is not (JsonTokenType.True or JsonTokenType.False or JsonTokenType.Null))
                    throw InferText.Refused($"ready must be true or false, got {JsonToken.Describe(ref reader)}");
                if (isReady) asked = reader.TokenType == JsonTokenType.True;
            }
            reader.Read();
            return asked;
        }
        catch (Exception exception) when (InferText.IsMalformedJson(exception))
        {
            throw InferText.Refused(JsonFlaw.Of(body, InferHeaderReader.MaxDepth).Explain("the body"));
        }
    }
}
