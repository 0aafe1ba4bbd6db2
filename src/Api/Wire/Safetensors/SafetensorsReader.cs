using System.Buffers.Binary;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Hosting.Problems;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.Safetensors;

/// <summary>
/// Reads a message from a safetensors file: each tensor is the field of its name, and so is each text under <c>__metadata__</c> (options;
/// JSON where it is more than a word or a number).
/// </summary>
internal static class SafetensorsReader
{
    // What PyTorch's and other libraries write into every file.
    private const string FormatName = "format";

    /// <summary>Reads the header.</summary>
    /// <param name="bytes">The request's bytes.</param>
    /// <param name="fields">Receives the texts.</param>
    /// <param name="contract">Metadata of the message's type.</param>
    /// <exception cref="ProblemException">It is not one, does not agree with the body's length, or has names that the message has not.</exception>
    public static async ValueTask<IncomingMessage<T>> OpenAsync<T>(RequestBytes bytes, FieldDocument fields, JsonTypeInfo<T> contract)
        where T : class
    {
        var header = await ReadHeaderAsync(bytes);
        foreach (var (name, text) in header.Metadata)
        {
            if (name != FormatName) fields.Add(name, text);
        }
        return new(contract, bytes, fields, [.. header.Entries.Select(entry => PartOf(entry, fields.TypeOf(entry.Name)))]);
    }

    private static async ValueTask<SafetensorsHeader> ReadHeaderAsync(RequestBytes bytes)
    {
        long length;
        using (var first = await bytes.ReadBufferAsync(sizeof(ulong), "the length of the header"))
        {
            var announced = BinaryPrimitives.ReadUInt64LittleEndian(first.Bytes);
            if (announced > SafetensorsHeader.MaxLength || (long)announced > bytes.MostLeft)
            {
                throw new ProblemException(ProblemCode.MalformedBody,
                    $"safetensors: the header must be at most {Math.Min(SafetensorsHeader.MaxLength, bytes.MostLeft)} bytes long, got {announced}");
            }
            length = (long)announced;
        }
        using var json = await bytes.ReadBufferAsync(length, "the header");
        var header = SafetensorsHeader.Parse(json.Bytes);
        // Compared with what is left, since the sum may leave the range.
        if (header.DataLength > bytes.Limit - bytes.Position) bytes.RequireAllowed(long.MaxValue);
        if (bytes.Length is { } whole && header.DataLength != whole - bytes.Position)
        {
            throw new ProblemException(ProblemCode.MalformedBody,
                $"safetensors: the header announces {header.DataLength} bytes of elements, the body has {whole - bytes.Position} behind it");
        }
        return header;
    }

    private static IncomingPart PartOf(SafetensorsEntry entry, Type type)
    {
        if (type != typeof(Tensor))
        {
            var count = (int)((entry.End - entry.Begin) / SafetensorsHeader.Size(entry.Type));
            return new IncomingValues(entry.Name, count, entry.End - entry.Begin, (bytes, values) => Decode(entry.Type, bytes, values));
        }
        if (!Enum.TryParse<ElementType>(entry.Type.ToString(), out var elements))
        {
            throw new ProblemException(ProblemCode.InvalidOption,
                $"{entry.Name} must be a tensor of {string.Join(", ", Enum.GetNames<ElementType>())}, got {entry.Type}");
        }
        return new IncomingTensor(entry.Name, IncomingTensor.ShapeOf(entry.Name, entry.Dimensions), elements);
    }

    private static void Decode(SafetensorsType type, ReadOnlySpan<byte> bytes, Span<double> values)
    {
        if (Enum.TryParse<ElementType>(type.ToString(), out var elements))
        {
            elements.ToDoubles(bytes, values);
            return;
        }
        var size = SafetensorsHeader.Size(type);
        for (var i = 0; i < values.Length; i++)
        {
            var element = bytes[(i * size)..];
            values[i] = type switch
            {
                SafetensorsType.I64 => BinaryPrimitives.ReadInt64LittleEndian(element),
                SafetensorsType.I32 => BinaryPrimitives.ReadInt32LittleEndian(element),
                SafetensorsType.I16 => BinaryPrimitives.ReadInt16LittleEndian(element),
                SafetensorsType.I8 => (sbyte)element[0],
                _ => element[0],
            };
        }
    }
}
