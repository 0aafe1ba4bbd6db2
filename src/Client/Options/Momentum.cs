using System.Text.Json;
using System.Text.Json.Serialization;

namespace BnService.Client;

/// <summary>Weight of the new batch in the running statistics, or the average over all batches.</summary>
/// <param name="Weight">The weight, 0 to 1 (PyTorch's convention unless another one is named); null for the average over all batches.</param>
[JsonConverter(typeof(MomentumConverter))]
public readonly record struct Momentum(double? Weight)
{
    /// <summary>The average over all batches, each with the same weight.</summary>
    public static Momentum Cumulative => default;

    /// <summary>A weight as a momentum.</summary>
    public static implicit operator Momentum(double weight) => new(weight);

    /// <summary>A weight as a momentum.</summary>
    public static Momentum FromDouble(double weight) => new(weight);
}

/// <summary>Momentum as JSON: a number, or null for the average over all batches.</summary>
internal sealed class MomentumConverter : JsonConverter<Momentum>
{
    /// <inheritdoc/>
    public override bool HandleNull => true;

    /// <inheritdoc/>
    public override Momentum Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        reader.TokenType == JsonTokenType.Null ? Momentum.Cumulative : new Momentum(reader.GetDouble());

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter writer, Momentum value, JsonSerializerOptions options)
    {
        if (value.Weight is { } weight) writer.WriteNumberValue(weight);
        else writer.WriteNullValue();
    }
}
