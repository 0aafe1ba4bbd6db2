using System.Buffers.Binary;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Errors;
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

    // Of a call that is no state, which has as many as its contract has fields.
    private const int MostTensors = 1024;

    // What is made of a header, whose entries are texts and numbers, is some times as long as it.
    private const int WorthCounting = 64 << 10, BytesPerByte = 6;

    /// <summary>Reads the header.</summary>
    /// <param name="bytes">The request's bytes.</param>
    /// <param name="fields">Receives the texts.</param>
    /// <param name="contract">Metadata of the message's type.</param>
    /// <param name="state">How a state's names are read; null for every other message, whose names are the contract's.</param>
    /// <exception cref="ProblemException">It is not one, does not agree with the body's length, or has names that the message has not.</exception>
    public static async ValueTask<IncomingMessage<T>> OpenAsync<T>(RequestBytes bytes, FieldDocument fields, JsonTypeInfo<T> contract, StateSource? state = null)
        where T : class
    {
        var header = await ReadHeaderAsync(bytes, state is null ? MostTensors : StateSelection.MostArrays);
        if (state is not null)
        {
            StateSource.AddTexts(header.Metadata, fields);
            var names = state.Select([.. header.Entries.Select(entry => entry.Name)], header.Metadata.Keys, fields);
            return new(contract, bytes, fields, [.. header.Entries.Select(entry => names.TryGetValue(entry.Name, out var field)
                ? PartOf(entry with { Name = field }, fields.TypeOf(field))
                : new IncomingRest(entry.Name, entry.End - entry.Begin))]);
        }
        foreach (var (name, text) in header.Metadata)
        {
            if (name != FormatName) fields.Add(name, text);
        }
        return new(contract, bytes, fields, [.. header.Entries.Select(Named).Select(entry => PartOf(entry, fields.TypeOf(entry.Name)))]);

        SafetensorsEntry Named(SafetensorsEntry entry) =>
            Array.Find(ContractField.Of(contract), field => field.TensorName == entry.Name) is { } field ? entry with { Name = field.Name } : entry;
    }

    private static async ValueTask<SafetensorsHeader> ReadHeaderAsync(RequestBytes bytes, int mostTensors)
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
        if (length > WorthCounting) MemoryAccount.Hold(BytesPerByte * length);
        var header = SafetensorsHeader.Parse(json.Bytes, most: mostTensors);
        bytes.RequireAllowedBehind(header.DataLength);
        if (bytes.Length is { } whole && header.DataLength != whole - bytes.Position)
        {
            throw new ProblemException(ProblemCode.MalformedBody,
                $"safetensors: the header announces {header.DataLength} bytes of elements, the body has {whole - bytes.Position} after it");
        }
        return header;
    }

    private static IncomingPart PartOf(SafetensorsEntry entry, Type type)
    {
        if (type != typeof(Tensor))
        {
            var elements = entry.KnownType;
            var count = (entry.End - entry.Begin) / elements.Size();
            if (count <= IncomingValues.MostCount)
                return new IncomingValues(entry.Name, (int)count, elements, (bytes, json) => Write(elements, bytes, json)) { Dimensions = entry.Dimensions, Field = type };
            throw new ProblemException(ProblemCode.ShapeMismatch, $"{entry.Name} has at most {IncomingValues.MostCount} values, got {count}");
        }
        return new IncomingTensor(entry.Name, IncomingTensor.ShapeOf(entry.Name, entry.Dimensions), entry.KnownType);
    }

    // Whole numbers as they are: not all of them are doubles.
    private static void Write(ElementType type, ReadOnlySpan<byte> bytes, Utf8JsonWriter json)
    {
        for (var size = type.Size(); !bytes.IsEmpty; bytes = bytes[size..])
        {
            switch (type)
            {
                case ElementType.F64: Write(BinaryPrimitives.ReadDoubleLittleEndian(bytes), json); break;
                case ElementType.F32: Write(BinaryPrimitives.ReadSingleLittleEndian(bytes), json); break;
                case ElementType.F16: Write((double)BinaryPrimitives.ReadHalfLittleEndian(bytes), json); break;
                case ElementType.BF16: Write(BitConverter.UInt32BitsToSingle((uint)BinaryPrimitives.ReadUInt16LittleEndian(bytes) << 16), json); break;
                case ElementType.I64: json.WriteNumberValue(BinaryPrimitives.ReadInt64LittleEndian(bytes)); break;
                case ElementType.I32: json.WriteNumberValue(BinaryPrimitives.ReadInt32LittleEndian(bytes)); break;
                case ElementType.I16: json.WriteNumberValue(BinaryPrimitives.ReadInt16LittleEndian(bytes)); break;
                case ElementType.I8: json.WriteNumberValue((sbyte)bytes[0]); break;
                case ElementType.U64: json.WriteNumberValue(BinaryPrimitives.ReadUInt64LittleEndian(bytes)); break;
                case ElementType.U32: json.WriteNumberValue(BinaryPrimitives.ReadUInt32LittleEndian(bytes)); break;
                case ElementType.U16: json.WriteNumberValue(BinaryPrimitives.ReadUInt16LittleEndian(bytes)); break;
                case ElementType.BOOL: json.WriteNumberValue(bytes[0] == 0 ? 0 : 1); break;
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
