using System.Runtime.InteropServices;

namespace BnService.Core.Tensors;

/// <summary>
/// Arrays that hold one value throughout, as those of a new layer do: long ones that are equal are one array, for as long as somebody has
/// it. Nobody writes them.
/// </summary>
public static class ConstantArrays
{
    // Shorter ones are not worth a look-up.
    private const int ShortestShared = 1 << 10;

    // A place is taken by whoever comes last: how much is remembered is bounded, whatever lengths and values are asked for.
    private static readonly WeakReference<double[]>?[] Known = new WeakReference<double[]>?[256];

    /// <summary>An array that holds a value throughout, bit by bit.</summary>
    /// <param name="length">Its length.</param>
    /// <param name="value">The value.</param>
    public static double[] Of(int length, double value)
    {
        if (length < ShortestShared) return Filled(length, value);
        ref var place = ref Known[(uint)HashCode.Combine(length, BitConverter.DoubleToInt64Bits(value)) % (uint)Known.Length];
        if (Volatile.Read(ref place) is { } known && known.TryGetTarget(out var shared) && shared.Length == length
            && IsSame(shared[0], value)) return shared;
        var array = Filled(length, value);
        Volatile.Write(ref place, new WeakReference<double[]>(array));
        return array;
    }

    /// <summary>
    /// Whether an array holds one value throughout, bit by bit: −0 is not 0, and one NaN not another. An empty one holds none.
    /// </summary>
    public static bool IsConstant(ReadOnlySpan<double> array)
    {
        var bits = MemoryMarshal.Cast<double, long>(array);
        // Two values tell most of them apart.
        return bits.Length > 0 && bits[^1] == bits[0] && !bits.ContainsAnyExcept(bits[0]);
    }

    private static bool IsSame(double a, double b) => BitConverter.DoubleToInt64Bits(a) == BitConverter.DoubleToInt64Bits(b);

    private static double[] Filled(int length, double value)
    {
        var array = GC.AllocateUninitializedArray<double>(length);
        Array.Fill(array, value);
        return array;
    }
}
