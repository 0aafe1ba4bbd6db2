using BnService.Bench.Http.Servers;

namespace BnService.Bench.Store;

/// <summary>The names of the contenders.</summary>
internal static class StoreNames
{
    public const string Memory = "memory";
    public const string Sqlite = "sqlite, step";
    public const string SqliteInterval = "sqlite, interval";
    public const string OneNode = "postgres, step, 1 node";
    public const string TwoNodes = "postgres, step, 2 nodes";
    public const string ThreeNodes = "postgres, step, 3 nodes";
    public const string PostgresInterval = "postgres, interval, 1 node";
}

/// <summary>The service in every configuration that is compared, each node a process of its own; those that nobody asks disturb nobody.</summary>
internal sealed class StoreNodes : IDisposable
{
    private const int Nodes = 3;

    private readonly DirectoryInfo _folder = Directory.CreateTempSubdirectory("bn-bench-store");
    private readonly List<ServerProcess> _all = [];
    private readonly PostgresProcess? _postgres;

    /// <summary>Starts all of them.</summary>
    /// <exception cref="InvalidOperationException">The service cannot be started.</exception>
    public StoreNodes(ServiceFiles files)
    {
        try
        {
            Add(StoreNames.Memory, Start(files, "memory"));
            Add(StoreNames.Sqlite, Start(files, "sqlite", ("Path", Path.Combine(_folder.FullName, "step.db"))));
            Add(StoreNames.SqliteInterval, Start(files, "sqlite", ("Path", Path.Combine(_folder.FullName, "interval.db")), ("Durability", "interval")));
            _postgres = PostgresProcess.TryStart();
            if (_postgres is null)
            {
                Notes.Add("PostgreSQL is not to be had: apt-get install postgresql");
                return;
            }
            Notes.Add(_postgres.Version);
            var nodes = Enumerable.Range(0, Nodes).Select(_ => Start(files, "postgres", ("ConnectionString", _postgres.ConnectionString))).ToList();
            Add(StoreNames.OneNode, nodes[0]);
            Add(StoreNames.TwoNodes, [.. nodes.Take(2)]);
            Add(StoreNames.ThreeNodes, [.. nodes]);
            Add(StoreNames.PostgresInterval, Start(files, "postgres", ("ConnectionString", _postgres.ConnectionString), ("Durability", "interval")));
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>The nodes of each contender.</summary>
    public List<(string Name, ServerProcess[] Nodes)> Contenders { get; } = [];

    /// <summary>What could be had, and what not.</summary>
    public List<string> Notes { get; } = [];

    /// <summary>Seconds of processor time that all of them took.</summary>
    public double Seconds => _all.Sum(server => server.Seconds) + (_postgres?.Seconds ?? 0);

    /// <inheritdoc/>
    public void Dispose()
    {
        _all.ForEach(server => server.Dispose());
        _postgres?.Dispose();
        _folder.Delete(recursive: true);
    }

    private ServerProcess Start(ServiceFiles files, string engine, params (string Key, string Value)[] settings)
    {
        var server = files.Start(engine, settings);
        _all.Add(server);
        server.WaitUntilReady(StartUp.ReadyPath);
        return server;
    }

    private void Add(string name, params ServerProcess[] nodes) => Contenders.Add((name, nodes));
}
