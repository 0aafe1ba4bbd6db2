using System.Buffers;
using System.Buffers.Binary;
using System.Runtime.InteropServices;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.Safetensors;

/// <summary>
/// Writes a message as a safetensors file: tensors and arrays by their fields' names, everything else as text under
/// <c>__metadata__</c>, where objects are JSON. What is null is left out.
/// </summary>
internal static class SafetensorsWriter
{
    private const int Alignment = 8;

    /// <summary>Writes an answer.</summary>
    /// <param name="response">Where to.</param>
    /// <param name="message">The answer.</param>
    /// <param name="contract">Metadata of its type.</param>
    /// <param name="cancellationToken">Ends writing when the client is gone.</param>
    public static async Task WriteAsync<T>(HttpResponse response, T message, JsonTypeInfo<T> contract, CancellationToken cancellationToken)
        where T : class
    {
        var file = FileOf(message, contract);
        var output = response.BodyWriter;
        await output.WriteAsync(Begin(response, file), cancellationToken);
        foreach (var tensor in file.Tensors)
        {
            if (tensor.Source is { } source) await TensorWriter.WriteAsync(output, source, cancellationToken);
            else await output.WriteAsync(tensor.Bytes, cancellationToken);
        }
        await TensorWriter.FlushAsync(output, cancellationToken);
    }

    /// <summary>Sets the length of an answer.</summary>
    /// <returns>What its body begins with, before the elements.</returns>
    public static byte[] Begin<T>(HttpResponse response, T message, JsonTypeInfo<T> contract)
        where T : class => Begin(response, FileOf(message, contract));

    /// <summary>The file that a message is.</summary>
    public static SafetensorsFile FileOf<T>(T message, JsonTypeInfo<T> contract)
        where T : class
    {
        var file = new SafetensorsFile();
        foreach (var property in contract.Properties)
        {
            if (property.Get?.Invoke(message) is not { } value || (message is IPartialAnswer partial && !partial.Includes(property.Name))) continue;
            var named = property.AttributeProvider?.GetCustomAttributes(typeof(TensorNameAttribute), inherit: true) is [TensorNameAttribute attribute]
                ? attribute.Name : null;
            switch (value)
            {
                case TensorSource source: file.Add(property.Name, source); break;
                case double[] values when named is not null && Array.TrueForAll(values, IsSingle): file.Add(named, Array.ConvertAll(values, number => (float)number)); break;
                case double[] values: file.Add(named ?? property.Name, values); break;
                case long number when named is not null: file.Add(named, number); break;
                case string text: file.AddText(property.Name, text); break;
                default: file.AddText(property.Name, Text(value, property)); break;
            }
        }
        return file;
    }

    private static byte[] Begin(HttpResponse response, SafetensorsFile file)
    {
        var header = file.Header();
        response.ContentLength = header.Length + file.DataLength;
        return header;
    }

    private static string Text(object value, JsonPropertyInfo property)
    {
        var json = JsonSerializer.SerializeToUtf8Bytes(value, property.Options.GetTypeInfo(property.PropertyType));
        // Names stand without quotes, as texts do.
        return Encoding.UTF8.GetString(value is Enum ? json.AsSpan()[1..^1] : json);
    }

    // Bit by bit: -0 and every NaN stay what they are.
    private static bool IsSingle(double value) =>
        BitConverter.DoubleToInt64Bits((float)value) == BitConverter.DoubleToInt64Bits(value);

    /// <summary>Bytes that pad a header, so that elements begin at whole multiples of the largest of them.</summary>
    internal static int Padding(int headerLength) => (Alignment - (headerLength % Alignment)) % Alignment;
}

/// <summary>A tensor of a file.</summary>
/// <param name="Name">Its name.</param>
/// <param name="Type">Type of its elements.</param>
/// <param name="Dimensions">Its dimensions.</param>
/// <param name="Bytes">Its elements' bytes; empty where they come from <paramref name="Source"/>.</param>
/// <param name="Source">Where float32 elements come from; null where they are bytes.</param>
internal sealed record SafetensorsTensor(string Name, SafetensorsType Type, int[] Dimensions, ReadOnlyMemory<byte> Bytes, TensorSource? Source)
{
    /// <summary>Number of bytes of the elements.</summary>
    public long Length => Source is null ? Bytes.Length : (long)Source.Shape.Count * sizeof(float);
}

/// <summary>The tensors and texts of a safetensors file that is to be written.</summary>
internal sealed class SafetensorsFile
{
    private readonly List<SafetensorsTensor> _tensors = [];
    private readonly Dictionary<string, string> _texts = [];

    /// <summary>The tensors in the order of their elements: wide types first, so that each begins at a multiple of its size; then by name.</summary>
    public IEnumerable<SafetensorsTensor> Tensors =>
        _tensors.OrderByDescending(tensor => SafetensorsHeader.Size(tensor.Type)).ThenBy(tensor => tensor.Name, StringComparer.Ordinal);

    /// <summary>Bytes of all elements.</summary>
    public long DataLength => _tensors.Sum(tensor => tensor.Length);

    /// <summary>Adds a tensor.</summary>
    public void Add(string name, TensorSource source) => _tensors.Add(new(name, SafetensorsType.F32, [.. source.Shape.Dimensions], default, source));

    /// <summary>Adds an array of float32.</summary>
    public void Add(string name, float[] values) => _tensors.Add(new(name, SafetensorsType.F32, [values.Length], Copy<float>(values), null));

    /// <summary>Adds an array of float64.</summary>
    public void Add(string name, double[] values) => _tensors.Add(new(name, SafetensorsType.F64, [values.Length], Copy<double>(values), null));

    /// <summary>Adds a whole number, as a tensor without dimensions.</summary>
    public void Add(string name, long value) => _tensors.Add(new(name, SafetensorsType.I64, [], Copy<long>([value]), null));

    /// <summary>Adds a text.</summary>
    public void AddText(string name, string text) => _texts.Add(name, text);

    /// <summary>The header with its length before it.</summary>
    public byte[] Header()
    {
        var json = new ArrayBufferWriter<byte>();
        json.GetSpan(sizeof(ulong))[..sizeof(ulong)].Clear();
        json.Advance(sizeof(ulong));
        using (var writer = new Utf8JsonWriter(json, new JsonWriterOptions { SkipValidation = true, Encoder = ContractJson.Context.Options.Encoder }))
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
        var padding = SafetensorsWriter.Padding(json.WrittenCount);
        json.GetSpan(padding)[..padding].Fill((byte)' ');
        json.Advance(padding);
        var header = json.WrittenSpan.ToArray();
        BinaryPrimitives.WriteUInt64LittleEndian(header, (ulong)(header.Length - sizeof(ulong)));
        return header;
    }

    private static byte[] Copy<T>(ReadOnlySpan<T> values)
        where T : unmanaged => MemoryMarshal.AsBytes(values).ToArray();
}
