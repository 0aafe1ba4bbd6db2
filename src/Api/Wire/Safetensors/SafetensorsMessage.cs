using System.Buffers.Binary;
using System.Globalization;
using System.IO.Pipelines;
using System.Text;
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
    /// <param name="state">How a state's names are read; null for every other message, whose names are the contract's.</param>
    /// <exception cref="ProblemException">It is not one, does not agree with the body's length, or has names that the message has
    /// not.</exception>
    public static async ValueTask<IncomingMessage<T>> OpenAsync<T>(
        RequestBytes bytes, FieldDocument fields, JsonTypeInfo<T> contract, StateSource? state = null)
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
            Array.Find(ContractField.Of(contract), field => field.TensorName == entry.Name) is { } field ? entry with { Name = field.Name }
                : entry;
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
                    $"safetensors: the header must be at most {Math.Min(SafetensorsHeader.MaxLength, bytes.MostLeft)} bytes long, got " +
                        $"{announced}");
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
            if (count > IncomingValues.MostCount)
            {
                throw new ProblemException(ProblemCode.ShapeMismatch,
                    $"{entry.Name} has at most {IncomingValues.MostCount} values, got {count}");
            }
            IncomingValues.NumberWriter write = (bytes, json) => Write(elements, bytes, json);
            return new IncomingValues(entry.Name, (int)count, elements, write) { Dimensions = entry.Dimensions, Field = type };
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
                case ElementType.BF16:
                    Write(BitConverter.UInt32BitsToSingle((uint)BinaryPrimitives.ReadUInt16LittleEndian(bytes) << 16), json);
                    break;
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

/// <summary>
/// Writes a message as a safetensors file: tensors and arrays by their fields' names, everything else as text under
/// <c>__metadata__</c>, where objects are JSON; of those with arrays of thousands of numbers each array is a tensor, <c>seen.mean</c>.
/// What is
/// null is left out.
/// </summary>
internal static class SafetensorsWriter
{
    // What is written before the client is given the chance to take it; a text of so many numbers is no text for people any more.
    private const int ChunkElements = 4096;

    public static async Task WriteAsync<T>(HttpResponse response, T message, JsonTypeInfo<T> contract, CancellationToken cancellationToken)
        where T : class
    {
        var file = FileOf(message, contract);
        var output = response.BodyWriter;
        TensorWriter.RequireReader(await output.WriteAsync(Begin(response, file), cancellationToken));
        foreach (var tensor in file.Tensors)
        {
            if (tensor.Source is { } source) await TensorWriter.WriteAsync(output, source, tensor.Type, cancellationToken);
            else await WriteAsync(output, tensor, cancellationToken);
        }
        await TensorWriter.FlushAsync(output, cancellationToken);
    }

    /// <summary>Sets the length of an answer.</summary>
    /// <returns>What its body begins with, before the elements.</returns>
    public static byte[] Begin<T>(HttpResponse response, T message, JsonTypeInfo<T> contract)
        where T : class => Begin(response, FileOf(message, contract));

    public static SafetensorsFile FileOf<T>(T message, JsonTypeInfo<T> contract)
        where T : class
    {
        var file = new SafetensorsFile();
        // The state of a layer in float64 is loaded into layers in float64.
        var isWide = message is StateResponse { Options.Precision: Precision.Float64 };
        foreach (var field in ContractField.Of(contract))
        {
            var property = field.Property;
            if (property.Get?.Invoke(message) is not { } value || (message is IPartialAnswer partial && !partial.Includes(property.Name)))
                continue;
            var named = field.TensorName;
            var shape = field.HasParameterShape ? (message as IShapesParameters)?.ParameterShape : null;
            switch (value)
            {
                case TensorSource source: file.Add(property.Name, source); break;
                case double[] values when named is not null && !isWide && Array.TrueForAll(values, IsSingle):
                    file.Add(named, values, shape, isSingle: true);
                    break;
                case double[] values: file.Add(named ?? property.Name, values, shape); break;
                case long number when named is not null: file.Add(named, number); break;
                case string text: file.AddText(property.Name, text); break;
                case var parts when field.IsLong && field.Type.ElementType is null && HasLongArray(parts, field.Type):
                    AddParts(file, parts, field.Type, $"{property.Name}.");
                    break;
                default: file.AddText(property.Name, Text(value, property)); break;
            }
        }
        return file;
    }

    private static async ValueTask WriteAsync(PipeWriter output, SafetensorsTensor tensor, CancellationToken cancellationToken)
    {
        for (var written = 0; written < tensor.Count; written += ChunkElements)
        {
            var bytes = Math.Min(ChunkElements, tensor.Count - written) * tensor.Type.Size();
            tensor.CopyTo(written, output.GetSpan(bytes)[..bytes]);
            output.Advance(bytes);
            await TensorWriter.FlushAsync(output, cancellationToken);
        }
    }

    // Parts of an object by their names after its own, as they are read: its arrays as tensors, everything else as text.
    private static void AddParts(SafetensorsFile file, object value, JsonTypeInfo type, string path)
    {
        foreach (var field in ContractField.Of(type))
        {
            if (field.Property.Get?.Invoke(value) is not { } part) continue;
            if (part is double[] values) file.Add(path + field.Name, values);
            else if (field.IsLong) AddParts(file, part, field.Type, $"{path}{field.Name}.");
            else file.AddText(path + field.Name, Text(part, field.Property));
        }
    }

    private static bool HasLongArray(object value, JsonTypeInfo type) =>
        ContractField.Of(type).Any(field => field.Property.Get?.Invoke(value) switch
    {
        double[] values => values.Length > ChunkElements,
        { } part => field.IsLong && HasLongArray(part, field.Type),
        _ => false,
    });

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
}
