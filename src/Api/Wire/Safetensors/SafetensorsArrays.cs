using System.Buffers.Binary;
using System.Runtime.InteropServices;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.Safetensors;

/// <summary>The float64 arrays of a safetensors file that <see cref="SafetensorsFile"/> has made.</summary>
internal sealed class SafetensorsArrays
{
    private readonly Dictionary<string, SafetensorsEntry> _byName;
    private readonly ReadOnlyMemory<byte> _elements;

    /// <param name="file">The whole file.</param>
    public SafetensorsArrays(ReadOnlyMemory<byte> file)
    {
        var length = (int)BinaryPrimitives.ReadUInt64LittleEndian(file.Span);
        var header = SafetensorsHeader.Parse(file.Span.Slice(sizeof(ulong), length), mayRepeat: true);
        (_byName, Texts) = (header.Entries.ToDictionary(entry => entry.Name), header.Metadata);
        _elements = file[(sizeof(ulong) + length)..];
    }

    /// <summary>The texts of the file's metadata.</summary>
    public IReadOnlyDictionary<string, string> Texts { get; }

    /// <summary>The names of the arrays.</summary>
    public IEnumerable<string> Names => _byName.Keys;

    /// <summary>An array.</summary>
    public double[] this[string name] => Find(name) ?? throw new InvalidDataException($"there is no array '{name}'");

    /// <summary>An array, or null where there is none of the name.</summary>
    public double[]? Find(string name)
    {
        if (!_byName.TryGetValue(name, out var entry)) return null;
        var values = MemoryMarshal.Cast<byte, double>(_elements.Span[(int)entry.Begin..(int)entry.End]);
        return values.Length == 1 ? ConstantArrays.Of((int)entry.Dimensions[0], values[0]) : values.ToArray();
    }
}
