using System.Diagnostics;

namespace BnService.EndToEnd.Harness;

/// <summary>A disk of a few megabytes in memory (tmpfs), which can be filled and made read-only. Needs root.</summary>
public sealed class SmallDisk : IDisposable
{
    private readonly string _filler;

    /// <param name="megabytes">How large it is.</param>
    public SmallDisk(int megabytes)
    {
        Folder = Directory.CreateTempSubdirectory("bn-disk").FullName;
        _filler = Path.Combine(Folder, "filler");
        Run("mount", "-t", "tmpfs", "-o", $"size={megabytes}m", "tmpfs", Folder);
    }

    /// <summary>Where it is.</summary>
    public string Folder { get; }

    /// <summary>Fills it to the last byte.</summary>
    public void Fill()
    {
        using var file = new FileStream(_filler, FileMode.Append, FileAccess.Write, FileShare.None, bufferSize: 0);
        try
        {
            while (true) file.Write(new byte[4096]);
        }
        catch (IOException)
        {
            // There is no more room.
        }
    }

    /// <summary>Makes room again.</summary>
    public void Empty() => File.Delete(_filler);

    /// <summary>Lets nobody write to it, or everybody.</summary>
    public void MakeReadOnly(bool isReadOnly) => Run("mount", "-o", isReadOnly ? "remount,ro" : "remount,rw", Folder);

    public void Dispose()
    {
        Run("umount", "--lazy", Folder);
        Directory.Delete(Folder);
    }

    private static void Run(params string[] command)
    {
        using var process = Process.Start(new ProcessStartInfo(command[0], command[1..]) { RedirectStandardError = true })!;
        var errors = process.StandardError.ReadToEnd();
        process.WaitForExit();
        if (process.ExitCode != 0) throw new InvalidOperationException($"{string.Join(' ', command)}: {errors}");
    }
}
