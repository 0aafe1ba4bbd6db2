using System.Diagnostics;
using System.Runtime.InteropServices;
using Npgsql;

namespace BnService.EndToEnd.Harness;

/// <summary>How a server is told to stop: the signal that its first process gets.</summary>
public enum StopMode
{
    /// <summary>Ends its connections, and leaves everything in order.</summary>
    Fast = 2,

    /// <summary>Leaves everything as a crash would.</summary>
    Immediate = 3,

    /// <summary>Is not told at all: its first process is gone.</summary>
    Kill = 9,
}

/// <summary>
/// A PostgreSQL server of the tests' own: in a folder of its own, on a free port, durable. It ends with the process that has started it,
/// however that ends.
/// </summary>
public sealed partial class PostgresServer : IAsyncLifetime
{
    public const string User = "bn", Password = "se;cret'in all=logs";

    // Waits for the server, which ends as after a crash when nobody holds the other end of standard input any more.
    private const string Watch = """
        folder=$1; shift
        "$@" >>"$folder/log" 2>&1 &
        server=$!
        exec 3<&0
        { read -r _ || { trap '' TERM; kill -QUIT $server; while kill -0 $server; do sleep 0.1; done; rm -rf "$folder"; }; } <&3 >/dev/null 2>&1 &
        wait $server
        kill $! 2>/dev/null
        """;

    private static readonly TimeSpan Patience = TimeSpan.FromMinutes(3);
    private static int _databases;

    private string _folder = "";
    private Process? _process;

    private string Data => Path.Combine(_folder, "data");

    public async Task InitializeAsync()
    {
        _folder = (await RunAsync("mktemp", "-d", "-t", "bn-postgres.XXXXXX")).Trim();
        await RunAsync("sh", "-c", "printf %s \"$1\" >\"$2/password\"", "sh", Password, _folder);
        await RunAsync(Program("initdb"), "--pgdata", Data, "--username", User, "--pwfile", $"{_folder}/password", "--auth", "scram-sha-256",
            "--encoding", "UTF8", "--locale", "C", "--no-sync");
        await StartAsync();
    }

    public async Task DisposeAsync()
    {
        await StopAsync(StopMode.Immediate);
        if (_folder.Length > 0) await RunAsync("rm", "-rf", _folder);
    }

    /// <summary>A new database, whose language sorts letters as people do.</summary>
    /// <returns>What the service is configured with.</returns>
    public async Task<string> CreateDatabaseAsync()
    {
        var name = $"test{Interlocked.Increment(ref _databases)}";
        await ExecuteAsync(ConnectionString("postgres"), $"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'");
        return ConnectionString(name);
    }

    /// <summary>
    /// Drops a database: what many of them have in files that are not on the disk yet would make a server take minutes to stop. Where a test
    /// has left the server stopped, it is started for the next one.
    /// </summary>
    public async Task DropDatabaseAsync(string connectionString)
    {
        if (_process is null) await StartAsync();
        var name = new NpgsqlConnectionStringBuilder(connectionString).Database;
        await ExecuteAsync(ConnectionString("postgres"), $"DROP DATABASE IF EXISTS {name} WITH (FORCE)");
    }

    /// <summary>The port on which it listens.</summary>
    public int Port { get; private set; }

    /// <summary>Starts another server that follows this one, as an asynchronous standby does; the caller's own to dispose of.</summary>
    public async Task<PostgresServer> StartStandbyAsync()
    {
        var standby = new PostgresServer { _folder = (await RunAsync("mktemp", "-d", "-t", "bn-postgres.XXXXXX")).Trim() };
        await RunAsync("env", $"PGPASSWORD={Password}", Program("pg_basebackup"), "-h", "127.0.0.1", "-p", $"{Port}", "-U", User, "-D", standby.Data,
            "--write-recovery-conf", "--checkpoint=fast", "--no-sync");
        await standby.StartAsync();
        return standby;
    }

    /// <summary>Sets what the server is configured with, while it runs.</summary>
    public async Task ConfigureAsync(string name, string value)
    {
        await ExecuteAsync(ConnectionString("postgres"), $"ALTER SYSTEM SET {name} = '{value}'");
        await ExecuteAsync(ConnectionString("postgres"), "SELECT pg_reload_conf()");
    }

    /// <summary>Waits until a standby has all that its primary has.</summary>
    public async Task CatchUpAsync(PostgresServer primary)
    {
        var end = await ExecuteAsync(primary.ConnectionString("postgres"), "SELECT pg_current_wal_lsn()::text");
        for (var i = 0; i < 1000; i++)
        {
            if (await ExecuteAsync(ConnectionString("postgres"), $"SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn") is true) return;
            await Task.Delay(10);
        }
        Assert.Fail("the standby does not catch up");
    }

    /// <summary>Makes the standby a primary.</summary>
    public Task PromoteAsync() => ExecuteAsync(ConnectionString("postgres"), "SELECT pg_promote()");

    /// <summary>Starts the server where and as it was, and waits until it answers.</summary>
    public async Task StartAsync()
    {
        if (Port == 0) Port = Loopback.FreePort();
        var started = Stopwatch.StartNew();
        while (true)
        {
            _process ??= Process.Start(new ProcessStartInfo(Prefix[0], [.. Prefix[1..], "sh", "-c", Watch, "sh", _folder,
                Program("postgres"), "-D", Data, "-p", $"{Port}", "-h", "127.0.0.1", "-k", _folder, "-c", "fsync=on", "-c", "max_connections=200"])
            {
                RedirectStandardInput = true,
            })!;
            try
            {
                await ExecuteAsync(ConnectionString("postgres"), "SELECT 1");
                return;
            }
            catch (NpgsqlException) when (started.Elapsed < Patience)
            {
                await Task.Delay(50);
                // What is left of a killed server is in the way of the next one for a moment.
                if (_process.HasExited) _process = null;
            }
            catch (NpgsqlException exception)
            {
                throw new InvalidOperationException($"PostgreSQL does not start: {await RunAsync("tail", "-n", "20", $"{_folder}/log")}", exception);
            }
        }
    }

    /// <summary>Stops the server, and waits until it is gone.</summary>
    public async Task StopAsync(StopMode mode)
    {
        if (_process is null) return;
        string[] others = [];
        if (!_process.HasExited)
        {
            var first = (await RunAsync("head", "-n", "1", $"{Data}/postmaster.pid")).Trim();
            others = (await File.ReadAllTextAsync($"/proc/{first}/task/{first}/children")).Split(' ', StringSplitOptions.RemoveEmptyEntries);
            Assert.Equal(0, Signal(int.Parse(first, System.Globalization.CultureInfo.InvariantCulture), (int)mode));
        }
        using var patience = new CancellationTokenSource(Patience);
        await _process.WaitForExitAsync(patience.Token);
        // Those that serve connections notice a moment later that the first one was killed, and answer until then.
        while (others.Any(other => Directory.Exists($"/proc/{other}"))) await Task.Delay(10, patience.Token);
        _process.Dispose();
        _process = null;
    }

    /// <summary>Stops the server and starts it again.</summary>
    public async Task RestartAsync(StopMode mode)
    {
        await StopAsync(mode);
        await StartAsync();
    }

    /// <summary>Executes a statement.</summary>
    /// <returns>The first column of its first row, or null.</returns>
    public static async Task<object?> ExecuteAsync(string connectionString, string sql)
    {
        await using var connection = new NpgsqlConnection(connectionString + ";Pooling=false;Timeout=5");
        await connection.OpenAsync();
        await using var command = new NpgsqlCommand(sql, connection) { CommandTimeout = (int)Patience.TotalSeconds };
        return await command.ExecuteScalarAsync();
    }

    private string ConnectionString(string database) =>
        new NpgsqlConnectionStringBuilder { Host = "127.0.0.1", Port = Port, Database = database, Username = User, Password = Password }.ConnectionString;

    // Its programs refuse to run as root.
    private static string[] Prefix => Environment.UserName == "root" ? ["runuser", "-u", "postgres", "--"] : ["env"];

    // Where Debian puts them, which is not where commands are looked for.
    private static string Program(string name)
    {
        const string versions = "/usr/lib/postgresql";
        var newest = Directory.Exists(versions)
            ? Directory.GetDirectories(versions).Select(version => Path.Combine(version, "bin", name)).Where(File.Exists)
                .MaxBy(path => int.Parse(path.Split('/')[4], System.Globalization.CultureInfo.InvariantCulture))
            : null;
        return newest ?? throw new InvalidOperationException("PostgreSQL is missing: ./test.sh endtoend installs it, or: apt-get install postgresql");
    }

    private static Task<string> RunAsync(params string[] command) => Shell.RunAsync(Prefix[0], "/", [.. Prefix[1..], .. command]);

    [LibraryImport("libc", EntryPoint = "kill")]
    private static partial int Signal(int process, int signal);
}

/// <summary>The tests that share one server, one after the other: some of them stop it.</summary>
[CollectionDefinition(Name)]
public sealed class PostgresTests : ICollectionFixture<PostgresServer>
{
    public const string Name = "postgres";
}
