namespace BnService.Api.Wire.OpenInference;

/// <summary>The protocol's names of the types in which tensors travel.</summary>
internal static class Datatypes
{
    /// <summary>The type that a model's description names.</summary>
    public const string Described = "FP32";

    /// <summary>The same in a model's configuration.</summary>
    public const string Configured = "TYPE_FP32";

    private static readonly (string Name, ElementType Type)[] Known =
        [("FP32", ElementType.F32), ("FP64", ElementType.F64), ("FP16", ElementType.F16), ("BF16", ElementType.BF16)];

    /// <summary>The types that are spoken, for messages.</summary>
    public static string All { get; } = string.Join(", ", Known.Select(known => known.Name));

    /// <summary>The name of a type.</summary>
    public static string Name(this ElementType type) => Array.Find(Known, known => known.Type == type).Name;

    /// <summary>The type of a name; null where it is none of ours.</summary>
    public static ElementType? Find(string name) => Array.FindIndex(Known, known => known.Name == name) is var index and >= 0 ? Known[index].Type : null;

    /// <summary>Whether numbers of the type are written in JSON; the halves travel in binary only.</summary>
    public static bool HasJson(this ElementType type) => type is ElementType.F32 or ElementType.F64;
}
