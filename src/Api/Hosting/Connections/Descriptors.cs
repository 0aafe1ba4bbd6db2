using System.Globalization;

namespace BnService.Api.Hosting.Connections;

/// <summary>
/// File descriptors: connections must leave some to everything else, because the runtime ends the process if it gets none.
/// </summary>
internal static class Descriptors
{
    /// <summary>
    /// Descriptors that connections never take, whatever else has been opened by then: assemblies that load late, the store.
    /// </summary>
    public const int Spare = 64;

    private const string Limits = "/proc/self/limits", OpenFiles = "Max open files";

    /// <summary>The most descriptors that this process may have (<c>ulimit -n</c>); a large number where that is not known.</summary>
    public static int Most { get; } = Read();

    // The runtime has raised the soft limit, which comes first, to the hard one.
    private static int Read()
    {
        if (!OperatingSystem.IsLinux() || !File.Exists(Limits)) return int.MaxValue;
        var line = File.ReadLines(Limits).FirstOrDefault(text => text.StartsWith(OpenFiles, StringComparison.Ordinal));
        var soft = line?[OpenFiles.Length..].Split(' ', StringSplitOptions.RemoveEmptyEntries).FirstOrDefault();
        return int.TryParse(soft, CultureInfo.InvariantCulture, out var most) ? most : int.MaxValue;
    }
}
