using System.Globalization;
using System.Text;

namespace BnService.Harness;

/// <summary>A tensor as a test writes it down: a shape and its elements, row-major.</summary>
public sealed record Batch(int[] Shape, float[] Data)
{
    /// <summary>The form {"shape", "data"}.</summary>
    public string Json => $"{{\"shape\":[{string.Join(',', Shape)}],\"data\":[{string.Join(',', Data.Select(Text))}]}}";

    /// <summary>The form of nested arrays.</summary>
    public string NestedJson
    {
        get
        {
            var json = new StringBuilder();
            AppendNested(json, 0, 0);
            return json.ToString();
        }
    }

    /// <summary>A batch whose elements scatter around a mean of each channel; the same for the same seed.</summary>
    public static Batch Random(int seed, params int[] shape)
    {
        var random = new Random(seed);
        var elements = new float[shape.Aggregate(1, (product, dimension) => product * dimension)];
        for (var i = 0; i < elements.Length; i++) elements[i] = (float)((random.NextDouble() - 0.4) * (1 + (i % 7)));
        return new Batch(shape, elements);
    }

    /// <summary>Some of the rows.</summary>
    public Batch Rows(int from, int count)
    {
        var width = Shape[1..].Aggregate(1, (product, dimension) => product * dimension);
        return new Batch([count, .. Shape[1..]], Data[(from * width)..((from + count) * width)]);
    }

    /// <summary>Batches of the same samples one behind the other.</summary>
    public static Batch Joined(IReadOnlyList<Batch> parts) =>
        new([parts.Sum(part => part.Shape[0]), .. parts[0].Shape[1..]], [.. parts.SelectMany(part => part.Data)]);

    /// <summary>The same elements in another shape.</summary>
    public Batch As(params int[] shape) => new(shape, Data);

    /// <summary>A number as JSON has it; what is not finite travels as a string.</summary>
    public static string Text(float value) => float.IsFinite(value)
        ? value.ToString("R", CultureInfo.InvariantCulture)
        : $"\"{value.ToString(CultureInfo.InvariantCulture)}\"";

    /// <summary>A flat array.</summary>
    public static string Array(IEnumerable<double> values) =>
        $"[{string.Join(',', values.Select(value => value.ToString("R", CultureInfo.InvariantCulture)))}]";

    private int AppendNested(StringBuilder json, int axis, int index)
    {
        json.Append('[');
        for (var i = 0; i < Shape[axis]; i++)
        {
            if (i > 0) json.Append(',');
            if (axis + 1 < Shape.Length) index = AppendNested(json, axis + 1, index);
            else json.Append(Text(Data[index++]));
        }
        json.Append(']');
        return index;
    }
}
