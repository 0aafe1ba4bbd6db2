using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using System.Runtime.Intrinsics.X86;

namespace BnService.Core.Simd;

/// <summary>
/// Loads and stores of the first few floats of a vector, for the ragged ends of a run: nothing behind them is touched, and lanes
/// behind them load as 0. With masks where the machine has them, float by float elsewhere.
/// </summary>
internal static unsafe class PartialVector
{
    private const MethodImplOptions Inline = MethodImplOptions.AggressiveInlining;

    [MethodImpl(Inline)]
    public static Vector512<float> Load512(float* source, int count) =>
        Avx512F.IsSupported ? Avx512F.MaskLoad(source, Mask512(count), Vector512<float>.Zero)
        : count <= 8 ? Load256(source, count).ToVector512()
        : Vector512.Create(Vector256.Load(source), Load256(source + 8, count - 8));

    [MethodImpl(Inline)]
    public static Vector256<float> Load256(float* source, int count) =>
        Avx.IsSupported ? Avx.MaskLoad(source, Mask256(count))
        : count <= 4 ? Load128(source, count).ToVector256()
        : Vector256.Create(Vector128.Load(source), Load128(source + 4, count - 4));

    [MethodImpl(Inline)]
    public static Vector128<float> Load128(float* source, int count)
    {
        if (Avx.IsSupported) return Avx.MaskLoad(source, Vector128.LessThan(Vector128<int>.Indices, Vector128.Create(count)).AsSingle());
        var lanes = Vector128<float>.Zero;
        for (var lane = 0; lane < count; lane++) lanes = lanes.WithElement(lane, source[lane]);
        return lanes;
    }

    [MethodImpl(Inline)]
    public static void Store512(float* destination, Vector512<float> lanes, int count)
    {
        if (Avx512F.IsSupported)
        {
            Avx512F.MaskStore(destination, Mask512(count), lanes);
            return;
        }
        Store256(destination, lanes.GetLower(), Math.Min(count, 8));
        if (count > 8) Store256(destination + 8, lanes.GetUpper(), count - 8);
    }

    [MethodImpl(Inline)]
    public static void Store256(float* destination, Vector256<float> lanes, int count)
    {
        if (Avx.IsSupported)
        {
            Avx.MaskStore(destination, Mask256(count), lanes);
            return;
        }
        Store128(destination, lanes.GetLower(), Math.Min(count, 4));
        if (count > 4) Store128(destination + 4, lanes.GetUpper(), count - 4);
    }

    [MethodImpl(Inline)]
    public static void Store128(float* destination, Vector128<float> lanes, int count)
    {
        for (var lane = 0; lane < count; lane++) destination[lane] = lanes.GetElement(lane);
    }

    [MethodImpl(Inline)]
    private static Vector512<float> Mask512(int count) => Vector512.LessThan(Vector512<int>.Indices, Vector512.Create(count)).AsSingle();

    [MethodImpl(Inline)]
    private static Vector256<float> Mask256(int count) => Vector256.LessThan(Vector256<int>.Indices, Vector256.Create(count)).AsSingle();
}
