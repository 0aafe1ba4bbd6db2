using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;
using BnService.Core.Simd;

namespace BnService.Core.Tests;

/// <summary>
/// The runtime's switches do what the build relies on: with DOTNET_EnableAVX512=0 and DOTNET_EnableAVX2=0 the whole suite runs as on
/// lesser machines. A switch that the runtime ignores would make those runs worthless, so it is looked at.
/// </summary>
public sealed class VectorWidthTests
{
    private static bool IsOff(string setting) => Environment.GetEnvironmentVariable("DOTNET_" + setting)?.Trim() == "0";

    [Fact]
    public void Switching_off_AVX512_takes_effect()
    {
        if (!IsOff("EnableAVX512"))
        {
            // Not switched off, the runtime decides: some processors have it and are better off without.
            Assert.Equal(Vector512.IsHardwareAccelerated, VectorWidths.Widest == VectorWidth.Bits512);
            Assert.True(!Vector512.IsHardwareAccelerated || Avx512F.IsSupported);
            return;
        }
        Assert.False(Vector512.IsHardwareAccelerated);
        Assert.False(Avx512F.IsSupported);
        Assert.True(VectorWidths.Widest < VectorWidth.Bits512);
        Assert.False(VectorWidths.IsSupported(VectorWidth.Bits512));
    }

    [Fact]
    public void Switching_off_AVX2_takes_effect()
    {
        if (!IsOff("EnableAVX2"))
        {
            Assert.Equal(Vector256.IsHardwareAccelerated, VectorWidths.Widest >= VectorWidth.Bits256);
            Assert.Equal(Vector256.IsHardwareAccelerated, Avx2.IsSupported);
            return;
        }
        Assert.False(Vector256.IsHardwareAccelerated);
        Assert.False(Vector512.IsHardwareAccelerated);
        Assert.False(Avx2.IsSupported);
        Assert.True(VectorWidths.Widest <= VectorWidth.Bits128);
        Assert.False(VectorWidths.IsSupported(VectorWidth.Bits256));
    }

    [Fact]
    public void The_widest_vectors_are_those_of_the_hardware()
    {
        var expected = Vector512.IsHardwareAccelerated && Avx512BW.IsSupported ? VectorWidth.Bits512
            : Avx2.IsSupported ? VectorWidth.Bits256
            : Sse2.IsSupported || System.Runtime.Intrinsics.Arm.AdvSimd.IsSupported ? VectorWidth.Bits128
            : VectorWidth.Scalar;
        Assert.Equal(expected, VectorWidths.Widest);
        Assert.Equal(expected, ComputeSettings.Default.Width);
        Assert.Equal(Environment.ProcessorCount, ComputeSettings.Default.Threads);
    }

    [Fact]
    public void Every_width_up_to_the_widest_is_supported_and_no_other()
    {
        foreach (var width in Enum.GetValues<VectorWidth>()) Assert.Equal(width <= VectorWidths.Widest, VectorWidths.IsSupported(width));
        Assert.True(VectorWidths.IsSupported(VectorWidth.Scalar));
        Assert.False(VectorWidths.IsSupported((VectorWidth)64));
        Assert.False(VectorWidths.IsSupported(0));
    }

    [Fact]
    public void Each_width_has_its_number_of_lanes()
    {
        Assert.Equal((1, 1), (Lanes1<float>.Count, Lanes1<double>.Count));
        Assert.Equal((4, 2), (Lanes128<float>.Count, Lanes128<double>.Count));
        Assert.Equal((8, 4), (Lanes256<float>.Count, Lanes256<double>.Count));
        Assert.Equal((16, 8), (Lanes512<float>.Count, Lanes512<double>.Count));
    }
}
