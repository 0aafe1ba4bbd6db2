using System.Buffers;
using System.Globalization;
using System.Text.Encodings.Web;
using System.Text.Json;
using BnService.Api.Hosting.Problems;
using BnService.Core.Tensors;
using TensorPrimitives = System.Numerics.Tensors.TensorPrimitives;

namespace BnService.Api.Wire.OpenInference;

/// <summary>Writes an infer answer (inference_rest.md, <c>$inference_response</c>; Triton's extension_binary_data.md).</summary>
/// <param name="model">Name of the model.</param>
/// <param name="header">What the request has said.</param>
/// <param name="y">The output.</param>
internal sealed class InferAnswer(string model, InferHeader header, Tensor y)
{
    // What is written before the client is given the chance to take it: bounds the memory of an answer of any size.
    private const int FlushBytes = 64 << 10;

    private static readonly JsonWriterOptions JsonOptions = new() { SkipValidation = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>Writes it in the form that the request asks for.</summary>
    /// <param name="response">Where to.</param>
    /// <param name="written">Called when all but the last bytes may have left.</param>
    /// <exception cref="ProblemException">JSON has no word for an element; nothing is written.</exception>
    public async Task WriteAsync(HttpResponse response, Action written)
    {
        if (header.IsOutputBinary) await WriteBinaryAsync(response);
        else await WriteJsonAsync(response);
        written();
        await response.BodyWriter.FlushAsync(response.HttpContext.RequestAborted);
    }

    private async Task WriteJsonAsync(HttpResponse response)
    {
        RequireFinite();
        response.ContentType = MediaTypes.Json;
        await using var json = new Utf8JsonWriter(response.BodyWriter, JsonOptions);
        WriteStart(json);
        json.WriteStartArray("data"u8);
        for (var done = 0; done < y.Shape.Count;)
        {
            done = JsonElementsWriter.Write(json, header.Datatype, y.Data, done, FlushBytes);
            if (done == y.Shape.Count) break;
            json.Flush();
            await FlushAsync(response);
        }
        json.WriteEndArray();
        WriteEnd(json);
    }

    private async Task WriteBinaryAsync(HttpResponse response)
    {
        using var start = new MemoryStream();
        await using (var json = new Utf8JsonWriter(start, JsonOptions))
        {
            WriteStart(json);
            json.WriteStartObject("parameters"u8);
            json.WriteNumber("binary_data_size"u8, TensorBytes);
            json.WriteEndObject();
            WriteEnd(json);
        }
        response.ContentType = MediaTypes.OctetStream;
        response.ContentLength = start.Length + TensorBytes;
        response.Headers[InferText.LengthHeader] = start.Length.ToString(CultureInfo.InvariantCulture);
        response.BodyWriter.Write(start.GetBuffer().AsSpan(0, (int)start.Length));
        const int step = FlushBytes / sizeof(double);
        for (var done = 0; done < y.Shape.Count; done += step)
        {
            if (done > 0) await FlushAsync(response);
            WriteElements(response, y.Data.Slice(done, Math.Min(step, y.Shape.Count - done)));
        }
    }

    private long TensorBytes => (long)y.Shape.Count * header.Datatype.Size();

    private void WriteElements(HttpResponse response, ReadOnlySpan<float> elements)
    {
        var bytes = elements.Length * header.Datatype.Size();
        header.Datatype.FromSingles(elements, response.BodyWriter.GetSpan(bytes)[..bytes]);
        response.BodyWriter.Advance(bytes);
    }

    // Everything in front of the output's data, or of what stands for them.
    private void WriteStart(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteString("model_name"u8, model);
        if (header.Id is not null) json.WriteString("id"u8, header.Id);
        json.WriteStartArray("outputs"u8);
        json.WriteStartObject();
        json.WriteString("name"u8, InferText.Output);
        json.WriteStartArray("shape"u8);
        foreach (var dimension in y.Shape.Dimensions) json.WriteNumberValue(dimension);
        json.WriteEndArray();
        json.WriteString("datatype"u8, header.Datatype.Name());
    }

    private static void WriteEnd(Utf8JsonWriter json)
    {
        json.WriteEndObject();
        json.WriteEndArray();
        json.WriteEndObject();
        json.Flush();
    }

    private void RequireFinite()
    {
        // Of no elements it says that they are not.
        if (y.Shape.Count == 0 || TensorPrimitives.IsFiniteAll<float>(y.Data)) return;
        var index = 0;
        while (float.IsFinite(y.Data[index])) index++;
        throw new ProblemException(ProblemCode.NonFiniteInput,
            $"element {index} of output '{InferText.Output}' is {y.Data[index].ToString(CultureInfo.InvariantCulture)}, for which JSON has no word: " +
            "ask for binary output (binary_data_output of the request, or binary_data of the output)");
    }

    private static async ValueTask FlushAsync(HttpResponse response)
    {
        var flushed = await response.BodyWriter.FlushAsync(response.HttpContext.RequestAborted);
        if (flushed.IsCompleted || flushed.IsCanceled) throw new OperationCanceledException("the client no longer reads the answer");
    }
}
