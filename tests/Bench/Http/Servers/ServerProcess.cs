using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;
using BnService.Bench.Http.Client;

namespace BnService.Bench.Http.Servers;

/// <summary>A server in a child process, on a free loopback port, until it is disposed of.</summary>
internal sealed unsafe class ServerProcess : IDisposable
{
    private const int SmallAnswer = 64 << 10;
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(60);
    private static readonly TimeSpan BetweenAttempts = TimeSpan.FromMilliseconds(1);

    private readonly string _name;
    private readonly Process _process;
    private readonly StringBuilder _errors = new();
    private readonly long _start;

    /// <summary>Starts it.</summary>
    /// <param name="name">What to call it when it fails.</param>
    /// <param name="program">What to run.</param>
    /// <param name="arguments">Its arguments, given the port.</param>
    /// <param name="folder">Its working directory.</param>
    /// <param name="environment">What it is told besides.</param>
    public ServerProcess(
        string name, string program, Func<int, string[]> arguments, string? folder = null, params (string Name, string Value)[] environment)
    {
        (_name, Port) = (name, FreePort());
        // Its log is written but read by nobody: a terminal or this program would take a part of the cores.
        var start = new ProcessStartInfo("/bin/sh", ["-c", "exec \"$0\" \"$@\" >/dev/null", program, .. arguments(Port)])
        {
            UseShellExecute = false,
            WorkingDirectory = folder ?? AppContext.BaseDirectory,
            RedirectStandardError = true,
        };
        // What this program was started with is not meant for servers.
        foreach (var inherited in start.Environment.Keys.Where(key => key.StartsWith("ASPNETCORE_", StringComparison.Ordinal)).ToList())
            start.Environment.Remove(inherited);
        foreach (var (key, value) in environment) start.Environment[key] = value;
        _process = new Process { StartInfo = start };
        _process.ErrorDataReceived += (_, line) =>
        {
            lock (_errors) _errors.AppendLine(line.Data);
        };
        AppDomain.CurrentDomain.ProcessExit += EndWithThisProgram;
        _start = Stopwatch.GetTimestamp();
        _process.Start();
        _process.BeginErrorReadLine();
    }

    /// <summary>Where it listens.</summary>
    public int Port { get; }

    /// <summary>Seconds of processor time that it took so far.</summary>
    public double Seconds
    {
        get
        {
            _process.Refresh();
            return _process.TotalProcessorTime.TotalSeconds;
        }
    }

    /// <summary>Bytes of its memory that are in use now.</summary>
    public long ResidentBytes
    {
        get
        {
            _process.Refresh();
            return _process.WorkingSet64;
        }
    }

    /// <summary>The command that runs .NET programs.</summary>
    public static string Dotnet => Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet";

    /// <summary>Waits until it answers a GET with 200, or listens where no path is given.</summary>
    /// <returns>How long that took since it was started.</returns>
    /// <exception cref="InvalidOperationException">It never does.</exception>
    public TimeSpan WaitUntilReady(string? path = null)
    {
        while (!IsReady(path))
        {
            if (_process.HasExited || Stopwatch.GetElapsedTime(_start) > Patience) throw new InvalidOperationException(Reproach());
            Thread.Sleep(BetweenAttempts);
        }
        return Stopwatch.GetElapsedTime(_start);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        AppDomain.CurrentDomain.ProcessExit -= EndWithThisProgram;
        if (!_process.HasExited) _process.Kill();
        _process.WaitForExit();
        _process.Dispose();
    }

    private bool IsReady(string? path)
    {
        try
        {
            using var connection = new KeepAliveConnection(Port, SmallAnswer);
            if (path is null) return true;
            var request = Encoding.ASCII.GetBytes($"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            fixed (byte* bytes = request) connection.Exchange(bytes, request.Length);
            return connection.Answer.Status == 200;
        }
        catch (Exception exception) when (exception is SocketException or HttpFailure)
        {
            return false;
        }
    }

    private string Reproach()
    {
        var state = _process.HasExited ? $"ended with {_process.ExitCode}" : $"was not ready after {Patience.TotalSeconds} s";
        // What it said last says why.
        lock (_errors) return string.Create(CultureInfo.InvariantCulture, $"{_name} {state}: {_errors.ToString().Trim().Split('\n')[^1]}");
    }

    private void EndWithThisProgram(object? sender, EventArgs e) => Dispose();

    private static int FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }
}
