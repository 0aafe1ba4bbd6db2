using System.Diagnostics.CodeAnalysis;

namespace BnService.Core.Tensors;

/// <summary>The type of a tensor's elements, and of what is computed with them.</summary>
[SuppressMessage("Naming", "CA1720", Justification = "these are the names of the contract, and of every framework")]
public enum Precision
{
    /// <summary>IEEE 754 binary32: 24 bits, magnitudes up to 3.4028235e38. Sums and statistics are kept in double nevertheless.</summary>
    Float32,

    /// <summary>IEEE 754 binary64: 53 bits, magnitudes up to 1.8e308.</summary>
    Float64,
}

/// <summary>What is known of a precision.</summary>
public static class Precisions
{
    /// <summary>Bytes of one element.</summary>
    public static int Size(this Precision precision) => precision == Precision.Float64 ? sizeof(double) : sizeof(float);
}
