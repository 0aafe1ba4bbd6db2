using System.Buffers.Binary;
using System.Globalization;
using System.Text.Json;
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
        bytes.RequireAllowedBehind(header.DataLength);
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
            var count = (entry.End - entry.Begin) / SafetensorsHeader.Size(entry.Type);
            if (count <= IncomingValues.MostCount)
                return new IncomingValues(entry.Name, (int)count, entry.End - entry.Begin, (bytes, json) => Write(entry.Type, bytes, json));
            throw new ProblemException(ProblemCode.ShapeMismatch, $"{entry.Name} has at most {IncomingValues.MostCount} values, got {count}");
        }
        if (!Enum.TryParse<ElementType>(entry.Type.ToString(), out var elements))
        {
            throw new ProblemException(ProblemCode.InvalidOption,
                $"{entry.Name} must be a tensor of {string.Join(", ", Enum.GetNames<ElementType>())}, got {entry.Type}");
        }
        return new IncomingTensor(entry.Name, IncomingTensor.ShapeOf(entry.Name, entry.Dimensions), elements);
    }

    // Whole numbers as they are: not all of them are doubles.
    private static void Write(SafetensorsType type, ReadOnlySpan<byte> bytes, Utf8JsonWriter json)
    {
        for (var size = SafetensorsHeader.Size(type); !bytes.IsEmpty; bytes = bytes[size..])
        {
            switch (type)
            {
                case SafetensorsType.F64: Write(BinaryPrimitives.ReadDoubleLittleEndian(bytes), json); break;
                case SafetensorsType.F32: Write(BinaryPrimitives.ReadSingleLittleEndian(bytes), json); break;
                case SafetensorsType.F16: Write((double)BinaryPrimitives.ReadHalfLittleEndian(bytes), json); break;
                case SafetensorsType.BF16: Write(BitConverter.UInt32BitsToSingle((uint)BinaryPrimitives.ReadUInt16LittleEndian(bytes) << 16), json); break;
                case SafetensorsType.I64: json.WriteNumberValue(BinaryPrimitives.ReadInt64LittleEndian(bytes)); break;
                case SafetensorsType.I32: json.WriteNumberValue(BinaryPrimitives.ReadInt32LittleEndian(bytes)); break;
                case SafetensorsType.I16: json.WriteNumberValue(BinaryPrimitives.ReadInt16LittleEndian(bytes)); break;
                case SafetensorsType.I8: json.WriteNumberValue((sbyte)bytes[0]); break;
                default: json.WriteNumberValue(bytes[0]); break;
            }
        }
    }

    private static void Write(double value, Utf8JsonWriter json)
    {
        if (double.IsFinite(value)) json.WriteNumberValue(value);
        else json.WriteStringValue(value.ToString(CultureInfo.InvariantCulture));
    }
}
