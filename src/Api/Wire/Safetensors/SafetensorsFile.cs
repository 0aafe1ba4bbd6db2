using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text.Json;
using BnService.Api.Contracts;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.Safetensors;

/// <summary>A tensor of a file. Its elements stay where they are until they are written.</summary>
/// <param name="Values">Its elements, or a whole number; null where they come from <paramref name="Source"/>.</param>
/// <param name="Source">Where elements come from; null where they are values.</param>
internal sealed record SafetensorsTensor(string Name, ElementType Type, int[] Dimensions, Array? Values, TensorSource? Source)
{
    public int Count => Values?.Length ?? Source!.Shape.Count;

    public long Length => (long)Count * Type.Size();

    /// <summary>Writes some of the elements.</summary>
    /// <param name="bytes">Where to; a whole number of elements.</param>
    public void CopyTo(int start, Span<byte> bytes)
    {
        if (Values is double[] doubles && Type == ElementType.F32)
        {
            var singles = MemoryMarshal.Cast<byte, float>(bytes);
            for (var i = 0; i < singles.Length; i++) singles[i] = (float)doubles[start + i];
        }
        else if (Values is double[] wide) MemoryMarshal.AsBytes(wide.AsSpan(start, bytes.Length / sizeof(double))).CopyTo(bytes);
        else if (Values is float[] narrow) MemoryMarshal.AsBytes(narrow.AsSpan(start, bytes.Length / sizeof(float))).CopyTo(bytes);
        else MemoryMarshal.AsBytes<long>((long[])Values!).CopyTo(bytes);
    }
}

/// <summary>The tensors and texts of a safetensors file that is to be written.</summary>
internal sealed class SafetensorsFile
{
    // A header is padded so that elements begin at whole multiples of the largest of them.
    private const int Alignment = 8;

    // As many channels as a layer commonly has: 32 KiB.
    private const int LongestWhole = 4096;

    private readonly List<SafetensorsTensor> _tensors = [];
    private readonly Dictionary<string, string> _texts = [];

    /// <summary>
    /// The tensors in the order of their elements: wide types first, so that each begins at a multiple of its size; then by name.
    /// </summary>
    public IEnumerable<SafetensorsTensor> Tensors =>
        _tensors.OrderByDescending(tensor => tensor.Type.Size()).ThenBy(tensor => tensor.Name, StringComparer.Ordinal);

    public long DataLength => _tensors.Sum(tensor => tensor.Length);

    public void Add(string name, TensorSource source) => _tensors.Add(
        new(name, source.Precision == Precision.Float64 ? ElementType.F64 : ElementType.F32, [.. source.Shape.Dimensions], null, source));

    public void Add(string name, float[] values, IReadOnlyList<int>? shape = null) =>
        _tensors.Add(new(name, ElementType.F32, Dimensions(values.Length, shape), values, null));

    /// <summary>Adds an array of float64.</summary>
    /// <param name="shape">Its dimensions; null for one.</param>
    /// <param name="isSingle">Whether it is written as float32.</param>
    public void Add(string name, double[] values, IReadOnlyList<int>? shape = null, bool isSingle = false) =>
        _tensors.Add(new(name, isSingle ? ElementType.F32 : ElementType.F64, Dimensions(values.Length, shape), values, null));

    /// <summary>
    /// Adds an array of float64 for <see cref="SafetensorsArrays"/> alone: of a long array that holds one value throughout only that value
    /// and the length are written. Any other reader refuses such a file, whose elements are fewer bytes than its shape takes; so do nodes
    /// of an earlier version during a rolling update, which is why short arrays are written as they are.
    /// </summary>
    public void AddShort(string name, double[] values)
    {
        var isShort = values.Length > LongestWhole && ConstantArrays.IsConstant(values);
        _tensors.Add(new(name, ElementType.F64, [values.Length], isShort ? values[..1] : values, null));
    }

    /// <summary>Adds a whole number, as a tensor without dimensions.</summary>
    public void Add(string name, long value) => _tensors.Add(new(name, ElementType.I64, [], new[] { value }, null));

    public void AddText(string name, string text) => _texts.Add(name, text);

    /// <summary>The header with its length before it.</summary>
    public byte[] Header()
    {
        var json = new ArrayBufferWriter<byte>();
        json.GetSpan(sizeof(ulong))[..sizeof(ulong)].Clear();
        json.Advance(sizeof(ulong));
        using (var writer = new Utf8JsonWriter(json,
            new JsonWriterOptions { SkipValidation = true, Encoder = ContractJson.Context.Options.Encoder }))
        {
            writer.WriteStartObject();
            if (_texts.Count > 0)
            {
                writer.WriteStartObject(SafetensorsHeader.MetadataName);
                foreach (var (name, text) in _texts) writer.WriteString(name, text);
                writer.WriteEndObject();
            }
            long begin = 0;
            foreach (var tensor in Tensors)
            {
                writer.WriteStartObject(tensor.Name);
                writer.WriteString("dtype", tensor.Type.ToString());
                writer.WriteStartArray("shape");
                foreach (var dimension in tensor.Dimensions) writer.WriteNumberValue(dimension);
                writer.WriteEndArray();
                writer.WriteStartArray("data_offsets");
                writer.WriteNumberValue(begin);
                writer.WriteNumberValue(begin += tensor.Length);
                writer.WriteEndArray();
                writer.WriteEndObject();
            }
            writer.WriteEndObject();
        }
        var padding = (Alignment - (json.WrittenCount % Alignment)) % Alignment;
        json.GetSpan(padding)[..padding].Fill((byte)' ');
        json.Advance(padding);
        var header = json.WrittenSpan.ToArray();
        BinaryPrimitives.WriteUInt64LittleEndian(header, (ulong)(header.Length - sizeof(ulong)));
        return header;
    }

    /// <summary>The whole file, of tensors that are in memory.</summary>
    /// <param name="spare">How many bytes to leave free after it.</param>
    public byte[] ToArray(int spare = 0)
    {
        var header = Header();
        var file = new byte[header.Length + DataLength + spare];
        header.CopyTo(file, 0);
        var rest = file.AsSpan(header.Length);
        foreach (var tensor in Tensors)
        {
            tensor.CopyTo(0, rest[..(int)tensor.Length]);
            rest = rest[(int)tensor.Length..];
        }
        return file;
    }

    private static int[] Dimensions(int length, IReadOnlyList<int>? shape) =>
        shape is not null && shape.Aggregate(1L, (product, dimension) => product * dimension) == length ? [.. shape] : [length];
}

/// <summary>The float64 arrays of a safetensors file that <see cref="SafetensorsFile"/> has made.</summary>
internal sealed class SafetensorsArrays
{
    private readonly Dictionary<string, SafetensorsEntry> _byName;
    private readonly ReadOnlyMemory<byte> _elements;

    public SafetensorsArrays(ReadOnlyMemory<byte> file)
    {
        var length = (int)BinaryPrimitives.ReadUInt64LittleEndian(file.Span);
        var header = SafetensorsHeader.Parse(file.Span.Slice(sizeof(ulong), length), mayRepeat: true);
        (_byName, Texts) = (header.Entries.ToDictionary(entry => entry.Name), header.Metadata);
        _elements = file[(sizeof(ulong) + length)..];
    }

    public IReadOnlyDictionary<string, string> Texts { get; }

    public IEnumerable<string> Names => _byName.Keys;

    public double[] this[string name] => Find(name) ?? throw new InvalidDataException($"there is no array '{name}'");

    /// <summary>An array, or null where there is none of the name.</summary>
    public double[]? Find(string name)
    {
        if (!_byName.TryGetValue(name, out var entry)) return null;
        var values = MemoryMarshal.Cast<byte, double>(_elements.Span[(int)entry.Begin..(int)entry.End]);
        return values.Length == 1 ? ConstantArrays.Of((int)entry.Dimensions[0], values[0]) : values.ToArray();
    }
}
