using System.Text.Json;
using BnService.Api.Errors;
using BnService.Api.Wire.Json;

namespace BnService.Api.Wire.Safetensors;

/// <summary>A tensor of a safetensors file, as its header describes it.</summary>
/// <param name="Type">Type of its elements; null for one that is not read.</param>
/// <param name="Dimensions">Its dimensions, outermost first.</param>
/// <param name="Begin">First byte of its elements, counted from the end of the header.</param>
/// <param name="End">The byte after the last one.</param>
internal sealed record SafetensorsEntry(string Name, ElementType? Type, string Dtype, IReadOnlyList<long> Dimensions, long Begin, long End)
{
    /// <summary>The type, which must be one that is read.</summary>
    public ElementType KnownType => Type ?? throw new ProblemException(ProblemCode.MalformedBody,
        $"safetensors: '{Excerpt.Of(Name)}'.dtype must be one of {string.Join(", ", Enum.GetNames<ElementType>())}, got " +
            $"\"{Excerpt.Of(Dtype)}\"");
}

// u64 N, little-endian | N bytes of JSON | the tensors' elements, little-endian, row-major, one after another

/// <summary>
/// The header of a safetensors file (huggingface/safetensors, "Format"): names, types, shapes and places of the tensors, and texts.
/// Everything is checked before memory is taken for any tensor.
/// </summary>
/// <param name="Entries">The tensors, in the order of their elements: without holes and overlaps from byte 0 on.</param>
/// <param name="Metadata">The texts under <c>__metadata__</c>.</param>
internal sealed record SafetensorsHeader(IReadOnlyList<SafetensorsEntry> Entries, IReadOnlyDictionary<string, string> Metadata)
{
    /// <summary>The longest header, as in the reference implementation.</summary>
    public const int MaxLength = 100_000_000;

    private const int MaxDepth = 8;

    // As many dimensions as any library has; a list of millions would take many times the memory of its text.
    private const int MostNumbers = 64;

    public const string MetadataName = "__metadata__";

    public long DataLength => Entries.Count == 0 ? 0 : Entries[^1].End;

    /// <summary>Reads a header.</summary>
    /// <param name="json">The header's JSON; blanks after it are padding.</param>
    /// <param name="mayRepeat">Whether a tensor's bytes may be those of one element, which it holds throughout.</param>
    public static SafetensorsHeader Parse(ReadOnlySpan<byte> json, bool mayRepeat = false, int most = int.MaxValue)
    {
        if (json.IsEmpty || json[0] != '{') throw Malformed("the header must be a JSON object that begins at its first byte");
        var entries = new List<SafetensorsEntry>();
        Dictionary<string, string>? metadata = null;
        try
        {
            var names = new HashSet<string>();
            var reader = new Utf8JsonReader(json, new JsonReaderOptions { MaxDepth = MaxDepth });
            reader.Read();
            while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
            {
                var name = reader.GetString()!;
                if (names.Count > most) throw Malformed($"the header has at most {most} tensors, got more");
                if (!names.Add(name)) throw Malformed($"the header names '{Excerpt.Of(name)}' twice");
                reader.Read();
                if (name == MetadataName) metadata = ReadMetadata(ref reader, most);
                else entries.Add(ReadEntry(ref reader, name, mayRepeat));
            }
            reader.Read();
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            // Escapes of unpaired surrogates are found when the text is asked for.
            throw Malformed(JsonFlaw.Of(json, MaxDepth).Explain("the header"));
        }
        entries.Sort((a, b) => (a.Begin, a.End).CompareTo((b.Begin, b.End)));
        long end = 0;
        foreach (var entry in entries)
        {
            if (entry.Begin != end)
                throw Malformed($"the elements of '{Excerpt.Of(entry.Name)}' must begin at byte {end}, after those of the tensor before, " +
                    $"got {entry.Begin}");
            end = entry.End;
        }
        return new(entries, metadata ?? []);
    }

    private static Dictionary<string, string> ReadMetadata(ref Utf8JsonReader reader, int most)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
            throw Malformed($"{MetadataName} must be an object of texts, got {JsonToken.Describe(ref reader)}");
        var metadata = new Dictionary<string, string>();
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var name = reader.GetString()!;
            reader.Read();
            if (reader.TokenType != JsonTokenType.String)
                throw Malformed($"{MetadataName}.{Excerpt.Of(name)} must be a text, got {JsonToken.Describe(ref reader)}");
            if (metadata.Count == most) throw Malformed($"{MetadataName} has at most {most} texts, got more");
            if (!metadata.TryAdd(name, reader.GetString()!)) throw Malformed($"{MetadataName} names '{Excerpt.Of(name)}' twice");
        }
        return metadata;
    }

    private static SafetensorsEntry ReadEntry(ref Utf8JsonReader reader, string name, bool mayRepeat)
    {
        if (reader.TokenType != JsonTokenType.StartObject)
            throw Malformed($"'{Excerpt.Of(name)}' must be an object, got {JsonToken.Describe(ref reader)}");
        string? type = null;
        List<long>? shape = null, offsets = null;
        while (reader.Read() && reader.TokenType == JsonTokenType.PropertyName)
        {
            var field = reader.GetString()!;
            reader.Read();
            var isNew = field switch
            {
                "dtype" => type is null,
                "shape" => shape is null,
                "data_offsets" => offsets is null,
                _ => throw Malformed($"'{Excerpt.Of(name)}' has the fields dtype, shape and data_offsets, got '{Excerpt.Of(field)}'"),
            };
            if (!isNew) throw Malformed($"'{Excerpt.Of(name)}' names '{field}' twice");
            if (field == "dtype") type = ReadType(ref reader, name);
            else if (field == "shape") shape = ReadNumbers(ref reader, $"'{Excerpt.Of(name)}'.shape");
            else offsets = ReadNumbers(ref reader, $"'{Excerpt.Of(name)}'.data_offsets");
        }
        if (type is null || shape is null || offsets is null)
            throw Malformed($"'{Excerpt.Of(name)}' lacks '{(type is null ? "dtype" : shape is null ? "shape" : "data_offsets")}'");
        if (offsets is not [var begin, var end] || end < begin)
            throw Malformed($"'{Excerpt.Of(name)}'.data_offsets must be two numbers, the second not below the first");
        ElementType? known = Enum.TryParse<ElementType>(type, out var parsed) && parsed.ToString() == type ? parsed : null;
        if (known is { } elements && Bytes(shape, elements.Size()) != end - begin && !(mayRepeat && end - begin == elements.Size()))
        {
            throw Malformed($"'{Excerpt.Of(name)}' has {end - begin} bytes by its data_offsets, but {type} of shape " +
                $"[{string.Join(", ", shape.Take(9))}] " +
                "takes another number");
        }
        return new(name, known, type, shape, begin, end);
    }

    private static string ReadType(ref Utf8JsonReader reader, string name) => reader.TokenType == JsonTokenType.String
        ? reader.GetString()!
        : throw Malformed($"'{Excerpt.Of(name)}'.dtype must be one of {string.Join(", ", Enum.GetNames<ElementType>())}, got " +
            $"{JsonToken.Describe(ref reader)}");

    private static List<long> ReadNumbers(ref Utf8JsonReader reader, string what)
    {
        var numbers = new List<long>();
        if (reader.TokenType != JsonTokenType.StartArray)
            throw Malformed($"{what} must be an array of whole numbers, got {JsonToken.Describe(ref reader)}");
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray)
        {
            if (reader.TokenType != JsonTokenType.Number || !reader.TryGetInt64(out var number) || number < 0)
                throw Malformed($"{what} must be an array of whole numbers of 0 or more, got {JsonToken.Describe(ref reader)}");
            if (numbers.Count == MostNumbers) throw Malformed($"{what} has at most {MostNumbers} numbers, got more");
            numbers.Add(number);
        }
        return numbers;
    }

    // Null where there is no such number.
    private static long? Bytes(List<long> shape, int size)
    {
        if (shape.Contains(0)) return 0;
        long bytes = size;
        foreach (var dimension in shape)
        {
            if (dimension > long.MaxValue / bytes) return null;
            bytes *= dimension;
        }
        return bytes;
    }

    private static ProblemException Malformed(string detail) => new(ProblemCode.MalformedBody, $"safetensors: {detail}");
}
