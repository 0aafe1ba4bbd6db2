using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.Safetensors;

/// <summary>
/// Writes a message as a safetensors file: tensors and arrays by their fields' names, everything else as text under
/// <c>__metadata__</c>, where objects are JSON. What is null is left out.
/// </summary>
internal static class SafetensorsWriter
{
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
        await output.WriteAsync(Begin(response, file), cancellationToken);
        foreach (var tensor in file.Tensors)
        {
            if (tensor.Source is { } source) await TensorWriter.WriteAsync(output, source, cancellationToken);
            else await output.WriteAsync(tensor.Bytes, cancellationToken);
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
                case double[] values when named is not null && !isWide && Array.TrueForAll(values, IsSingle): file.Add(named, Array.ConvertAll(values, number => (float)number), shape); break;
                case double[] values: file.Add(named ?? property.Name, values, shape); break;
                case long number when named is not null: file.Add(named, number); break;
                case string text: file.AddText(property.Name, text); break;
                default: file.AddText(property.Name, Text(value, property)); break;
            }
        }
        return file;
    }

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
