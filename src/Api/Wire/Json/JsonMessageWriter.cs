using System.Numerics.Tensors;
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

    public static async Task WriteAsync<T>(HttpResponse response, T message, JsonTypeInfo<T> contract)
        where T : class
    {
        var output = response.BodyWriter;
        await using var json = new Utf8JsonWriter(output,
            new JsonWriterOptions { SkipValidation = true, Encoder = contract.Options.Encoder });
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
                JsonElements.Write<double>(response.BodyWriter, numbers.AsSpan(written, Math.Min(ChunkElements, numbers.Length - written)),
                    isFirst: written == 0);
            await FlushAsync(response);
        }
        json.WriteEndArray();
    }

    private static async ValueTask WriteTensorAsync(Utf8JsonWriter json, HttpResponse response, TensorSource tensor)
    {
        json.WriteStartObject();
        json.WriteStartArray("shape"u8);
        foreach (var dimension in tensor.Shape.Dimensions) json.WriteNumberValue(dimension);
        json.WriteEndArray();
        json.WriteStartArray("data"u8);
        await WriteElementsAsync(json, response, tensor, ElementTypes.Of(tensor.Precision));
        json.WriteEndArray();
        json.WriteEndObject();
    }

    /// <summary>
    /// Writes elements into an array that has begun: as float64 they have all digits of it, which are read as the same float32.
    /// </summary>
    public static async ValueTask WriteElementsAsync(Utf8JsonWriter json, HttpResponse response, TensorSource tensor, ElementType type)
    {
        using var chunk = NativeBuffer.Rent(ChunkElements * type.Size());
        // Elements go past the writer, whose own bytes must be out before.
        json.Flush();
        for (var written = 0; written < tensor.Shape.Count;)
        {
            var count = Math.Min(ChunkElements, tensor.Shape.Count - written);
            using (await LongTexts.EnterAsync(response.HttpContext, tensor.Shape.Count))
            {
                if (type == ElementType.F64) Write(response.BodyWriter, tensor, written, chunk.Span<double>(count));
                else Write(response.BodyWriter, tensor, written, chunk.Span<float>(count));
            }
            written += count;
            await FlushAsync(response);
        }
    }

    private static void Write(PipeWriter output, TensorSource tensor, int start, Span<float> chunk)
    {
        tensor.CopyTo(start, chunk);
        JsonElements.Write<float>(output, chunk, isFirst: start == 0);
    }

    private static void Write(PipeWriter output, TensorSource tensor, int start, Span<double> chunk)
    {
        if (tensor.Precision == Precision.Float64) tensor.CopyTo(start, chunk);
        else
        {
            using var singles = NativeBuffer.Rent(chunk.Length * sizeof(float));
            tensor.CopyTo(start, singles.Span<float>(chunk.Length));
            TensorPrimitives.ConvertTruncating<float, double>(singles.Span<float>(chunk.Length), chunk);
        }
        JsonElements.Write<double>(output, chunk, isFirst: start == 0);
    }

    private static ValueTask FlushAsync(HttpResponse response) =>
        TensorWriter.FlushAsync(response.BodyWriter, response.HttpContext.RequestAborted);
}
