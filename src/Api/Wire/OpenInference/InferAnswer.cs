using System.Buffers;
using System.Globalization;
using System.Numerics;
using System.Numerics.Tensors;
using System.Text.Encodings.Web;
using System.Text.Json;
using BnService.Api.Errors;
using BnService.Api.Wire.Json;
using BnService.Core.Statistics;
using BnService.Core.Tensors;
using Tensor = BnService.Core.Tensors.Tensor;

namespace BnService.Api.Wire.OpenInference;

/// <summary>Writes an infer answer (inference_rest.md, <c>$inference_response</c>; Triton's extension_binary_data.md).</summary>
/// <param name="version">Its version; empty for none.</param>
internal sealed class InferAnswer(string model, string version, InferHeader header)
{
    private static readonly JsonWriterOptions JsonOptions =
        new() { SkipValidation = true, Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping };

    /// <summary>What the client should know of its input; null for nothing.</summary>
    public Finding? Warning { get; set; }

    /// <summary>Writes it in the form that the request asks for.</summary>
    /// <param name="written">Called when all but the last bytes may have left.</param>
    /// <exception cref="ProblemException">JSON has no word for an element; nothing is written.</exception>
    public async Task WriteAsync(HttpResponse response, TensorSource y, Action written)
    {
        var cancellation = response.HttpContext.RequestAborted;
        if (header.IsOutputBinary)
        {
            response.BodyWriter.Write(Begin(response));
            await TensorWriter.WriteAsync(response.BodyWriter, y, header.OutputDatatype, cancellation);
        }
        else await WriteJsonAsync(response, y);
        written();
        await response.BodyWriter.FlushAsync(cancellation);
    }

    /// <summary>Sets the headers of a binary answer, its length among them.</summary>
    /// <returns>The JSON that its body begins with, before the output's bytes.</returns>
    public byte[] Begin(HttpResponse response)
    {
        using var start = new MemoryStream();
        using (var json = new Utf8JsonWriter(start, JsonOptions))
        {
            WriteStart(json);
            json.WriteStartObject("parameters"u8);
            json.WriteNumber("binary_data_size"u8, OutputBytes);
            json.WriteEndObject();
            WriteEnd(json);
        }
        response.ContentType = MediaTypes.OctetStream;
        response.ContentLength = start.Length + OutputBytes;
        response.Headers[InferText.LengthHeader] = start.Length.ToString(CultureInfo.InvariantCulture);
        return start.ToArray();
    }

    private long OutputBytes => (long)header.Shape.Count * header.OutputDatatype.Size();

    private async ValueTask WriteJsonAsync(HttpResponse response, TensorSource source)
    {
        // An element that JSON cannot say must be known before the first one is sent.
        using var y = Tensor.Rent(source.Shape, source.Precision);
        if (y.Precision == Precision.Float64)
        {
            source.CopyTo(0, y.Doubles);
            RequireFinite<double>(y.Doubles);
        }
        else
        {
            source.CopyTo(0, y.Data);
            RequireFinite<float>(y.Data);
        }
        response.ContentType = MediaTypes.Json;
        await using var json = new Utf8JsonWriter(response.BodyWriter, JsonOptions);
        WriteStart(json);
        json.WriteStartArray("data"u8);
        await JsonMessageWriter.WriteElementsAsync(json, response, y, header.OutputDatatype);
        json.WriteEndArray();
        WriteEnd(json);
    }

    // Everything in front of the output's data, or of what stands for them.
    private void WriteStart(Utf8JsonWriter json)
    {
        json.WriteStartObject();
        json.WriteString("model_name"u8, model);
        if (version.Length > 0) json.WriteString("model_version"u8, version);
        if (header.Id is not null) json.WriteString("id"u8, header.Id);
        if (Warning is not null)
        {
            json.WriteStartObject("parameters"u8);
            json.WriteString("warnings"u8,
                $"{Warning.Code}: {Warning.Detail} (statistics {string.Join(", ", Warning.Channels ?? [])}); {Warning.Remedy}");
            json.WriteEndObject();
        }
        json.WriteStartArray("outputs"u8);
        json.WriteStartObject();
        json.WriteString("name"u8, InferText.Output);
        json.WriteStartArray("shape"u8);
        foreach (var dimension in header.Shape.Dimensions) json.WriteNumberValue(dimension);
        json.WriteEndArray();
        json.WriteString("datatype"u8, header.OutputDatatype.Name());
    }

    private static void WriteEnd(Utf8JsonWriter json)
    {
        json.WriteEndObject();
        json.WriteEndArray();
        json.WriteEndObject();
        json.Flush();
    }

    private static void RequireFinite<T>(ReadOnlySpan<T> y)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        // Of no elements it says that they are not.
        if (y.IsEmpty || TensorPrimitives.IsFiniteAll(y)) return;
        var index = 0;
        while (T.IsFinite(y[index])) index++;
        throw new ProblemException(ProblemCode.NonFiniteInput,
            $"element {index} of output '{InferText.Output}' is {y[index].ToString(null, CultureInfo.InvariantCulture)}, for which JSON " +
                $"has no word: " +
            "ask for binary output (binary_data_output of the request, or binary_data of the output)");
    }
}
