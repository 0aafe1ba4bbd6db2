using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;

namespace BnService.Bench.Store;

/// <summary>A PostgreSQL server as it comes, in a folder of its own; durable.</summary>
internal sealed class PostgresProcess : IDisposable
{
    private const string Versions = "/usr/lib/postgresql";
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    private readonly string _folder, _programs;
    private readonly int _port;

    private PostgresProcess(string folder, string programs)
    {
        (_folder, _programs, _port) = (folder, programs, FreePort());
        Version = Run($"{programs}/postgres", "--version").Trim();
    }

    /// <summary>What it calls itself.</summary>
    public string Version { get; }

    /// <summary>Its database, in Npgsql's form.</summary>
    public string ConnectionString => string.Create(CultureInfo.InvariantCulture, $"Host=127.0.0.1;Port={_port};Database=postgres;Username=bn");

    /// <summary>Seconds of processor time that it took, as far as its processes still live.</summary>
    public double Seconds => Process.GetProcessesByName("postgres").Sum(process =>
    {
        using (process) return process.HasExited ? 0 : process.TotalProcessorTime.TotalSeconds;
    });

    /// <summary>Starts one; null where it is not installed.</summary>
    public static PostgresProcess? TryStart()
    {
        var programs = Directory.Exists(Versions)
            ? Directory.GetDirectories(Versions).Select(version => Path.Combine(version, "bin")).Where(bin => File.Exists(Path.Combine(bin, "initdb"))).Max()
            : null;
        if (programs is null) return null;
        var data = Run("mktemp", "-d", "-t", "bn-bench-postgres.XXXXXX").Trim();
        var server = new PostgresProcess(data, programs);
        Run($"{programs}/initdb", "--pgdata", $"{data}/data", "--username", "bn", "--auth", "trust", "--no-sync");
        Run($"{programs}/pg_ctl", "-D", $"{data}/data", "-l", $"{data}/log", "-w", "-o", $"-p {server._port} -h 127.0.0.1 -k {data}", "start");
        return server;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        Run($"{_programs}/pg_ctl", "-D", $"{_folder}/data", "-m", "immediate", "-w", "stop");
        Run("rm", "-rf", _folder);
    }

    // Its programs refuse to run as root.
    private static string Run(params string[] command)
    {
        string[] asUser = Environment.UserName == "root" ? ["runuser", "-u", "postgres", "--", .. command] : command;
        using var process = Process.Start(new ProcessStartInfo("/bin/sh", ["-c", "exec \"$0\" \"$@\" 2>&1 </dev/null", .. asUser])
        {
            RedirectStandardOutput = true,
            WorkingDirectory = "/",
        })!;
        // What is started in the background keeps the pipe open: only what ends by itself is read to its end.
        var output = command.Contains("start") ? "" : process.StandardOutput.ReadToEnd();
        if (!process.WaitForExit(Patience) || process.ExitCode != 0) throw new InvalidOperationException($"{command[0]}: {output}");
        return output;
    }

    private static int FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }
}
