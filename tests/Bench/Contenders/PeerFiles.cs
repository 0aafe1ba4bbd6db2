using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;

namespace BnService.Bench.Contenders;

/// <summary>Where the peers are, and how they come to be there: the script peers.sh, which is run when something is missing.</summary>
internal static class PeerFiles
{
    public const string LimitsLibrary = "bench_limits";
    public const string OneDnnLibrary = "bench_onednn";

    // Debian's own: another Python on the PATH would not see Debian's PyTorch.
    public const string Python = "/usr/bin/python3";

    private static readonly string Base = AppContext.BaseDirectory;
    private static readonly string Built = Path.Combine(Base, "obj");

    /// <summary>PyTorch's side of the conversation.</summary>
    public static string TorchScript { get; } = Path.Combine(Base, "Python", "torch_peer.py");

    /// <summary>Whether the native loops can be called.</summary>
    public static bool HasLimits { get; private set; }

    /// <summary>Whether oneDNN can be called.</summary>
    public static bool HasOneDnn { get; private set; }

    /// <summary>Installs and builds what is missing, as far as that can be done, and loads it.</summary>
    public static void Provide()
    {
        if (!IsFresh("limits") || !IsFresh("onednn") || Run(Python, "-c", "import torch, numpy") != 0)
            _ = Run("bash", Path.Combine(Base, "peers.sh"));
        NativeLibrary.SetDllImportResolver(typeof(PeerFiles).Assembly, Resolve);
        HasLimits = NativeLibrary.TryLoad(LibraryFile("limits"), out _);
        HasOneDnn = NativeLibrary.TryLoad(LibraryFile("onednn"), out _);
    }

    private static string LibraryFile(string name) => Path.Combine(Built, $"libbench_{name}.so");

    private static bool IsFresh(string name) =>
        File.Exists(LibraryFile(name))
        && File.GetLastWriteTimeUtc(LibraryFile(name)) > File.GetLastWriteTimeUtc(Path.Combine(Base, "Native", $"{name}.cpp"));

    private static nint Resolve(string library, Assembly assembly, DllImportSearchPath? searchPath) =>
        library is LimitsLibrary or OneDnnLibrary ? NativeLibrary.Load(Path.Combine(Built, $"lib{library}.so")) : 0;

    private static int Run(string program, params string[] arguments)
    {
        try
        {
            using var process = Process.Start(new ProcessStartInfo(program, arguments) { UseShellExecute = false });
            process!.WaitForExit();
            return process.ExitCode;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return -1;
        }
    }
}
