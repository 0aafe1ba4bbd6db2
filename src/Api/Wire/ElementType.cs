using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using BnService.Core.Tensors;

namespace BnService.Api.Wire;

/// <summary>How an element of a tensor is written in a binary format, little-endian; the names are those of safetensors.</summary>
public enum ElementType
{
    /// <summary>IEEE 754 binary32: what tensors consist of on the inside.</summary>
    F32,

    /// <summary>IEEE 754 binary64.</summary>
    F64,

    /// <summary>IEEE 754 binary16.</summary>
    F16,

    /// <summary>The upper half of a binary32 (bfloat16).</summary>
    BF16,

    /// <summary>A whole number of 64 bits, in two's complement.</summary>
    I64,

    /// <summary>A whole number of 32 bits, in two's complement.</summary>
    I32,

    /// <summary>A whole number of 16 bits, in two's complement.</summary>
    I16,

    /// <summary>A whole number of 8 bits, in two's complement.</summary>
    I8,

    /// <summary>A whole number of 64 bits, 0 or more.</summary>
    U64,

    /// <summary>A whole number of 32 bits, 0 or more.</summary>
    U32,

    /// <summary>A whole number of 16 bits, 0 or more.</summary>
    U16,

    /// <summary>A whole number of 8 bits, 0 or more.</summary>
    U8,

    /// <summary>A byte: 0 is false, anything else true, which counts as 1.</summary>
    BOOL,
}

/// <summary>
/// Elements of every type as float32 and back, rounded to the nearest (ties to even); NaN stays NaN, and what is beyond the narrower
/// type becomes an infinity, as in every framework. Whole numbers are only read.
/// </summary>
internal static class ElementTypes
{
    private const int ChunkElements = 512;

    /// <summary>Bytes of one element.</summary>
    public static int Size(this ElementType type) => type switch
    {
        ElementType.F64 or ElementType.I64 or ElementType.U64 => sizeof(double),
        ElementType.F32 or ElementType.I32 or ElementType.U32 => sizeof(float),
        ElementType.F16 or ElementType.BF16 or ElementType.I16 or ElementType.U16 => sizeof(ushort),
        _ => sizeof(byte),
    };

    /// <summary>The type of the elements of tensors in memory.</summary>
    public static ElementType Of(Precision precision) => precision == Precision.Float64 ? ElementType.F64 : ElementType.F32;

    /// <summary>Whether elements are floating-point numbers, in which answers can be written as well.</summary>
    public static bool IsFloat(this ElementType type) => type <= ElementType.BF16;

    public static void ToSingles(this ElementType type, ReadOnlySpan<byte> bytes, Span<float> values)
    {
        switch (type)
        {
            case ElementType.F32:
                bytes.CopyTo(MemoryMarshal.AsBytes(values));
                break;
            case ElementType.F64:
                TensorPrimitives.ConvertTruncating<double, float>(MemoryMarshal.Cast<byte, double>(bytes), values);
                break;
            case ElementType.F16:
                TensorPrimitives.ConvertToSingle(MemoryMarshal.Cast<byte, Half>(bytes), values);
                break;
            case ElementType.BF16:
                var halves = MemoryMarshal.Cast<byte, ushort>(bytes);
                for (var i = 0; i < halves.Length; i++) values[i] = BitConverter.UInt32BitsToSingle((uint)halves[i] << 16);
                break;
            case ElementType.I64: Convert<long>(bytes, values); break;
            case ElementType.I32: Convert<int>(bytes, values); break;
            case ElementType.I16: Convert<short>(bytes, values); break;
            case ElementType.I8: Convert<sbyte>(bytes, values); break;
            case ElementType.U64: Convert<ulong>(bytes, values); break;
            case ElementType.U32: Convert<uint>(bytes, values); break;
            case ElementType.U16: Convert<ushort>(bytes, values); break;
            case ElementType.U8: Convert<byte>(bytes, values); break;
            case ElementType.BOOL:
                for (var i = 0; i < bytes.Length; i++) values[i] = bytes[i] == 0 ? 0 : 1;
                break;
        }
    }

    public static void ToDoubles(this ElementType type, ReadOnlySpan<byte> bytes, Span<double> values)
    {
        switch (type)
        {
            case ElementType.F64:
                bytes.CopyTo(MemoryMarshal.AsBytes(values));
                break;
            case ElementType.I64:
                TensorPrimitives.ConvertTruncating<long, double>(MemoryMarshal.Cast<byte, long>(bytes), values);
                break;
            case ElementType.U64:
                TensorPrimitives.ConvertTruncating<ulong, double>(MemoryMarshal.Cast<byte, ulong>(bytes), values);
                break;
            case ElementType.I32:
                TensorPrimitives.ConvertTruncating<int, double>(MemoryMarshal.Cast<byte, int>(bytes), values);
                break;
            case ElementType.U32:
                TensorPrimitives.ConvertTruncating<uint, double>(MemoryMarshal.Cast<byte, uint>(bytes), values);
                break;
            default:
                ThroughSingles(type, bytes, values);
                break;
        }
    }

    /// <summary>Whether elements may be numbers that float32 cannot hold.</summary>
    public static bool IsWiderThanSingle(this ElementType type) =>
        type is ElementType.F64 or ElementType.I64 or ElementType.U64 or ElementType.I32 or ElementType.U32;

    /// <summary>float64 values as elements; through float32 where the type is no wider.</summary>
    public static void FromDoubles(this ElementType type, ReadOnlySpan<double> values, Span<byte> bytes)
    {
        if (type == ElementType.F64)
        {
            MemoryMarshal.AsBytes(values).CopyTo(bytes);
            return;
        }
        Span<float> singles = stackalloc float[ChunkElements];
        for (; !values.IsEmpty; values = values[singles.Length..], bytes = bytes[(singles.Length * type.Size())..])
        {
            singles = singles[..Math.Min(singles.Length, values.Length)];
            TensorPrimitives.ConvertTruncating<double, float>(values[..singles.Length], singles);
            type.FromSingles(singles, bytes);
        }
    }

    public static void FromSingles(this ElementType type, ReadOnlySpan<float> values, Span<byte> bytes)
    {
        switch (type)
        {
            case ElementType.F32:
                MemoryMarshal.AsBytes(values).CopyTo(bytes);
                break;
            case ElementType.F64:
                TensorPrimitives.ConvertTruncating<float, double>(values, MemoryMarshal.Cast<byte, double>(bytes)[..values.Length]);
                break;
            case ElementType.F16:
                TensorPrimitives.ConvertToHalf(values, MemoryMarshal.Cast<byte, Half>(bytes)[..values.Length]);
                break;
            default:
                var halves = MemoryMarshal.Cast<byte, ushort>(bytes);
                for (var i = 0; i < values.Length; i++) halves[i] = ToBFloat16(values[i]);
                break;
        }
    }

    private static void ThroughSingles(ElementType type, ReadOnlySpan<byte> bytes, Span<double> values)
    {
        Span<float> singles = stackalloc float[ChunkElements];
        for (; !values.IsEmpty; values = values[singles.Length..], bytes = bytes[(singles.Length * type.Size())..])
        {
            singles = singles[..Math.Min(singles.Length, values.Length)];
            type.ToSingles(bytes[..(singles.Length * type.Size())], singles);
            TensorPrimitives.ConvertTruncating<float, double>(singles, values);
        }
    }

    // Rounded once, to the nearest, as numpy's astype does it.
    private static void Convert<T>(ReadOnlySpan<byte> bytes, Span<float> values)
        where T : unmanaged, INumberBase<T> => TensorPrimitives.ConvertTruncating<T, float>(MemoryMarshal.Cast<byte, T>(bytes), values);

    // Half of the last place is added, less one where the tie would not go to even. A NaN keeps its sign and is quiet.
    private static ushort ToBFloat16(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? (ushort)((bits >> 16) | 0x40) : (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
    }
}
