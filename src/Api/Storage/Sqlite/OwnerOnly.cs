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
                && Directory.EnumerateFileSystemEntries(path).All(entry => Path.GetFileName(entry).StartsWith(file, StringComparison.Ordinal))
                && TryTighten(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }
}
