using System.Diagnostics;
using System.Runtime.InteropServices;
using System.Text.RegularExpressions;

namespace BnService.Harness;

/// <summary>The service as operators run it: a process of its own, with an environment, output, signals and an exit code.</summary>
public sealed partial class ServiceProcess : IDisposable
{
    /// <summary>Names the control group that the process is to run in.</summary>
    public const string GroupVariable = "BN_TEST_GROUP";

    /// <summary>Names the folder that the process is to be started from; its storage is then where its settings say.</summary>
    public const string FolderVariable = "BN_TEST_FOLDER";

    /// <summary>The most file descriptors that the process may have.</summary>
    public const string DescriptorsVariable = "BN_TEST_DESCRIPTORS";

    private const int TerminateSignal = 15;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);

    private readonly Process _process;
    private readonly string _folder = Directory.CreateTempSubdirectory("bn-service").FullName;
    private readonly List<string> _output = [], _errors = [];
    private HttpClient? _http;

    private ServiceProcess(string[] arguments, (string Name, string Value)[] environment)
    {
        var start = new ProcessStartInfo(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet", ["exec", Path.Combine(AppContext.BaseDirectory, "BnService.Api.dll"), .. arguments])
        {
            WorkingDirectory = AppContext.BaseDirectory,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        // What this process was started with is not what the test is about.
        var inherited = start.Environment.Keys.Where(name => name.StartsWith("ASPNETCORE_", StringComparison.Ordinal)).ToList();
        foreach (var name in inherited) start.Environment.Remove(name);
        start.Environment.Remove("DOTNET_RUNNING_IN_CONTAINER");
        start.Environment["Storage__Path"] = Path.Combine(_folder, "bn.db");
        foreach (var (name, value) in environment) start.Environment[name] = value;
        if (start.Environment.Remove(FolderVariable, out var folder) && folder is not null)
        {
            start.WorkingDirectory = folder;
            start.Environment.Remove("Storage__Path");
        }
        // A process is limited before it becomes the service.
        if (start.Environment.Remove(GroupVariable, out var group) && group is not null) RunBehind(start, "echo $$ > \"$0\"/cgroup.procs && exec \"$@\"", group);
        if (start.Environment.Remove(DescriptorsVariable, out var most) && most is not null) RunBehind(start, "ulimit -n \"$0\" && exec \"$@\"", most);
        _process = new Process { StartInfo = start };
        _process.OutputDataReceived += (_, line) => Add(_output, line.Data);
        _process.ErrorDataReceived += (_, line) => Add(_errors, line.Data);
        _process.Start();
        _process.BeginOutputReadLine();
        _process.BeginErrorReadLine();
    }

    public IReadOnlyList<string> Output => Copy(_output);

    public string Errors => string.Join('\n', Copy(_errors));

    public Uri Address { get; private set; } = new("http://127.0.0.1:0");

    /// <summary>Bytes of its memory that are in use now.</summary>
    public long ResidentBytes
    {
        get
        {
            _process.Refresh();
            return _process.WorkingSet64;
        }
    }

    /// <summary>A client that holds every answer against the contract.</summary>
    public ServiceClient Client => new(_http ??= new HttpClient(new ContractHandler { InnerHandler = new SocketsHttpHandler() }) { BaseAddress = Address });

    /// <summary>Starts the service on a free port and waits until it listens.</summary>
    public static async Task<ServiceProcess> StartAsync(params (string Name, string Value)[] environment)
    {
        var isPortGiven = environment.Any(variable => variable.Name == "ASPNETCORE_HTTP_PORTS");
        var service = new ServiceProcess([], isPortGiven ? environment : [("ASPNETCORE_URLS", "http://127.0.0.1:0"), .. environment]);
        try
        {
            await Eventually.TrueAsync(() => service._process.HasExited || service.Listening() is not null, "the service does not listen");
            Assert.False(service._process.HasExited, service.Errors);
            service.Address = new Uri(service.Listening()!);
            return service;
        }
        catch
        {
            service.Dispose();
            throw;
        }
    }

    /// <summary>Runs the program until it ends by itself.</summary>
    public static async Task<(int ExitCode, IReadOnlyList<string> Output, string Errors)> RunAsync(
        string[] arguments, params (string Name, string Value)[] environment)
    {
        using var service = new ServiceProcess(arguments, environment);
        var exitCode = await service.ExitAsync();
        return (exitCode, service.Output, service.Errors);
    }

    public Task<RawConnection> ConnectAsync() => RawConnection.OpenAsync(Address.Port);

    /// <summary>Asks the process to end, as `docker stop` and Kubernetes do.</summary>
    public void Terminate() => Assert.Equal(0, Kill(_process.Id, TerminateSignal));

    /// <summary>Ends the process as a power cut would, and waits until it is gone.</summary>
    public void Kill()
    {
        _process.Kill();
        _process.WaitForExit();
    }

    /// <summary>Waits for the process's end and for all of its output.</summary>
    public async Task<int> ExitAsync()
    {
        using var patience = new CancellationTokenSource(Patience);
        await _process.WaitForExitAsync(patience.Token);
        return _process.ExitCode;
    }

    public void Dispose()
    {
        _http?.Dispose();
        if (!_process.HasExited) Kill();
        _process.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    private static void RunBehind(ProcessStartInfo start, string script, string argument)
    {
        (string[] command, start.FileName) = ([start.FileName, .. start.ArgumentList], "/bin/sh");
        start.ArgumentList.Clear();
        foreach (var part in (string[])["-c", script, argument, .. command]) start.ArgumentList.Add(part);
    }

    private string? Listening() => Output.Select(line => ListeningLine().Match(line)).FirstOrDefault(match => match.Success) is { } found
        ? $"{found.Groups[1].Value}://127.0.0.1:{found.Groups[2].Value}"
        : null;

    private static void Add(List<string> lines, string? line)
    {
        if (line is null) return;
        lock (lines) lines.Add(line);
    }

    private static List<string> Copy(List<string> lines)
    {
        lock (lines) return [.. lines];
    }

    [GeneratedRegex(@"Now listening on: [\\""]*(https?)://[^ ""]+?:(\d+)")]
    private static partial Regex ListeningLine();

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Kill(int process, int signal);
}
