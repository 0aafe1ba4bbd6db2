using System.IO.Pipelines;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Hosting.Limits;
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
    /// <param name="response">Where to.</param>
    /// <param name="message">What to write.</param>
    /// <param name="contract">Metadata of its type.</param>
    public static async Task WriteAsync<T>(HttpResponse response, T message, JsonTypeInfo<T> contract)
        where T : class
    {
        var output = response.BodyWriter;
        await using var json = new Utf8JsonWriter(output, new JsonWriterOptions { SkipValidation = true, Encoder = contract.Options.Encoder });
        await WriteObjectAsync(json, response, message, contract);
        json.Flush();
        await output.FlushAsync(response.HttpContext.RequestAborted);
    }

    private static async ValueTask WriteObjectAsync(Utf8JsonWriter json, HttpResponse response, object message, JsonTypeInfo contract)
    {
        json.WriteStartObject();
        foreach (var field in ContractField.Of(contract))
        {
            var property = field.Property;
            if (property.Get is null || (message is IPartialAnswer partial && !partial.Includes(property.Name))) continue;
            var value = property.Get(message);
            if (value is null && field.IsLeftOutWhenNull) continue;
            json.WritePropertyName(property.Name);
            if (value is TensorSource tensor) await WriteTensorAsync(json, response, tensor);
            else if (value is double[] { Length: > ChunkElements } numbers) await WriteNumbersAsync(json, response, numbers);
            else if (value is not null && field.IsLong) await WriteLongAsync(json, response, value, field.Type);
            else JsonSerializer.Serialize(json, value, field.Type);
        }
        json.WriteEndObject();
    }

    // An object with arrays of numbers, or a list of objects.
    private static async ValueTask WriteLongAsync(Utf8JsonWriter json, HttpResponse response, object value, JsonTypeInfo type)
    {
        if (type.ElementType is null)
        {
            await WriteObjectAsync(json, response, value, type);
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
            await FlushAsync(response);
        }
        json.WriteEndArray();
    }

    private static async ValueTask WriteNumbersAsync(Utf8JsonWriter json, HttpResponse response, double[] numbers)
    {
        json.WriteStartArray();
        json.Flush();
        for (var written = 0; written < numbers.Length; written += ChunkElements)
        {
            using (await LongTexts.EnterAsync(response.HttpContext, numbers.Length))
                JsonElements.Write<double>(response.BodyWriter, numbers.AsSpan(written, Math.Min(ChunkElements, numbers.Length - written)), isFirst: written == 0);
            await FlushAsync(response);
        }
        json.WriteEndArray();
    }

    private static async ValueTask WriteTensorAsync(Utf8JsonWriter json, HttpResponse response, TensorSource tensor)
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
            using (await LongTexts.EnterAsync(response.HttpContext, tensor.Shape.Count)) WriteChunk(response.BodyWriter, tensor, written, count, chunk);
            written += count;
            await FlushAsync(response);
        }
        json.WriteEndArray();
        json.WriteEndObject();
    }

    private static void WriteChunk(PipeWriter output, TensorSource tensor, int start, int count, NativeBuffer chunk)
    {
        if (tensor.Precision == Precision.Float64)
        {
            tensor.CopyTo(start, chunk.Span<double>(count));
            JsonElements.Write<double>(output, chunk.Span<double>(count), isFirst: start == 0);
        }
        else
        {
            tensor.CopyTo(start, chunk.Span<float>(count));
            JsonElements.Write<float>(output, chunk.Span<float>(count), isFirst: start == 0);
        }
    }

    private static ValueTask FlushAsync(HttpResponse response) => TensorWriter.FlushAsync(response.BodyWriter, response.HttpContext.RequestAborted);
}
