using System.Buffers.Binary;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace BnService.Client.Wire;

/// <summary>An answer as a safetensors file, read from the stream into the memory where its tensors are to lie.</summary>
internal sealed class SafetensorsAnswer
{
    // An answer's header names a few tensors and holds its warnings.
    private const int LongestHeader = 1 << 24;

    // More values per statistic than a session can have by far.
    private const int LongestArray = 1 << 29;

    private readonly Dictionary<string, (double[] Values, int[] Shape)> _arrays = [];
    private readonly Dictionary<string, TensorMemory> _tensors = [];
    private readonly Dictionary<string, string> _texts = [];

    private SafetensorsAnswer()
    {
    }

    /// <summary>Reads an answer.</summary>
    /// <param name="content">Its body.</param>
    /// <param name="count">Number of elements that each tensor must have; nothing else is given memory.</param>
    /// <param name="target">Name of the tensor that goes to <paramref name="destination"/>, or null.</param>
    /// <param name="destination">The caller's memory for it.</param>
    /// <param name="cancellationToken">Ends reading.</param>
    /// <exception cref="InvalidDataException">It is not one, or has other tensors than were asked for.</exception>
    /// <exception cref="IOException">It ends too early.</exception>
    public static async ValueTask<SafetensorsAnswer> ReadAsync(
        HttpContent content, int count, string? target, Memory<float> destination, CancellationToken cancellationToken)
    {
        var stream = await content.ReadAsStreamAsync(cancellationToken).ConfigureAwait(false);
        await using (stream.ConfigureAwait(false))
        {
            var prefix = new byte[sizeof(ulong)];
            await stream.ReadExactlyAsync(prefix, cancellationToken).ConfigureAwait(false);
            var length = BinaryPrimitives.ReadUInt64LittleEndian(prefix);
            if (length is < 2 or > LongestHeader) throw new InvalidDataException($"a safetensors header of {length} bytes");
            var header = new byte[length];
            await stream.ReadExactlyAsync(header, cancellationToken).ConfigureAwait(false);
            var answer = new SafetensorsAnswer();
            foreach (var (name, type, shape, bytes) in answer.ParseHeader(header))
            {
                if (type == "F64")
                {
                    var values = new double[bytes / sizeof(double)];
                    foreach (var piece in ElementBytes<double>.Of(values.AsMemory())) await stream.ReadExactlyAsync(piece, cancellationToken).ConfigureAwait(false);
                    answer._arrays.Add(name, (values, shape));
                    continue;
                }
                if (type != "F32" || bytes != (long)count * sizeof(float))
                    throw new InvalidDataException($"{name} as {bytes} bytes of {type}, expected {count} elements of F32");
                var memory = name == target ? TensorMemory.Of(destination[..count], shape) : TensorMemory.Rent(count, shape);
                // What a failed read has filled is left to the collector: nobody else may be given memory that a late byte comes into.
                foreach (var piece in ElementBytes<float>.Of(memory.Writable)) await stream.ReadExactlyAsync(piece, cancellationToken).ConfigureAwait(false);
                answer._tensors.Add(name, memory);
            }
            // The answer is whole when its end has come: only then can the connection serve the next call.
            if (await stream.ReadAsync(prefix.AsMemory(0, 1), cancellationToken).ConfigureAwait(false) != 0)
                throw new InvalidDataException("bytes behind the last tensor");
            return answer;
        }
    }

    /// <summary>A tensor that must be there.</summary>
    public TensorMemory Tensor(string name) => FindTensor(name) ?? throw new InvalidDataException($"no tensor '{name}'");

    /// <summary>A tensor, or null.</summary>
    public TensorMemory? FindTensor(string name) => _tensors.GetValueOrDefault(name) is { } tensor ? tensor
        : _arrays.TryGetValue(name, out var wide) ? TensorMemory.Of(wide.Values, wide.Shape) : null;

    /// <summary>An array that must be there.</summary>
    public double[] Array(string name) => FindArray(name) ?? throw new InvalidDataException($"no array '{name}'");

    /// <summary>An array, or null.</summary>
    public double[]? FindArray(string name) => _arrays.GetValueOrDefault(name).Values;

    /// <summary>A text, or null.</summary>
    public string? FindText(string name) => _texts.GetValueOrDefault(name);

    /// <summary>A whole number that must be there.</summary>
    public long Number(string name) =>
        long.TryParse(FindText(name), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var number)
            ? number : throw new InvalidDataException($"no whole number '{name}'");

    /// <summary>Something that is written as JSON and must be there.</summary>
    public T Value<T>(string name, JsonTypeInfo<T> contract) =>
        FindText(name) is { } text && JsonSerializer.Deserialize(text, contract) is { } value ? value : throw new InvalidDataException($"no value '{name}'");

    /// <summary>What the service has to say of the input.</summary>
    public Finding[] Warnings() => FindText("warnings") is null ? [] : Value("warnings", ClientJson.Default.FindingArray);

    // The tensors in the order of their bytes, which follow each other without holes.
    private IEnumerable<(string Name, string Type, int[] Shape, long Bytes)> ParseHeader(byte[] header)
    {
        var entries = new List<(string Name, string Type, int[] Shape, long Begin, long End)>();
        using (var json = JsonDocument.Parse(header))
        {
            foreach (var entry in json.RootElement.EnumerateObject())
            {
                if (entry.NameEquals("__metadata__"))
                {
                    foreach (var text in entry.Value.EnumerateObject()) _texts[text.Name] = text.Value.GetString() ?? "";
                    continue;
                }
                var offsets = entry.Value.GetProperty("data_offsets");
                entries.Add((entry.Name, entry.Value.GetProperty("dtype").GetString() ?? "",
                    [.. entry.Value.GetProperty("shape").EnumerateArray().Select(dimension => dimension.GetInt32())], offsets[0].GetInt64(), offsets[1].GetInt64()));
            }
        }
        entries.Sort((a, b) => (a.Begin, a.End).CompareTo((b.Begin, b.End)));
        long end = 0;
        foreach (var entry in entries)
        {
            var size = entry.Type == "F64" ? sizeof(double) : sizeof(float);
            if (entry.Begin != end || entry.End < entry.Begin || (entry.Type == "F64" && entry.End - entry.Begin > LongestArray)
                || entry.Shape.Aggregate((long)size, (product, dimension) => product * dimension) != entry.End - entry.Begin)
                throw new InvalidDataException($"{entry.Name} does not lie where its shape says");
            end = entry.End;
        }
        return entries.Select(entry => (entry.Name, entry.Type, entry.Shape, entry.End - entry.Begin));
    }
}
