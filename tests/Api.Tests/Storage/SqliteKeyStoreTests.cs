using BnService.Api.Storage;
using BnService.Api.Storage.Sqlite;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace BnService.Api.Tests.Storage;

public sealed class SqliteKeyStoreTests : KeyStoreContract, IAsyncLifetime
{
    private readonly string _folder = Directory.CreateTempSubdirectory("bn-keys").FullName;
    private SqliteSessionStore _store;

    public SqliteKeyStoreTests() => _store = Open();

    protected override IKeyStore Keys => _store;

    private string File => Path.Combine(_folder, "bn.db");

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        await _store.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task Keys_are_there_when_the_file_is_opened_again()
    {
        await Keys.TryInsertKeyAsync(New("a", 1) with { Prefix = "team-" }, default);
        await _store.DisposeAsync();
        _store = Open();
        Same([New("a", 1) with { Prefix = "team-" }], await Keys.ListKeysAsync(default));
    }

    [Fact]
    public async Task A_file_of_the_schema_before_there_were_keys_is_brought_up()
    {
        await _store.DisposeAsync();
        await using (var connection = new SqliteConnection($"Data Source={File};Pooling=false"))
        {
            await connection.OpenAsync();
            await using var command = connection.CreateCommand();
            command.CommandText = "DROP TABLE keys; DROP INDEX sessions_by_owner; ALTER TABLE sessions DROP COLUMN owner; PRAGMA user_version = 1";
            await command.ExecuteNonQueryAsync();
        }
        _store = Open();
        Assert.Empty(await Keys.ListKeysAsync(default));
        Assert.True(await Keys.TryInsertKeyAsync(New("a", 1), default));
    }

    /// <summary>A column takes values of any type, and the id none at all.</summary>
    [Fact]
    public async Task A_damaged_key_is_listed_with_the_others_and_can_be_deleted()
    {
        await Keys.TryInsertKeyAsync(New("a", 1), default);
        await _store.DisposeAsync();
        await using (var connection = new SqliteConnection($"Data Source={File};Pooling=false"))
        {
            await connection.OpenAsync();
            await using var command = connection.CreateCommand();
            command.CommandText = """
                INSERT INTO keys VALUES ('b', 7, x'ff00', 8, 'never', 'salt', 'hash');
                INSERT INTO keys VALUES (NULL, 'none', 'admin', NULL, 9223372036854775807, x'', x'');
                INSERT INTO keys VALUES ('c', '', '', '', -1, 0, 1.5);
                """;
            await command.ExecuteNonQueryAsync();
        }
        _store = Open();
        Assert.Equal(["", "a", "b", "c"], (await Keys.ListKeysAsync(default)).Select(key => key.Id).Order(StringComparer.Ordinal));
        foreach (var id in (string[])["", "b", "c"]) Assert.True(await Keys.TryDeleteKeyAsync(id, default));
        Same([New("a", 1)], await Keys.ListKeysAsync(default));
    }

    private SqliteSessionStore Open() => new(Options.Create(new StorageOptions { Path = File }), NullLogger<SqliteSessionStore>.Instance, TimeProvider.System);
}
