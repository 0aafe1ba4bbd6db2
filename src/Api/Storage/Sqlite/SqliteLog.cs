using System.Buffers.Binary;

namespace BnService.Api.Storage.Sqlite;

/// <summary>
/// The write-ahead log of the file (sqlite.org/fileformat2.html, section 4), which SQLite passes over without a word where its head is damaged.
/// </summary>
internal static class SqliteLog
{
    private const int HeadBytes = 32, SummedBytes = 24;
    private const uint Magic = 0x377F0682;

    /// <summary>
    /// Whether there is a log whose head is not one, so that what was answered and is in it alone would be lost. One that a power cut has
    /// left empty, short or zero holds nothing that was answered.
    /// </summary>
    /// <exception cref="IOException">It cannot be read.</exception>
    /// <exception cref="UnauthorizedAccessException">It may not be read.</exception>
    public static bool IsDamaged(string path)
    {
        if (!File.Exists(path)) return false;
        using var file = new FileStream(path, FileMode.Open, FileAccess.Read, FileShare.ReadWrite);
        Span<byte> head = stackalloc byte[HeadBytes];
        if (file.ReadAtLeast(head, HeadBytes, throwOnEndOfStream: false) < HeadBytes || !head.ContainsAnyExcept((byte)0)) return false;
        var magic = BinaryPrimitives.ReadUInt32BigEndian(head);
        if ((magic & ~1u) != Magic) return true;
        // The last bit says in which order the bytes of a number are for the sums.
        var (first, second) = (0u, 0u);
        for (var at = 0; at < SummedBytes; at += 2 * sizeof(uint))
        {
            first += Number(head[at..], magic) + second;
            second += Number(head[(at + sizeof(uint))..], magic) + first;
        }
        return first != BinaryPrimitives.ReadUInt32BigEndian(head[SummedBytes..])
            || second != BinaryPrimitives.ReadUInt32BigEndian(head[(SummedBytes + sizeof(uint))..]);
    }

    private static uint Number(ReadOnlySpan<byte> bytes, uint magic) =>
        (magic & 1) == 1 ? BinaryPrimitives.ReadUInt32BigEndian(bytes) : BinaryPrimitives.ReadUInt32LittleEndian(bytes);
}
