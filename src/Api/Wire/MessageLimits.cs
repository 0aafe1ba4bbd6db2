using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Hosting;
using BnService.Api.Errors;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Wire;

/// <summary>
/// How long a message, and what is in it, may be. A few kilobytes that are compressed hold arrays of many millions: reading ends
/// where one is too long, before memory is taken for the rest of it. The size of a binary tensor is checked before its elements are read.
/// </summary>
/// <param name="MostNumbers">The most entries of another array of numbers.</param>
/// <param name="Setting">The setting that <paramref name="MostNumbers"/> comes from.</param>
internal readonly record struct MessageLimits(Precision Precision, int MostElements, int MostNumbers, string Setting)
{
    /// <summary>The most entries of an array or object whose field does not say it.</summary>
    public const int MostItems = 1024;

    public const int LongestName = 1024;

    // Of what is no tensor, no mask and no array of numbers: 64 labels, with every character an escape, are half as long.
    private const int MostBytes = 256 << 10;

    // What is shorter is not worth counting.
    private const int WorthCounting = 64 << 10;

    // A list grows to twice what it holds, and is copied into an array; a value takes two bytes of text.
    private const int BytesPerByte = 2;

    // All labels with every character an escape, twice; and a number on a line of its own.
    private const int BytesOfOptions = 512 << 10, BytesOfNumber = 40;

    /// <summary>
    /// The limits of a message: parameters that come with a batch may have a value for each of its elements, others one per statistic.
    /// </summary>
    /// <param name="limits">What is allowed; null for anything.</param>
    public static MessageLimits Of(JsonTypeInfo contract, Precision precision, LimitOptions? limits)
    {
        if (limits is null) return new(precision, int.MaxValue, int.MaxValue, "");
        var hasTensors = Array.Exists(ContractField.Of(contract), field => field.IsTensor);
        return new(precision, limits.MaxElements, hasTensors ? limits.MaxElements : limits.MaxFeatures,
            hasTensors ? $"Limits:{nameof(LimitOptions.MaxElements)}" : $"Limits:{nameof(LimitOptions.MaxFeatures)}");
    }

    /// <summary>
    /// The longest body of a call: without tensors, a state or lists of arrays it has no use for more than its fields can hold.
    /// </summary>
    public static long MostBytesOf(JsonTypeInfo contract, LimitOptions limits)
    {
        var fields = ContractField.Of(contract);
        var isLarge = contract.Type == typeof(PutStateRequest) || contract.Type == typeof(MergeRequest);
        if (isLarge || Array.Exists(fields, field => field.IsTensor)) return limits.MaxBodyBytes;
        var arrays = fields.Count(field => field.Property.PropertyType == typeof(double[]));
        return Math.Min(limits.MaxBodyBytes, BytesOfOptions + ((long)arrays * limits.MaxFeatures * BytesOfNumber));
    }

    /// <summary>Refuses a tensor that is too large.</summary>
    public static void RequireTensor(LimitOptions limits, string field, Shape shape)
    {
        if (shape.Count > limits.MaxElements)
            throw Reached($"{field} has at most {limits.MaxElements} elements (Limits:MaxElements), got {shape.Count} in shape {shape}");
        // More dimensions than any layer has are not the operator's to allow, and refused where layers are known.
        if (limits.MaxRank < Layout.MaxRank && shape.Rank > limits.MaxRank)
            throw Reached($"{field} has at most {limits.MaxRank} dimensions (Limits:MaxRank), got {shape.Rank} in shape {shape}");
    }

    /// <summary>Refuses a message with a tensor that is too large.</summary>
    /// <param name="path">Where the message lies in another one, with a dot after it.</param>
    public static void RequireTensors(LimitOptions limits, object message, JsonTypeInfo contract, string path = "")
    {
        foreach (var field in ContractField.Of(contract))
        {
            if (field.Property.Get is not { } get || get(message) is not { } value) continue;
            if (value is Tensor tensor) RequireTensor(limits, path + field.Name, tensor.Shape);
            else if (value is IDisposable
                && contract.Options.GetTypeInfo(field.Property.PropertyType) is { Kind: JsonTypeInfoKind.Object } inner)
                RequireTensors(limits, value, inner, $"{path}{field.Name}.");
        }
    }

    /// <summary>The refusal of an array that is too long.</summary>
    public static ProblemException TooMany(string path, int most) =>
        new(ProblemCode.InvalidOption, $"{path} has at most {most} entries, got more");

    /// <summary>The refusal of an array of numbers that is too long.</summary>
    public ProblemException TooManyNumbers(string path) => Reached($"{path} has at most {MostNumbers} values ({Setting}), got more");

    /// <summary>Goes over a value that the serializer reads as a whole.</summary>
    /// <returns>Its bytes.</returns>
    public static long LengthOf(Utf8JsonReader reader, ContractField field, string path)
    {
        var isMask = field.Property.PropertyType == typeof(BatchMask);
        var mostBytes = isMask || field.MostItems > MostItems ? long.MaxValue : MostBytes;
        if (!isMask && reader.TokenType is JsonTokenType.StartArray or JsonTokenType.StartObject)
        {
            var (items, most) = (0, field.MostItems ?? MostItems);
            while (reader.Read() && reader.TokenType is not (JsonTokenType.EndArray or JsonTokenType.EndObject))
            {
                if (++items > most) throw TooMany(path, most);
                reader.Skip();
                RequireShort(reader.BytesConsumed);
            }
        }
        else reader.Skip();
        RequireShort(reader.BytesConsumed);
        if (reader.BytesConsumed > WorthCounting) MemoryAccount.Hold(BytesPerByte * reader.BytesConsumed);
        return reader.BytesConsumed;

        void RequireShort(long bytes)
        {
            if (bytes <= mostBytes) return;
            throw new ProblemException(ProblemCode.InvalidOption, $"{path} takes at most {mostBytes} bytes of JSON, got more");
        }
    }

    private static ProblemException Reached(string detail) => new(ProblemCode.LimitReached, detail);
}
