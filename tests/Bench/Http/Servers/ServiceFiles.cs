using System.Diagnostics;

namespace BnService.Bench.Http.Servers;

/// <summary>The service as it ships: published in Release.</summary>
/// <param name="folder">Where it is.</param>
internal sealed class ServiceFiles(string folder)
{
    private const string Program = "BnService.Api";

    /// <summary>The settings of the runtime that it comes with.</summary>
    public string RuntimeConfig => Path.Combine(folder, $"{Program}.runtimeconfig.json");

    /// <summary>Publishes it from the sources that this program was built from.</summary>
    /// <exception cref="InvalidOperationException">It does not build.</exception>
    public static ServiceFiles Publish()
    {
        var folder = Path.Combine(AppContext.BaseDirectory, "obj", "service");
        // As the Dockerfile does it; its output is for errors only.
        var start = new ProcessStartInfo(ServerProcess.Dotnet,
        [
            "publish", Path.Combine(Root(), "src", "Api"), "-c", "Release", "-o", folder, "-p:UseAppHost=false", "--nologo", "-v", "quiet",
        ])
        {
            UseShellExecute = false,
        };
        using var process = Process.Start(start)!;
        process.WaitForExit();
        if (process.ExitCode != 0) throw new InvalidOperationException("the service cannot be published");
        return new ServiceFiles(folder);
    }

    /// <summary>Starts it with storage in memory, and everything else as it is by default.</summary>
    public ServerProcess Start() => Start("memory");

    /// <summary>Starts it with an engine of storage, and everything else as it is by default.</summary>
    /// <param name="engine">The engine.</param>
    /// <param name="storage">Settings of the section Storage.</param>
    public ServerProcess Start(string engine, params (string Key, string Value)[] storage) => new($"the service ({engine})", ServerProcess.Dotnet,
        port =>
        [
            "exec", Path.Combine(folder, $"{Program}.dll"), "--urls", $"http://127.0.0.1:{port}", "--Storage:Engine", engine,
            .. storage.SelectMany(setting => new[] { $"--Storage:{setting.Key}", setting.Value }),
        ],
        folder);

    /// <summary>Starts it with storage in memory and some settings.</summary>
    /// <param name="settings">As the command line has them.</param>
    public ServerProcess StartWith(params string[] settings) => new("the service", ServerProcess.Dotnet,
        port => ["exec", Path.Combine(folder, $"{Program}.dll"), "--urls", $"http://127.0.0.1:{port}", "--Storage:Engine", "memory", .. settings], folder);

    private static string Root()
    {
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            if (File.Exists(Path.Combine(directory.FullName, "BnService.sln"))) return directory.FullName;
        }
        throw new InvalidOperationException($"there is no BnService.sln above {AppContext.BaseDirectory}: run from a checkout");
    }
}
