using BnService.Api.Storage;
using BnService.Api.Storage.Postgres;
using Microsoft.Extensions.Options;

namespace BnService.EndToEnd.Harness;

/// <summary>The stores of one database, each as a node of its own has one, and what they log.</summary>
internal sealed class PostgresStores : IAsyncDisposable
{
    // Where the database is, that goes with them; null where it is somebody else's.
    private readonly PostgresServer? _server;
    private readonly List<PostgresSessionStore> _stores = [];

    private PostgresStores(string connectionString, PostgresServer? server) => (ConnectionString, _server) = (connectionString, server);

    /// <summary>A new database, without a store.</summary>
    public static async Task<PostgresStores> NewAsync(PostgresServer server) => new(await server.CreateDatabaseAsync(), server);

    /// <summary>A database, without a store.</summary>
    public static PostgresStores Of(string connectionString) => new(connectionString, null);

    /// <summary>The database.</summary>
    public string ConnectionString { get; }

    /// <summary>What the stores have logged.</summary>
    public LogLines<PostgresSessionStore> Log { get; } = new();

    /// <summary>Opens one more.</summary>
    public async Task<PostgresSessionStore> OpenAsync(bool notifications = true, string durability = "step", TimeProvider? time = null)
    {
        var options = new StorageOptions { Engine = "postgres", ConnectionString = ConnectionString, Notifications = notifications, Durability = durability };
        var store = new PostgresSessionStore(Options.Create(options), Log, time ?? TimeProvider.System);
        lock (_stores) _stores.Add(store);
        await store.OpenAsync(default);
        return store;
    }

    /// <summary>What a statement answers, asked beside the stores.</summary>
    public Task<object?> AskAsync(string sql) => PostgresServer.ExecuteAsync(ConnectionString, sql);

    public async ValueTask DisposeAsync()
    {
        foreach (var store in _stores) await store.DisposeAsync();
        if (_server is not null) await _server.DropDatabaseAsync(ConnectionString);
    }
}
