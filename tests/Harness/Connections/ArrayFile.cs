using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace BnService.Harness;

/// <summary>A file of one array as numpy.save writes it, put together and taken apart by the description of its format alone.</summary>
public static partial class ArrayFile
{
    /// <summary>A batch as float32 in C order, version 1.0.</summary>
    public static byte[] Of(Batch batch) => Of(batch, "F32");

    /// <summary>A batch in a type and an order.</summary>
    public static byte[] Of(Batch batch, string type, bool fortran = false, byte major = 1)
    {
        var descr = type switch { "F32" => "<f4", "F64" => "<f8", _ => "<f2" };
        var elements = fortran ? ColumnMajor(batch) : batch.Data;
        return Of($"{{'descr': '{descr}', 'fortran_order': {(fortran ? "True" : "False")}, 'shape': ({Tuple(batch.Shape)}), }}",
            Elements.Of(type, elements.Select(element => (double)element)), major);
    }

    /// <summary>A file of any header, padded as numpy does, and any elements.</summary>
    public static byte[] Of(string header, byte[] elements, byte major = 1)
    {
        var before = major == 1 ? 10 : 12;
        var length = (before + header.Length + 1 + 63) / 64 * 64;
        return Exactly(header.PadRight(length - before - 1) + "\n", elements, major);
    }

    /// <summary>A file of exactly this header.</summary>
    public static byte[] Exactly(string header, byte[] elements, byte major = 1, byte minor = 0)
    {
        var text = Encoding.Latin1.GetBytes(header);
        var length = BitConverter.GetBytes(text.Length)[..(major == 1 ? 2 : 4)];
        return [0x93, .. "NUMPY"u8, major, minor, .. length, .. text, .. elements];
    }

    /// <summary>Reads an answer as strictly as numpy's reader does where it trusts nobody.</summary>
    public static Batch Parse(byte[] file)
    {
        Assert.Equal([0x93, .. "NUMPY"u8, 1, 0], file[..8]);
        var end = 10 + BitConverter.ToUInt16(file, 8);
        Assert.Equal(0, end % 64);
        var header = Encoding.ASCII.GetString(file, 10, end - 10);
        var match = Header().Match(header);
        Assert.True(match.Success, header);
        int[] shape = [.. match.Groups[1].Value.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries)
            .Select(dimension => int.Parse(dimension, CultureInfo.InvariantCulture))];
        Assert.Equal(Tuple(shape), match.Groups[1].Value);
        Assert.Equal(file.Length, end + shape.Aggregate(4L, (product, dimension) => product * dimension));
        return new Batch(shape, [.. Elements.Values("F32", file.AsSpan(end)).Select(value => (float)value)]);
    }

    // As Python writes the inside of a tuple.
    private static string Tuple(int[] shape) => shape.Length == 1 ? $"{shape[0]}," : string.Join(", ", shape);

    // Element by element: its place is the sum of its indices by the strides of each order.
    private static float[] ColumnMajor(Batch batch)
    {
        var elements = new float[batch.Data.Length];
        for (var i = 0; i < elements.Length; i++)
        {
            var (rest, place, stride) = (i, 0, elements.Length);
            for (var axis = batch.Shape.Length - 1; axis >= 0; axis--)
            {
                stride /= batch.Shape[axis];
                place += rest % batch.Shape[axis] * stride;
                rest /= batch.Shape[axis];
            }
            elements[place] = batch.Data[i];
        }
        return elements;
    }

    [GeneratedRegex(@"^\{'descr': '<f4', 'fortran_order': False, 'shape': \(([0-9, ]*)\), \} *\n$")]
    private static partial Regex Header();
}
