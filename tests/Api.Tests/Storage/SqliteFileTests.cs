using BnService.Api.Storage;
using BnService.Api.Storage.Sqlite;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace BnService.Api.Tests.Storage;

/// <summary>What a file may be when it is opened, and who may read it.</summary>
public sealed class SqliteFileTests : IDisposable
{
    private const UnixFileMode OwnersFile = UnixFileMode.UserRead | UnixFileMode.UserWrite, OwnersFolder = OwnersFile | UnixFileMode.UserExecute,
        Everybody = OwnersFolder | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;

    private readonly string _folder = Directory.CreateTempSubdirectory("bn-file").FullName;

    private string File => Path.Combine(_folder, "data", "bn.db");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task An_empty_file_is_refused_and_a_missing_one_is_made()
    {
        Directory.CreateDirectory(Path.GetDirectoryName(File)!);
        await System.IO.File.WriteAllBytesAsync(File, []);
        Refused("it is empty");
        Assert.Equal(0, new FileInfo(File).Length);
        System.IO.File.Delete(File);
        await using var store = Open();
        Assert.Empty(await store.ListKeysAsync(default));
        Assert.Equal(["bn.db", "bn.db-shm", "bn.db-wal", "bn.db.lock"], Directory.GetFiles(Path.GetDirectoryName(File)!).Select(Path.GetFileName).Order(StringComparer.Ordinal));
    }

    [Theory]
    [InlineData("CREATE TABLE t (a); DROP TABLE t; VACUUM")]
    [InlineData("CREATE TABLE sessions (a); PRAGMA user_version = 5")]
    [InlineData("CREATE TABLE other (a); PRAGMA user_version = 3")]
    [InlineData("CREATE TABLE other (a)")]
    public async Task A_database_of_another_program_or_without_tables_is_refused_and_left_as_it_is(string sql)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(File)!);
        await ExecuteAsync(sql);
        var bytes = await System.IO.File.ReadAllBytesAsync(File);
        Refused("cannot be used");
        Assert.Equal(bytes, await System.IO.File.ReadAllBytesAsync(File));
    }

    [Theory]
    [InlineData("DROP TABLE keys")]
    [InlineData("DROP TABLE sessions")]
    [InlineData("PRAGMA application_id = 7")]
    public async Task A_file_that_lacks_a_table_is_refused(string sql)
    {
        await PrepareAsync();
        await ExecuteAsync(sql);
        Refused("cannot be used");
    }

    [Fact]
    public async Task A_file_that_is_cut_short_is_refused()
    {
        await PrepareAsync();
        var bytes = await System.IO.File.ReadAllBytesAsync(File);
        foreach (var length in (int[])[bytes.Length / 2, 4096, 100, 1])
        {
            await System.IO.File.WriteAllBytesAsync(File, bytes[..length]);
            Refused("cannot be used");
            Assert.Equal(bytes[..length], await System.IO.File.ReadAllBytesAsync(File));
        }
    }

    [Fact]
    public async Task A_file_that_is_gone_while_its_log_is_there_is_refused()
    {
        await LeaveLogAsync();
        System.IO.File.Delete(File);
        Refused("it is missing, but its log");
        Assert.False(System.IO.File.Exists(File));
        foreach (var left in Directory.GetFiles(Path.GetDirectoryName(File)!)) System.IO.File.Delete(left);
        await using var anew = Open();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(20)]
    public async Task A_log_whose_head_is_damaged_is_refused_and_left_as_it_is(int at)
    {
        await LeaveLogAsync();
        var bytes = await System.IO.File.ReadAllBytesAsync(File + "-wal");
        bytes[at] ^= 1;
        await System.IO.File.WriteAllBytesAsync(File + "-wal", bytes);
        Refused("is damaged");
        Assert.Equal(bytes, await System.IO.File.ReadAllBytesAsync(File + "-wal"));
        bytes[at] ^= 1;
        await System.IO.File.WriteAllBytesAsync(File + "-wal", bytes);
        await using var store = Open();
        Assert.NotNull(await store.FindAsync("first", long.MaxValue, default));
    }

    [Fact]
    public async Task Keys_are_there_where_the_log_is_lost()
    {
        await LeaveLogAsync();
        System.IO.File.Delete(File + "-wal");
        await using var store = Open();
        Assert.Single(await store.ListKeysAsync(default));
    }

    [Fact]
    public async Task A_garbled_index_of_the_log_does_no_harm()
    {
        await LeaveLogAsync();
        var garbage = new byte[32768];
        new Random(1).NextBytes(garbage);
        await System.IO.File.WriteAllBytesAsync(File + "-shm", garbage);
        await using var store = Open();
        Assert.NotNull(await store.FindAsync("first", long.MaxValue, default));
    }

    [Fact]
    public async Task A_link_is_followed_to_a_file_that_is_there_and_its_lock_is_the_files()
    {
        await PrepareAsync();
        var link = Path.Combine(_folder, "link.db");
        System.IO.File.CreateSymbolicLink(link, File);
        await using (var store = Open(link))
        {
            Assert.NotNull(await store.FindAsync("first", long.MaxValue, default));
            Refused("is in use by another process");
        }
        System.IO.File.Move(File, File + "2");
        Refused("is a link to", link);
        Assert.False(System.IO.File.Exists(File));
    }

    [Fact]
    public async Task Files_and_folder_are_their_owners_alone()
    {
        if (OperatingSystem.IsWindows()) return;
        await using var store = Open();
        await store.TryInsertAsync(SessionStoreContract.New("a", "first", 1), default);
        foreach (var file in Directory.GetFiles(Path.GetDirectoryName(File)!)) Assert.Equal(OwnersFile, System.IO.File.GetUnixFileMode(file));
        Assert.Equal(OwnersFolder, System.IO.File.GetUnixFileMode(Path.GetDirectoryName(File)!));
    }

    [Theory]
    [InlineData(null)]
    [InlineData("other")]
    public async Task Files_of_the_version_before_become_their_owners_alone_and_a_folder_with_others_stays(string? other)
    {
        if (OperatingSystem.IsWindows()) return;
        await LeaveLogAsync();
        var folder = Path.GetDirectoryName(File)!;
        foreach (var file in Directory.GetFiles(folder)) System.IO.File.SetUnixFileMode(file, Everybody & ~(UnixFileMode)0b001_001_001);
        System.IO.File.SetUnixFileMode(folder, Everybody);
        if (other is not null) await System.IO.File.WriteAllTextAsync(Path.Combine(folder, other), "");
        await using var store = Open();
        foreach (var file in Directory.GetFiles(folder, "bn.db*")) Assert.Equal(OwnersFile, System.IO.File.GetUnixFileMode(file));
        Assert.Equal(other is null ? OwnersFolder : Everybody, System.IO.File.GetUnixFileMode(folder));
    }

    private void Refused(string reason, string? path = null)
    {
        var refusal = Assert.Throws<StorageUnusableException>(() => Open(path));
        Assert.Contains(reason, refusal.Message, StringComparison.Ordinal);
        Assert.StartsWith($"Storage:Path '{path ?? File}' ", refusal.Message, StringComparison.Ordinal);
    }

    private async Task PrepareAsync()
    {
        await using var store = Open();
        for (var i = 0; i < 20; i++) await store.TryInsertAsync(SessionStoreContract.New($"id{i}", i == 0 ? "first" : $"name{i}", 1) with { State = new byte[2000] }, default);
    }

    // A session and a key in a file whose process was killed: what was written last is in the log.
    private async Task LeaveLogAsync()
    {
        var (copy, folder) = (Path.Combine(_folder, "copy"), Path.GetDirectoryName(File)!);
        Directory.CreateDirectory(copy);
        await using (var store = Open())
        {
            Assert.True(await store.TryInsertKeyAsync(KeyStoreContract.New("k", 1), default));
            Assert.True(await store.TryInsertAsync(SessionStoreContract.New("a", "first", 1), default));
            foreach (var file in (string[])[File, File + "-wal", File + "-shm"]) System.IO.File.Copy(file, Path.Combine(copy, Path.GetFileName(file)));
        }
        foreach (var file in Directory.GetFiles(copy)) System.IO.File.Move(file, Path.Combine(folder, Path.GetFileName(file)), overwrite: true);
        Assert.True(new FileInfo(File + "-wal").Length > 0);
    }

    private async Task ExecuteAsync(string sql)
    {
        await using var connection = new SqliteConnection($"Data Source={File};Pooling=false");
        await connection.OpenAsync();
        await using var command = connection.CreateCommand();
        command.CommandText = sql;
        await command.ExecuteNonQueryAsync();
    }

    private SqliteSessionStore Open(string? path = null) =>
        new(Options.Create(new StorageOptions { Path = path ?? File }), NullLogger<SqliteSessionStore>.Instance, TimeProvider.System);
}
