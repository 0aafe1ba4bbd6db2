using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Errors;
using BnService.Api.Hosting;
using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.Json;

/// <summary>
/// How a JSON body is read, and how long what is in it may be. A few kilobytes that are compressed hold arrays of many millions: reading ends
/// where one is too long, before memory is taken for the rest of it.
/// </summary>
/// <param name="Precision">Type of the tensors' elements.</param>
/// <param name="MostElements">The most elements of a tensor.</param>
/// <param name="MostNumbers">The most entries of another array of numbers.</param>
/// <param name="Setting">The setting that <paramref name="MostNumbers"/> comes from.</param>
internal readonly record struct JsonTerms(Precision Precision, int MostElements, int MostNumbers, string Setting)
{
    /// <summary>The most entries of an array or object whose field does not say it.</summary>
    public const int MostItems = 1024;

    /// <summary>The most bytes of a name.</summary>
    public const int LongestName = 1024;

    // Of what is no tensor, no mask and no array of numbers: 64 labels, with every character an escape, are half as long.
    private const int MostBytes = 256 << 10;

    // What is shorter is not worth counting.
    private const int WorthCounting = 64 << 10;

    // A list grows to twice what it holds, and is copied into an array; a value takes two bytes of text.
    private const int BytesPerByte = 2;

    /// <summary>The terms of a message: parameters that come with a batch may have a value for each of its elements, others one per statistic.</summary>
    /// <param name="contract">Metadata of the message's type.</param>
    /// <param name="precision">Type of the tensors' elements.</param>
    /// <param name="limits">What is allowed; null for anything.</param>
    public static JsonTerms Of(JsonTypeInfo contract, Precision precision, LimitOptions? limits)
    {
        if (limits is null) return new(precision, int.MaxValue, int.MaxValue, "");
        var hasTensors = Array.Exists(ContractField.Of(contract), field => field.IsTensor);
        return new(precision, limits.MaxElements, hasTensors ? limits.MaxElements : limits.MaxFeatures,
            hasTensors ? $"Limits:{nameof(LimitOptions.MaxElements)}" : $"Limits:{nameof(LimitOptions.MaxFeatures)}");
    }

    /// <summary>What is said of an array that is too long.</summary>
    public static ProblemException TooMany(string path, int most) =>
        new(ProblemCode.InvalidOption, $"{path} has at most {most} entries, got more");

    /// <summary>What is said of an array of numbers that is too long.</summary>
    public ProblemException TooManyNumbers(string path) =>
        new(ProblemCode.LimitReached, $"{path} has at most {MostNumbers} values ({Setting}), got more");

    /// <summary>Goes over a value that the serializer reads as a whole.</summary>
    /// <param name="reader">Stands on its first token.</param>
    /// <param name="field">The field that it is of.</param>
    /// <param name="path">Where it stands, for messages.</param>
    /// <returns>Its bytes.</returns>
    /// <exception cref="ProblemException">It is too long.</exception>
    /// <exception cref="JsonException">It is not JSON.</exception>
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
            if (bytes > mostBytes) throw new ProblemException(ProblemCode.InvalidOption, $"{path} takes at most {mostBytes} bytes of JSON, got more");
        }
    }
}
