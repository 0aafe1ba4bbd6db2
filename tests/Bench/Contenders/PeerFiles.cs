using System.Diagnostics;
using System.Reflection;
using System.Runtime.InteropServices;

namespace BnService.Bench.Contenders;

/// <summary>Where the peers are, and how they come to be there: the script peers.sh, which is run when something is missing.</summary>
internal static class PeerFiles
{
    public const string LimitsLibrary = "bench_limits";
    public const string OneDnnLibrary = "bench_onednn";
    public const string SimdJsonLibrary = "bench_simdjson";

    // Debian's own: another Python on the PATH would not see Debian's PyTorch.
    public const string Python = "/usr/bin/python3";

    private const string FastApiModules = "torch, numpy, fastapi, uvicorn";

    // Without them uvicorn runs, too, but slower.
    private const string FastApiAtItsBest = $"{FastApiModules}, uvloop, httptools";

    private static readonly string Base = AppContext.BaseDirectory;
    private static readonly string Built = Path.Combine(Base, "obj");

    /// <summary>Where the Python programs are.</summary>
    public static string PythonFolder { get; } = Path.Combine(Base, "Python");

    /// <summary>PyTorch's side of the conversation.</summary>
    public static string TorchScript { get; } = Path.Combine(PythonFolder, "torch_peer.py");

    /// <summary>The HTTP echo in C.</summary>
    public static string EchoProgram { get; } = Path.Combine(Built, "bench_echo");

    /// <summary>Whether the native loops can be called.</summary>
    public static bool HasLimits { get; private set; }

    /// <summary>Whether oneDNN can be called.</summary>
    public static bool HasOneDnn { get; private set; }

    /// <summary>Whether the HTTP echo in C can be run.</summary>
    public static bool HasEcho => File.Exists(EchoProgram);

    /// <summary>Whether simdjson can be called.</summary>
    public static bool HasSimdJson { get; private set; }

    /// <summary>Whether PyTorch can be served with FastAPI.</summary>
    public static bool HasFastApi { get; private set; }

    /// <summary>Installs and builds what is missing, as far as that can be done, and loads it.</summary>
    public static void Provide()
    {
        if (!IsFresh(LibraryFile("limits"), "limits.cpp") || !IsFresh(LibraryFile("onednn"), "onednn.cpp") || !CanImport("torch, numpy"))
            Build();
        FindLibraries();
        HasLimits = NativeLibrary.TryLoad(LibraryFile("limits"), out _);
        HasOneDnn = NativeLibrary.TryLoad(LibraryFile("onednn"), out _);
    }

    /// <summary>The same for the peers of the HTTP bench.</summary>
    public static void ProvideHttp()
    {
        if (!IsFresh(EchoProgram, "echo.c") || !IsFresh(LibraryFile("simdjson"), "simdjson.cpp") || !CanImport(FastApiAtItsBest)) Build();
        FindLibraries();
        HasSimdJson = NativeLibrary.TryLoad(LibraryFile("simdjson"), out _);
        HasFastApi = CanImport(FastApiModules);
    }

    private static void FindLibraries() => NativeLibrary.SetDllImportResolver(typeof(PeerFiles).Assembly, Resolve);

    private static void Build() => _ = Run("bash", Path.Combine(Base, "peers.sh"));

    private static bool CanImport(string modules) => Run(Python, "-c", $"import {modules}") == 0;

    private static string LibraryFile(string name) => Path.Combine(Built, $"libbench_{name}.so");

    private static bool IsFresh(string built, string source) =>
        File.Exists(built) && File.GetLastWriteTimeUtc(built) > File.GetLastWriteTimeUtc(Path.Combine(Base, "Native", source));

    private static nint Resolve(string library, Assembly assembly, DllImportSearchPath? searchPath) =>
        library is LimitsLibrary or OneDnnLibrary or SimdJsonLibrary ? NativeLibrary.Load(Path.Combine(Built, $"lib{library}.so")) : 0;

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
