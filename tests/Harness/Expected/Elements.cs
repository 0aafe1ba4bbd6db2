namespace BnService.Harness;

/// <summary>Elements as the binary formats write them, little-endian.</summary>
public static class Elements
{
    /// <summary>Bytes of one element of a safetensors type.</summary>
    public static int Size(string type) => type switch
    {
        "F64" or "I64" or "U64" => 8,
        "F32" or "I32" or "U32" => 4,
        "F16" or "BF16" or "I16" or "U16" => 2,
        "I8" or "U8" or "BOOL" => 1,
        _ => throw new ArgumentException($"no type {type}", nameof(type)),
    };

    /// <summary>The bytes of values that the type can hold; others are cut to those that it can.</summary>
    public static byte[] Of(string type, IEnumerable<double> values) => [.. values.SelectMany(value => Of(type, value))];

    /// <summary>The bytes of a batch.</summary>
    public static byte[] Of(string type, Batch batch) => Of(type, batch.Data.Select(value => (double)value));

    /// <summary>What a batch is once it has been written in a type.</summary>
    public static Batch In(string type, Batch batch) => new(batch.Shape, [.. Values(type, Of(type, batch)).Select(value => (float)value)]);

    /// <summary>The values that bytes stand for.</summary>
    public static double[] Values(string type, ReadOnlySpan<byte> bytes)
    {
        var values = new double[bytes.Length / Size(type)];
        for (var i = 0; i < values.Length; i++)
        {
            var element = bytes[(i * Size(type))..];
            values[i] = type switch
            {
                "F64" => BitConverter.ToDouble(element),
                "F32" => BitConverter.ToSingle(element),
                "F16" => (double)BitConverter.ToHalf(element),
                "BF16" => BitConverter.Int32BitsToSingle(BitConverter.ToUInt16(element) << 16),
                "I64" => BitConverter.ToInt64(element),
                "I32" => BitConverter.ToInt32(element),
                "I16" => BitConverter.ToInt16(element),
                "I8" => (sbyte)element[0],
                _ => element[0],
            };
        }
        return values;
    }

    /// <summary>The bits of floats: two of them are the same value only if these are.</summary>
    public static int[] Bits(IEnumerable<float> values) => [.. values.Select(BitConverter.SingleToInt32Bits)];

    /// <summary>The bits of doubles.</summary>
    public static long[] Bits(IEnumerable<double> values) => [.. values.Select(BitConverter.DoubleToInt64Bits)];

    private static byte[] Of(string type, double value) => type switch
    {
        "F64" => BitConverter.GetBytes(value),
        "F32" => BitConverter.GetBytes((float)value),
        "F16" => BitConverter.GetBytes((Half)value),
        "BF16" => BitConverter.GetBytes((ushort)(BitConverter.SingleToUInt32Bits((float)value) >> 16)),
        "I64" => BitConverter.GetBytes((long)value),
        "I32" => BitConverter.GetBytes((int)value),
        "I16" => BitConverter.GetBytes((short)value),
        "I8" => [(byte)(sbyte)value],
        _ => [(byte)value],
    };
}
