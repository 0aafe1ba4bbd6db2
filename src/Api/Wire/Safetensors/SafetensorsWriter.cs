using System.IO.Pipelines;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.Safetensors;

/// <summary>
/// Writes a message as a safetensors file: tensors and arrays by their fields' names, everything else as text under
/// <c>__metadata__</c>, where objects are JSON; of those with arrays of thousands of numbers each array is a tensor, <c>seen.mean</c>. What is
/// null is left out.
/// </summary>
internal static class SafetensorsWriter
{
    // What is written before the client is given the chance to take it; a text of so many numbers is no text for people any more.
    private const int ChunkElements = 4096;

    /// <summary>Writes an answer.</summary>
    /// <param name="response">Where to.</param>
    /// <param name="message">The answer.</param>
    /// <param name="contract">Metadata of its type.</param>
    /// <param name="cancellationToken">Ends writing when the client is gone.</param>
    public static async Task WriteAsync<T>(HttpResponse response, T message, JsonTypeInfo<T> contract, CancellationToken cancellationToken)
        where T : class
    {
        var file = FileOf(message, contract);
        var output = response.BodyWriter;
        TensorWriter.RequireReader(await output.WriteAsync(Begin(response, file), cancellationToken));
        foreach (var tensor in file.Tensors)
        {
            if (tensor.Source is { } source) await TensorWriter.WriteAsync(output, source, cancellationToken);
            else await WriteAsync(output, tensor, cancellationToken);
        }
        await TensorWriter.FlushAsync(output, cancellationToken);
    }

    /// <summary>Sets the length of an answer.</summary>
    /// <returns>What its body begins with, before the elements.</returns>
    public static byte[] Begin<T>(HttpResponse response, T message, JsonTypeInfo<T> contract)
        where T : class => Begin(response, FileOf(message, contract));

    /// <summary>The file that a message is.</summary>
    public static SafetensorsFile FileOf<T>(T message, JsonTypeInfo<T> contract)
        where T : class
    {
        var file = new SafetensorsFile();
        // The state of a layer in float64 is loaded into layers in float64.
        var isWide = message is StateResponse { Options.Precision: Precision.Float64 };
        foreach (var field in ContractField.Of(contract))
        {
            var property = field.Property;
            if (property.Get?.Invoke(message) is not { } value || (message is IPartialAnswer partial && !partial.Includes(property.Name))) continue;
            var named = field.TensorName;
            var shape = field.HasParameterShape ? (message as IShapesParameters)?.ParameterShape : null;
            switch (value)
            {
                case TensorSource source: file.Add(property.Name, source); break;
                case double[] values when named is not null && !isWide && Array.TrueForAll(values, IsSingle): file.Add(named, values, shape, isSingle: true); break;
                case double[] values: file.Add(named ?? property.Name, values, shape); break;
                case long number when named is not null: file.Add(named, number); break;
                case string text: file.AddText(property.Name, text); break;
                case var parts when field.IsLong && field.Type.ElementType is null && HasLongArray(parts, field.Type): AddParts(file, parts, field.Type, $"{property.Name}."); break;
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

    // Parts of an object by their names behind its own, as they are read: its arrays as tensors, everything else as text.
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

    private static bool HasLongArray(object value, JsonTypeInfo type) => ContractField.Of(type).Any(field => field.Property.Get?.Invoke(value) switch
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
