using System.IO.Pipelines;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.Json;

/// <summary>
/// Writes a contract type as JSON: tensors as <c>{"shape":[..],"data":[..]}</c>, element by element from pooled memory, in shortest
/// round-trip form; everything else through the serializer.
/// </summary>
internal static class JsonMessageWriter
{
    // What is written before the client is given the chance to take it, 60 KB at most: bounds the memory of an answer of any size.
    private const int ChunkElements = 4096;
    private const int ChunkBytes = 64 << 10;

    /// <summary>Writes one object.</summary>
    /// <param name="output">Where to.</param>
    /// <param name="message">What to write.</param>
    /// <param name="contract">Metadata of its type.</param>
    /// <param name="cancellationToken">Ends writing when the client is gone.</param>
    public static async Task WriteAsync<T>(PipeWriter output, T message, JsonTypeInfo<T> contract, CancellationToken cancellationToken)
        where T : class
    {
        await using var json = new Utf8JsonWriter(output, new JsonWriterOptions { SkipValidation = true, Encoder = contract.Options.Encoder });
        await WriteObjectAsync(json, output, message, contract, cancellationToken);
        json.Flush();
        await output.FlushAsync(cancellationToken);
    }

    private static async ValueTask WriteObjectAsync(
        Utf8JsonWriter json, PipeWriter output, object message, JsonTypeInfo contract, CancellationToken cancellationToken)
    {
        json.WriteStartObject();
        foreach (var field in ContractField.Of(contract))
        {
            var property = field.Property;
            if (property.Get is null || (message is IPartialAnswer partial && !partial.Includes(property.Name))) continue;
            var value = property.Get(message);
            if (value is null && field.IsLeftOutWhenNull) continue;
            json.WritePropertyName(property.Name);
            if (value is TensorSource tensor) await WriteTensorAsync(json, output, tensor, cancellationToken);
            else if (value is double[] { Length: > ChunkElements } numbers) await WriteNumbersAsync(json, output, numbers, cancellationToken);
            else if (value is not null && field.IsLong) await WriteLongAsync(json, output, value, field.Type, cancellationToken);
            else JsonSerializer.Serialize(json, value, field.Type);
        }
        json.WriteEndObject();
    }

    // An object with arrays of numbers, or a list of objects.
    private static async ValueTask WriteLongAsync(
        Utf8JsonWriter json, PipeWriter output, object value, JsonTypeInfo type, CancellationToken cancellationToken)
    {
        if (type.ElementType is null)
        {
            await WriteObjectAsync(json, output, value, type, cancellationToken);
            return;
        }
        var item = type.Options.GetTypeInfo(type.ElementType);
        var flushed = json.BytesCommitted;
        json.WriteStartArray();
        foreach (var entry in (System.Collections.IEnumerable)value)
        {
            JsonSerializer.Serialize(json, entry, item);
            if (json.BytesCommitted + json.BytesPending - flushed < ChunkBytes) continue;
            json.Flush();
            flushed = json.BytesCommitted;
            await TensorWriter.FlushAsync(output, cancellationToken);
        }
        json.WriteEndArray();
    }

    private static async ValueTask WriteNumbersAsync(Utf8JsonWriter json, PipeWriter output, double[] numbers, CancellationToken cancellationToken)
    {
        json.WriteStartArray();
        json.Flush();
        for (var written = 0; written < numbers.Length; written += ChunkElements)
        {
            JsonElements.Write<double>(output, numbers.AsSpan(written, Math.Min(ChunkElements, numbers.Length - written)), isFirst: written == 0);
            await TensorWriter.FlushAsync(output, cancellationToken);
        }
        json.WriteEndArray();
    }

    private static async ValueTask WriteTensorAsync(Utf8JsonWriter json, PipeWriter output, TensorSource tensor, CancellationToken cancellationToken)
    {
        using var chunk = NativeBuffer.Rent(ChunkElements * tensor.Precision.Size());
        json.WriteStartObject();
        json.WriteStartArray("shape"u8);
        foreach (var dimension in tensor.Shape.Dimensions) json.WriteNumberValue(dimension);
        json.WriteEndArray();
        json.WriteStartArray("data"u8);
        // Elements go past the writer, whose own bytes must be out before.
        json.Flush();
        for (var written = 0; written < tensor.Shape.Count;)
        {
            var count = Math.Min(ChunkElements, tensor.Shape.Count - written);
            if (tensor.Precision == Precision.Float64)
            {
                tensor.CopyTo(written, chunk.Span<double>(count));
                JsonElements.Write<double>(output, chunk.Span<double>(count), isFirst: written == 0);
            }
            else
            {
                tensor.CopyTo(written, chunk.Span<float>(count));
                JsonElements.Write<float>(output, chunk.Span<float>(count), isFirst: written == 0);
            }
            written += count;
            await TensorWriter.FlushAsync(output, cancellationToken);
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }
}
