using System.Buffers.Binary;
using System.Globalization;
using System.IO.Hashing;
using System.Runtime.InteropServices;

namespace BnService.Api.Sessions;

/// <summary>
/// Checksums over what a store keeps, which refuse a flipped bit when it is read. They lie within the bytes where what does not know them
/// passes over them; what a service before this one wrote has none and is read as it is. That service does not read all that this one
/// writes: arrays of one value are stored as that value (<see cref="SessionEncoding"/>).
/// </summary>
internal static class Checksum
{
    /// <summary>What a header has as its last member before its checksums are known.</summary>
    public const string Unsealed = "00000000000000000000000000000000";

    private const int Digits = 2 * sizeof(ulong);

    private static ReadOnlySpan<byte> Member => "\"Sums\":\""u8;

    private static ReadOnlySpan<byte> End => "\"}"u8;

    private static ReadOnlySpan<byte> Mark => "\nBnXxh3:"u8;

    /// <summary>Whose bytes they are: a header of another row, or under another version, is not this one.</summary>
    public static long Identity(string id, string name, long version, long createdAt)
    {
        var ofNames = Hash(MemoryMarshal.AsBytes(name.AsSpan()), Hash(MemoryMarshal.AsBytes(id.AsSpan()), 0));
        return Hash(MemoryMarshal.AsBytes([version, createdAt]), ofNames);
    }

    /// <summary>Writes the checksums into a header that ends with <see cref="Unsealed"/>.</summary>
    /// <param name="header">The header; its last member is written over.</param>
    /// <param name="state">The arrays that belong to it.</param>
    /// <param name="identity">Whose they are.</param>
    public static void Seal(Span<byte> header, ReadOnlySpan<byte> state, long identity)
    {
        var sums = header[^(End.Length + (2 * Digits))..^End.Length];
        Write(Hash(state, 0), sums[..Digits]);
        Write(Hash(header[..^(End.Length + Digits)], identity), sums[Digits..]);
    }

    /// <summary>Whether a header has checksums; without them it was written by a service before this one.</summary>
    public static bool IsSealed(ReadOnlySpan<byte> header) => header.Length > Member.Length + (2 * Digits) + End.Length
        && header[^(Member.Length + (2 * Digits) + End.Length)..].StartsWith(Member);

    /// <summary>Whether a sealed header is as it was written.</summary>
    public static bool IsIntact(ReadOnlySpan<byte> header, long identity) =>
        header.EndsWith(End) && IsSame(header[^(End.Length + Digits)..^End.Length], Hash(header[..^(End.Length + Digits)], identity));

    /// <summary>Whether the arrays that belong to a sealed header are as they were written.</summary>
    public static bool IsStateIntact(ReadOnlySpan<byte> header, ReadOnlySpan<byte> state) =>
        IsSame(header[^(End.Length + (2 * Digits))..^(End.Length + Digits)], Hash(state, 0));

    /// <summary>Bytes that a checksum takes behind content.</summary>
    public static int Bytes => Mark.Length + sizeof(ulong);

    /// <summary>Writes the checksum of content into the last bytes behind it.</summary>
    /// <param name="whole">The content, and as many <see cref="Bytes"/> more.</param>
    /// <returns>The same array.</returns>
    public static byte[] Append(byte[] whole)
    {
        var end = whole.AsSpan(^Bytes..);
        Mark.CopyTo(end);
        BinaryPrimitives.WriteInt64LittleEndian(end[Mark.Length..], Hash(whole.AsSpan(..^Bytes), 0));
        return whole;
    }

    /// <summary>The content before its checksum; the whole where it has none.</summary>
    /// <exception cref="InvalidDataException">It is not as it was written.</exception>
    public static ReadOnlyMemory<byte> Content(ReadOnlyMemory<byte> whole)
    {
        var end = whole.Length - Bytes;
        if (end < 0 || !whole.Span[end..].StartsWith(Mark)) return whole;
        return Hash(whole.Span[..end], 0) == BinaryPrimitives.ReadInt64LittleEndian(whole.Span[^sizeof(ulong)..])
            ? whole[..end]
            : throw new InvalidDataException("its checksum is another one");
    }

    private static long Hash(ReadOnlySpan<byte> bytes, long seed) => (long)XxHash3.HashToUInt64(bytes, seed);

    private static void Write(long hash, Span<byte> digits) => hash.TryFormat(digits, out _, "x16", CultureInfo.InvariantCulture);

    private static bool IsSame(ReadOnlySpan<byte> digits, long hash)
    {
        Span<byte> expected = stackalloc byte[Digits];
        Write(hash, expected);
        return digits.SequenceEqual(expected);
    }
}
