using System.Buffers.Binary;

namespace BnService.Api.Storage.Sqlite;

/// <summary>
/// Files and folders that their owner alone can read and write, whatever the umask is: states and hashes of keys lie in them.
/// </summary>
internal static class OwnerOnly
{
    private const UnixFileMode OfFile = UnixFileMode.UserRead | UnixFileMode.UserWrite, OfFolder = OfFile | UnixFileMode.UserExecute,
        OfOthers = UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.GroupExecute
            | UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.OtherExecute;

    /// <summary>Makes a folder, where there is none.</summary>
    public static void CreateFolder(string path)
    {
        if (Directory.Exists(path)) return;
        if (OperatingSystem.IsWindows()) Directory.CreateDirectory(path);
        else Directory.CreateDirectory(path, OfFolder);
    }

    /// <summary>Opens a file for this one process, and makes it where there is none.</summary>
    public static FileStream Open(string path)
    {
        var options = new FileStreamOptions { Mode = FileMode.OpenOrCreate, Access = FileAccess.ReadWrite, Share = FileShare.None };
        if (!OperatingSystem.IsWindows()) options.UnixCreateMode = OfFile;
        return new FileStream(path, options);
    }

    /// <summary>Takes away what others than the owner may do with a file or folder.</summary>
    /// <returns>Whether they could do anything, and now cannot.</returns>
    public static bool TryTighten(string path)
    {
        // What a link points to is somebody else's.
        if (OperatingSystem.IsWindows() || new FileInfo(path).LinkTarget is not null || !Path.Exists(path)) return false;
        try
        {
            var mode = File.GetUnixFileMode(path);
            if ((mode & OfOthers) == 0) return false;
            File.SetUnixFileMode(path, mode & ~OfOthers);
            return true;
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            // Another's file that this process may use, as on a volume of a group.
            return false;
        }
    }

    /// <summary>
    /// Does the same for a folder that has nothing in it but a file and its companions, and is not one that everybody shares.
    /// </summary>
    /// <param name="path">The folder.</param>
    /// <param name="file">Name of the file, with which the names of its companions begin.</param>
    public static bool TryTightenFolder(string path, string file)
    {
        try
        {
            return !OperatingSystem.IsWindows() && (File.GetUnixFileMode(path) & UnixFileMode.StickyBit) == 0
                && Directory.EnumerateFileSystemEntries(path)
                    .All(entry => Path.GetFileName(entry).StartsWith(file, StringComparison.Ordinal))
                && TryTighten(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }
}

/// <summary>
/// The write-ahead log of the file (sqlite.org/fileformat2.html, section 4), which SQLite passes over without a word where its head is
/// damaged.
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
