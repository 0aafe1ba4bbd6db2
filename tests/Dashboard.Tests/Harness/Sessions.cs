using Microsoft.Data.Sqlite;

namespace BnService.Dashboard.Tests.Harness;

/// <summary>A file of sessions that outlives the services that have it, one after the other, on one port.</summary>
public sealed class Sessions : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("bn-dashboard").FullName;
    private readonly int _port = Loopback.FreePort();

    private string File => Path.Combine(_folder, "bn.db");

    public Task<ServiceProcess> StartAsync() => ServiceProcess.StartAsync(("Storage__Path", File), ("ASPNETCORE_HTTP_PORTS", $"{_port}"));

    /// <summary>Makes copies of the newest session, each a millisecond older than the one before, named many-1 (the oldest) and so on.</summary>
    public void Multiply(int copies)
    {
        using var connection = new SqliteConnection(new SqliteConnectionStringBuilder { DataSource = File, Pooling = false }.ConnectionString);
        connection.Open();
        using var command = connection.CreateCommand();
        command.CommandText = """
            WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < $copies)
            INSERT INTO sessions (id, name, kind, version, created_at, header, state)
            SELECT printf('%032x', n), 'many-' || n, kind, version, created_at - ($copies + 1 - n) * 10000,
                -- A checksum is of one row: the copies have none, as those of an earlier version.
                CAST(json_remove(CAST(header AS TEXT), '$.Sums') AS BLOB), state
            FROM numbers, (SELECT * FROM sessions ORDER BY created_at DESC LIMIT 1)
            """;
        command.Parameters.AddWithValue("$copies", copies);
        Assert.Equal(copies, command.ExecuteNonQuery());
    }

    public void Dispose() => Directory.Delete(_folder, recursive: true);
}
