using BnService.Bench.Contenders;

namespace BnService.Bench.Http.Servers;

/// <summary>All servers of a run, each in a process of its own; those that only answer when asked do not disturb the others.</summary>
internal sealed class ServerSet : IDisposable
{
    private const string VersionsPath = "/versions";

    private readonly string _layerFile = Path.GetTempFileName();
    private readonly List<ServerProcess> _all = [];

    /// <summary>Starts them.</summary>
    /// <exception cref="InvalidOperationException">The service or an echo server cannot be started.</exception>
    public ServerSet(ServiceFiles files)
    {
        try
        {
            BenchSessions.WriteTo(_layerFile);
            Service = Keep(files.Start());
            Service.WaitUntilReady(StartUp.ReadyPath);
            BenchSessions.Create(Service);
            OwnEcho = Keep(EchoServer.Start(EchoKind.Own, files, _layerFile));
            DefaultEcho = Keep(EchoServer.Start(EchoKind.Default, files, _layerFile));
            Binding = Keep(EchoServer.Start(EchoKind.Binding, files, _layerFile));
            RawEcho = Try(StartRawEcho, "raw socket echo in C");
            FastApi = Try(StartFastApi, "FastAPI");
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public ServerProcess Service { get; }

    public ServerProcess OwnEcho { get; }

    public ServerProcess DefaultEcho { get; }

    public ServerProcess Binding { get; }

    /// <summary>The echo in C; null where it could not be built.</summary>
    public ServerProcess? RawEcho { get; }

    /// <summary>PyTorch behind FastAPI; null where it could not be had.</summary>
    public ServerProcess? FastApi { get; }

    /// <summary>What could be had, and what not.</summary>
    public List<string> Notes { get; } = [];

    /// <summary>Seconds of processor time that all of them took.</summary>
    public double Seconds => _all.Sum(server => server.Seconds);

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var server in _all) server.Dispose();
        File.Delete(_layerFile);
    }

    private ServerProcess Keep(ServerProcess server)
    {
        _all.Add(server);
        return server;
    }

    // A peer that cannot be had is a column of dashes, and a note that says why.
    private ServerProcess? Try(Func<ServerProcess?> start, string name)
    {
        try
        {
            if (start() is { } server) return server;
            Notes.Add($"{name}: could not be had");
        }
        catch (InvalidOperationException exception)
        {
            Notes.Add($"{name}: could not be had, {exception.Message}");
        }
        return null;
    }

    private ServerProcess? StartRawEcho()
    {
        if (!PeerFiles.HasEcho) return null;
        var server = Keep(new ServerProcess("echo in C", PeerFiles.EchoProgram, port => [$"{port}"]));
        server.WaitUntilReady();
        return server;
    }

    private ServerProcess? StartFastApi()
    {
        if (!PeerFiles.HasFastApi) return null;
        // Its default closes connections that wait for more than five seconds for their turn.
        var server = Keep(new ServerProcess("FastAPI", PeerFiles.Python, port =>
        [
            "-m", "uvicorn", "fastapi_peer:app", "--app-dir", PeerFiles.PythonFolder, "--port", $"{port}",
            "--no-access-log", "--log-level", "warning", "--timeout-keep-alive", "3600",
        ], null, ("BENCH_LAYER", _layerFile)));
        server.WaitUntilReady(VersionsPath);
        using var http = new HttpClient();
        Notes.Add(http.GetStringAsync(new Uri($"http://127.0.0.1:{server.Port}{VersionsPath}")).GetAwaiter().GetResult());
        return server;
    }

}
