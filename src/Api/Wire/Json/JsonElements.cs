using System.Buffers;
using System.Globalization;
using System.Numerics;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace BnService.Api.Wire.Json;

/// <summary>
/// Writes the elements of a JSON array, in shortest round-trip form, straight into the memory of what they are written to. NaN and
/// infinities are the strings <c>"NaN"</c>, <c>"Infinity"</c> and <c>"-Infinity"</c>.
/// </summary>
internal static class JsonElements
{
    private const int Longest = 32; // a comma and the longest double, -1.7976931348623157E+308, or the reach of a float
    private const int LeastBlock = 512; // a block for a few elements costs more than they do

    /// <summary>Writes elements, with a comma between each two.</summary>
    /// <typeparam name="T">float or double.</typeparam>
    /// <param name="output">Where to.</param>
    /// <param name="chunk">The elements, or the next ones of them.</param>
    /// <param name="isFirst">Whether none were written to the array before; else a comma comes first.</param>
    public static void Write<T>(IBufferWriter<byte> output, ReadOnlySpan<T> chunk, bool isFirst)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var comma = isFirst ? 0 : 1;
        while (!chunk.IsEmpty)
        {
            var block = output.GetSpan(LeastBlock);
            ref var start = ref MemoryMarshal.GetReference(block);
            var (index, at, last) = (0, 0, block.Length - Longest);
            for (; index < chunk.Length && at <= last; index++)
            {
                Unsafe.Add(ref start, at) = (byte)',';
                at += comma;
                comma = 1;
                at += Write(chunk[index], block, at);
            }
            output.Advance(at);
            chunk = chunk[index..];
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static int Write<T>(T element, Span<byte> block, int at)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        if (!T.IsFinite(element)) return WriteNonFinite(element, block[at..]);
        if (typeof(T) == typeof(float))
            return ShortestFloat.Write(float.CreateTruncating(element), ref Unsafe.Add(ref MemoryMarshal.GetReference(block), at));
        element.TryFormat(block[at..], out var length, default, CultureInfo.InvariantCulture);
        return length;
    }

    private static int WriteNonFinite<T>(T element, Span<byte> block)
        where T : unmanaged, IBinaryFloatingPointIeee754<T>
    {
        var text = T.IsNaN(element) ? "\"NaN\""u8 : T.IsPositive(element) ? "\"Infinity\""u8 : "\"-Infinity\""u8;
        text.CopyTo(block);
        return text.Length;
    }
}
