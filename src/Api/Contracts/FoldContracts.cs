using System.ComponentModel.DataAnnotations;
using System.Text.Json;
using System.Text.Json.Serialization;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Contracts;

/// <summary>A layer to fold the session's normalization into.</summary>
public sealed class FoldRequest : IDisposable
{
    /// <summary>What the layer is.</summary>
    [Required]
    public FoldableLayer Layer { get; set; }

    /// <summary>
    /// Its weight, in the layout that layout says; by default as PyTorch has it: linear [out, in]; conv [out, in/groups, kernel...];
    /// conv_transpose [in, out/groups, kernel...]; one to three dimensions of kernel.
    /// </summary>
    [Required, JsonConverter(typeof(TensorPlaceholder))]
    public Tensor Weight { get; set; } = null!;

    /// <summary>
    /// How weight lies in memory; the answer's weight lies the same way. `oihw` (default) and for linear `oi`: as PyTorch has it. `io`: a \
    /// dense
    /// kernel of Keras or flax, [in, out]. `hwio`: a convolution's kernel of Keras, [kernel..., in/groups, out]; for conv_transpose Keras's
    /// [kernel..., out/groups, in]; a depthwise kernel [kernel..., in, multiplier] with groups = in. It is never guessed, also not from the
    /// session's convention.
    /// </summary>
    public FoldLayout Layout { get; set; }

    /// <summary>Its bias, one finite value per output channel; 0 where absent.</summary>
    public double[]? Bias { get; set; }

    /// <summary>Number of groups that the channels fall into.</summary>
    [Range(1, int.MaxValue)]
    public int Groups { get; set; } = 1;

    /// <summary>Where the normalization stands: after the layer, or before it.</summary>
    public FoldPosition Position { get; set; }

    /// <summary>
    /// The convolution's padding, one number per dimension (a single number is read as well); only looked at with position before, where \
    /// it must be 0.
    /// </summary>
    [MaxLength(6)]
    public Padding? Padding { get; set; }

    /// <summary>Version of the snapshot to fold; the newest state where absent.</summary>
    [Range(1, long.MaxValue)]
    public long? Version { get; set; }

    /// <inheritdoc/>
    public void Dispose() => Weight?.Dispose();
}

/// <summary>The layer that does the work of both.</summary>
public sealed class FoldResponse : IDisposable
{
    /// <summary>Folded weight, in the shape of the layer's.</summary>
    [JsonConverter(typeof(TensorPlaceholder))]
    public required Tensor Weight { get; init; }

    /// <summary>Folded bias, one value per output channel.</summary>
    public required double[] Bias { get; init; }

    /// <summary>
    /// The largest difference between the folded layer (weight and bias rounded to float32) and the two it stands for, both evaluated in
    /// double, relative to the larger of the output and its standard deviation. Taken at four inputs for each output channel, at which what
    /// is normalized has its running mean and, over three fixed pseudo-random ones, its running variance. About 1e-7 is the rounding of
    /// float32; near 1 nothing but rounding is left, as where the running variance is next to nothing against the running mean.
    /// </summary>
    public required double MaxRelativeDifference { get; init; }

    /// <summary>The session's activation, which cannot be folded: it stays behind the folded layer.</summary>
    public required Activation Activation { get; init; }

    /// <summary>Version of the state that was folded.</summary>
    public required long Version { get; init; }

    /// <inheritdoc/>
    public void Dispose() => Weight.Dispose();
}

/// <summary>Padding of a convolution: one or two numbers for each dimension. A single number is read as well, for all of them.</summary>
/// <param name="values">The numbers.</param>
[JsonConverter(typeof(PaddingConverter))]
public sealed class Padding(int[] values)
{
    /// <summary>The numbers.</summary>
    public int[] Values { get; } = values;
}

/// <summary>A padding as a whole number or an array of them.</summary>
internal sealed class PaddingConverter : JsonConverter<Padding>
{
    /// <inheritdoc/>
    public override Padding Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options)
    {
        if (reader.TokenType != JsonTokenType.StartArray) return new Padding([Number(ref reader)]);
        var numbers = new List<int>();
        while (reader.Read() && reader.TokenType != JsonTokenType.EndArray) numbers.Add(Number(ref reader));
        return new Padding([.. numbers]);
    }

    /// <inheritdoc/>
    public override void Write(Utf8JsonWriter writer, Padding value, JsonSerializerOptions options)
    {
        writer.WriteStartArray();
        foreach (var number in value.Values) writer.WriteNumberValue(number);
        writer.WriteEndArray();
    }

    private static int Number(ref Utf8JsonReader reader) =>
        reader.TokenType == JsonTokenType.Number && reader.TryGetInt32(out var number) ? number : throw new JsonException();
}
