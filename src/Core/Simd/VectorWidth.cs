using System.Runtime.Intrinsics;

namespace BnService.Core.Simd;

/// <summary>The width in bits of the vectors that a kernel runs with; <see cref="Scalar"/> is one lane.</summary>
public enum VectorWidth
{
    /// <summary>One lane at a time; available everywhere.</summary>
    Scalar = 1,

    /// <summary>128-bit vectors (SSE, NEON).</summary>
    Bits128 = 128,

    /// <summary>256-bit vectors (AVX2).</summary>
    Bits256 = 256,

    /// <summary>512-bit vectors (AVX-512).</summary>
    Bits512 = 512,
}

/// <summary>A kernel: one generic body that is compiled once per vector width.</summary>
internal interface IKernel
{
    /// <summary>Computes work item <paramref name="item"/> with vectors of float and of double lanes of the same width in bits.</summary>
    void Run<TSingle, TDouble>(int item)
        where TSingle : struct, IVector<TSingle, float>
        where TDouble : struct, IVector<TDouble, double>;
}

/// <summary>Picks the width: the only place that knows which vectors the machine has.</summary>
public static class VectorWidths
{
    /// <summary>The widest vectors that this machine runs in hardware.</summary>
    public static VectorWidth Widest { get; } =
        Vector512.IsHardwareAccelerated ? VectorWidth.Bits512
        : Vector256.IsHardwareAccelerated ? VectorWidth.Bits256
        : Vector128.IsHardwareAccelerated ? VectorWidth.Bits128
        : VectorWidth.Scalar;

    /// <summary>Whether <paramref name="width"/> is a width that this machine runs in hardware.</summary>
    public static bool IsSupported(VectorWidth width) => Enum.IsDefined(width) && width <= Widest;

    internal static void Run<TKernel>(VectorWidth width, in TKernel kernel, int item)
        where TKernel : struct, IKernel
    {
        switch (width)
        {
            case VectorWidth.Bits512: kernel.Run<Lanes512<float>, Lanes512<double>>(item); break;
            case VectorWidth.Bits256: kernel.Run<Lanes256<float>, Lanes256<double>>(item); break;
            case VectorWidth.Bits128: kernel.Run<Lanes128<float>, Lanes128<double>>(item); break;
            default: kernel.Run<Lanes1<float>, Lanes1<double>>(item); break;
        }
    }
}
