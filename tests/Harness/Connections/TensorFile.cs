using System.Buffers.Binary;
using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace BnService.Harness;

/// <summary>A tensor of a file.</summary>
public sealed record FileTensor(string Name, string Type, long[] Shape, byte[] Bytes)
{
    public double[] Values => Elements.Values(Type, Bytes);

    /// <summary>The tensor, which is known to be float32.</summary>
    public Batch Batch
    {
        get
        {
            Assert.Equal("F32", Type);
            return new Batch([.. Shape.Select(dimension => (int)dimension)], [.. Values.Select(value => (float)value)]);
        }
    }
}

/// <summary>A safetensors file, put together and taken apart by the description of its format alone.</summary>
public sealed class TensorFile
{
    private static readonly JsonSerializerOptions Compact = new() { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };
    private readonly List<FileTensor> _tensors = [];
    private readonly Dictionary<string, string> _texts = [];

    public IReadOnlyList<FileTensor> Tensors => _tensors;

    public IReadOnlyDictionary<string, string> Texts => _texts;

    public IEnumerable<string> Names => _tensors.Select(tensor => tensor.Name);

    public FileTensor this[string name] => Assert.Single(_tensors, tensor => tensor.Name == name);

    public TensorFile Add(string name, string type, long[] shape, byte[] bytes)
    {
        _tensors.Add(new(name, type, shape, bytes));
        return this;
    }

    public TensorFile Add(string name, string type, params double[] values) => Add(name, type, [values.Length], Elements.Of(type, values));

    public TensorFile Add(string name, Batch batch, string type = "F32") =>
        Add(name, type, [.. batch.Shape.Select(dimension => (long)dimension)], Elements.Of(type, batch));

    public TensorFile Text(string name, string text)
    {
        _texts.Add(name, text);
        return this;
    }

    /// <summary>The file with its tensors in the order in which they were added.</summary>
    public byte[] ToBytes()
    {
        var header = new JsonObject();
        if (_texts.Count > 0) header["__metadata__"] = new JsonObject(_texts.Select(text => KeyValuePair.Create(text.Key, (JsonNode?)text.Value)));
        long begin = 0;
        foreach (var tensor in _tensors)
        {
            header[tensor.Name] = new JsonObject
            {
                ["dtype"] = tensor.Type,
                ["shape"] = new JsonArray([.. tensor.Shape.Select(dimension => JsonValue.Create(dimension))]),
                ["data_offsets"] = new JsonArray(begin, begin += tensor.Bytes.Length),
            };
        }
        return Of(header.ToJsonString(Compact), [.. _tensors.SelectMany(tensor => tensor.Bytes)]);
    }

    /// <summary>A file of any header, padded to a multiple of 8 bytes as the library does, and any elements.</summary>
    public static byte[] Of(string header, params byte[] elements)
    {
        var json = Encoding.UTF8.GetBytes(header);
        return Exactly([.. json, .. Enumerable.Repeat((byte)' ', (8 - (json.Length % 8)) % 8)], elements);
    }

    /// <summary>A file of exactly this header.</summary>
    public static byte[] Exactly(byte[] header, params byte[] elements)
    {
        var length = new byte[8];
        BinaryPrimitives.WriteUInt64LittleEndian(length, (ulong)header.Length);
        return [.. length, .. header, .. elements];
    }

    /// <summary>Reads a file as strictly as any library does.</summary>
    public static TensorFile Parse(byte[] file)
    {
        var length = BinaryPrimitives.ReadInt64LittleEndian(file);
        Assert.InRange(length, 2, file.Length - 8);
        Assert.True(length % 8 == 0, $"elements begin at byte {8 + length}");
        Assert.Equal((byte)'{', file[8]);
        var parsed = new TensorFile();
        long end = 0;
        using var header = JsonDocument.Parse(file.AsMemory(8, (int)length));
        foreach (var entry in header.RootElement.EnumerateObject())
        {
            if (entry.Name == "__metadata__")
            {
                foreach (var text in entry.Value.EnumerateObject()) parsed.Text(text.Name, text.Value.GetString()!);
                continue;
            }
            Assert.Equal(["dtype", "shape", "data_offsets"], entry.Value.EnumerateObject().Select(field => field.Name));
            var type = entry.Value.GetProperty("dtype").GetString()!;
            long[] shape = [.. entry.Value.GetProperty("shape").EnumerateArray().Select(dimension => dimension.GetInt64())];
            long[] offsets = [.. entry.Value.GetProperty("data_offsets").EnumerateArray().Select(offset => offset.GetInt64())];
            Assert.Equal([end, end += shape.Aggregate((long)Elements.Size(type), (product, dimension) => product * dimension)], offsets);
            Assert.True((8 + length + offsets[0]) % Elements.Size(type) == 0, $"{entry.Name} begins within an element");
            parsed.Add(entry.Name, type, shape, file[(int)(8 + length + offsets[0])..(int)(8 + length + offsets[1])]);
        }
        Assert.Equal(file.Length, 8 + length + end);
        return parsed;
    }
}
