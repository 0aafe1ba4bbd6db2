using BnService.Core.Tensors;

namespace BnService.Api.Wire.OpenInference;

/// <summary>The protocol's names of the types in which tensors travel.</summary>
internal static class Datatypes
{
    /// <summary>The type that a model's description names.</summary>
    /// <param name="precision">What the model computes in.</param>
    public static string Described(Precision precision) => precision == Precision.Float64 ? "FP64" : "FP32";

    /// <summary>The same in a model's configuration.</summary>
    /// <param name="precision">What the model computes in.</param>
    public static string Configured(Precision precision) => $"TYPE_{Described(precision)}";

    private static readonly (string Name, ElementType Type)[] Known =
    [
        ("FP32", ElementType.F32), ("FP64", ElementType.F64), ("FP16", ElementType.F16), ("BF16", ElementType.BF16),
        ("INT8", ElementType.I8), ("INT16", ElementType.I16), ("INT32", ElementType.I32), ("INT64", ElementType.I64),
        ("UINT8", ElementType.U8), ("UINT16", ElementType.U16), ("UINT32", ElementType.U32), ("UINT64", ElementType.U64),
        ("BOOL", ElementType.BOOL),
    ];

    /// <summary>The types that are spoken, for messages.</summary>
    public static string All { get; } = string.Join(", ", Known.Select(known => known.Name));

    /// <summary>The name of a type.</summary>
    public static string Name(this ElementType type) => Array.Find(Known, known => known.Type == type).Name;

    /// <summary>The type of a name; null where it is none of ours.</summary>
    public static ElementType? Find(string name) => Array.FindIndex(Known, known => known.Name == name) is var index and >= 0 ? Known[index].Type : null;

    /// <summary>The least and the most that elements of a type of whole numbers can be; null for other types.</summary>
    public static (long Least, ulong Most)? RangeOf(ElementType type) => type switch
    {
        ElementType.I64 => (long.MinValue, long.MaxValue),
        ElementType.I32 => (int.MinValue, int.MaxValue),
        ElementType.I16 => (short.MinValue, (ulong)short.MaxValue),
        ElementType.I8 => (sbyte.MinValue, (ulong)sbyte.MaxValue),
        ElementType.U64 => (0, ulong.MaxValue),
        ElementType.U32 => (0, uint.MaxValue),
        ElementType.U16 => (0, ushort.MaxValue),
        ElementType.U8 => (0, byte.MaxValue),
        ElementType.BOOL => (0, 1),
        _ => null,
    };

    /// <summary>Whether numbers of the type are written in JSON; the halves travel in binary only.</summary>
    public static bool HasJson(this ElementType type) => type is not (ElementType.F16 or ElementType.BF16);
}
