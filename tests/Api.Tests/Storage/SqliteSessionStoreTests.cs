using System.Diagnostics;
using BnService.Api.Storage;
using BnService.Api.Storage.Sqlite;
using Microsoft.Data.Sqlite;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace BnService.Api.Tests.Storage;

public sealed class SqliteSessionStoreTests : SessionStoreContract, IAsyncLifetime
{
    private readonly string _folder = Directory.CreateTempSubdirectory("bn-sqlite").FullName;
    private SqliteSessionStore _store;

    public SqliteSessionStoreTests() => _store = Open();

    protected override ISessionStore Store => _store;

    private string File => Path.Combine(_folder, "deep", "bn.db");

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        await _store.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task What_was_stored_is_there_when_the_file_is_opened_again()
    {
        await Store.TryInsertAsync(New("a", "first", 1), default);
        await Store.TryUpdateAsync(New("a", "first", 7), 1, [], default);
        await _store.DisposeAsync();
        _store = Open();
        Same(New("a", "first", 7), await Store.FindAsync("first", long.MaxValue, default));
    }

    /// <summary>A deletion goes in pieces: a process that ends between two of them leaves the rest to the next one.</summary>
    [Fact]
    public async Task What_a_deletion_that_did_not_come_to_its_end_has_left_behind_goes_with_the_next_start()
    {
        foreach (var id in (string[])["a", "b", "c"])
        {
            await Store.TryInsertAsync(New(id, $"name of {id}", 1), default);
            for (var i = 0; i < StoredAnswer.Kept + 1; i++) await Store.TryUpdateAsync(New(id, $"name of {id}", 1), 1, [Answer(i % 2 == 0 ? "" : $"call g{i}", $"k{i}", i)], default);
            foreach (var version in (long[])[1, 2, 3]) await Store.TryInsertSnapshotAsync(new StoredSnapshot(id, version, new byte[] { 1 }, new byte[] { 2 }), default);
        }
        await _store.DisposeAsync();
        await AskAsync("DELETE FROM sessions WHERE id <> 'b'");
        var ofOne = await AskAsync("SELECT count(*) FROM answers WHERE session_id = 'b'");
        _store = Open();
        await Eventually.TrueAsync(() => Left() == 0, "what no session has stays in the file");
        Assert.Equal((3, ofOne), (await AskAsync("SELECT count(*) FROM snapshots"), await AskAsync("SELECT count(*) FROM answers")));

        long Left() => AskAsync("SELECT (SELECT count(*) FROM answers WHERE session_id <> 'b') + (SELECT count(*) FROM snapshots WHERE session_id <> 'b')").GetAwaiter().GetResult();
    }

    private async Task<long> AskAsync(string sql)
    {
        await using var connection = new SqliteConnection($"Data Source={File};Pooling=False");
        await connection.OpenAsync();
        await using var command = connection.CreateCommand();
        command.CommandText = sql;
        return await command.ExecuteScalarAsync() as long? ?? 0;
    }

    /// <summary>The version before has kept the outcomes of each group, and numbered each group's from 1.</summary>
    [Fact]
    public async Task Outcomes_of_ever_new_groups_that_the_version_before_has_kept_go_as_others_come()
    {
        await Store.TryInsertAsync(New("a", "first", 1), default);
        await Store.TryUpdateAsync(New("a", "first", 1), 1, [Answer("", "k", 1)], default);
        await _store.DisposeAsync();
        await ExecuteAsync("""
            DROP INDEX answers_of_groups;
            PRAGMA user_version = 5;
            WITH RECURSIVE number(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM number WHERE i < 5000)
            INSERT INTO answers (session_id, topic, sequence, key, content) SELECT 'a', 'call g' || (i / 2), 1 + i % 2, i % 2, x'00' FROM number;
            """);
        _store = Open();
        for (var i = 0; i < StoredAnswer.Slack; i++) await Store.TryUpdateAsync(New("a", "first", 1), 1, [Answer($"call new{i}", "1", i)], default);
        Assert.Null(await Store.FindLastAnswerAsync("a", "call g77", default));
        for (var i = 0; i < StoredAnswer.Slack; i++) Assert.NotNull(await Store.FindLastAnswerAsync("a", $"call new{i}", default));
        Same(Answer("", "k", 1), await Store.FindAnswerAsync("a", "", "k", default));
    }

    /// <summary>A change of this process that is stored and not yet published is none: nobody else writes the file.</summary>
    [Fact]
    public async Task A_newer_state_is_not_taken_for_a_file_that_has_gone_back()
    {
        await Store.TryInsertAsync(New("a", "first", 7), default);
        var stored = (await Store.FindAsync("a", long.MaxValue, default))!;
        Assert.NotEqual(false, stored.Follows(new StoredVersion(6, 77)));
        Assert.Equal(false, stored.Follows(new StoredVersion(8, 77)));
    }

    [Fact]
    public void A_file_belongs_to_one_at_a_time()
    {
        var refusal = Assert.Throws<StorageUnusableException>(Open);
        Assert.Equal($"Storage:Path '{File}' is in use by another process", refusal.Message);
    }

    [Fact]
    public async Task A_damaged_file_is_refused_by_its_name_and_left_as_it_is()
    {
        await _store.DisposeAsync();
        foreach (var flaw in new Action<byte[]>[] { bytes => bytes.AsSpan(0, 16).Fill(7), bytes => bytes.AsSpan(bytes.Length / 2).Fill(0xFF) })
        {
            var bytes = await System.IO.File.ReadAllBytesAsync(File);
            var damaged = (byte[])bytes.Clone();
            flaw(damaged);
            await System.IO.File.WriteAllBytesAsync(File, damaged);
            var refusal = Assert.Throws<StorageUnusableException>(Open);
            Assert.Contains(File, refusal.Message, StringComparison.Ordinal);
            Assert.Equal(damaged, await System.IO.File.ReadAllBytesAsync(File));
            await System.IO.File.WriteAllBytesAsync(File, bytes);
        }
        _store = Open();
    }

    [Fact]
    public async Task Writes_that_wait_together_are_all_made_each_with_its_own_answer()
    {
        var made = await Task.WhenAll(Enumerable.Range(0, 500).Select(i => Store.TryInsertAsync(New($"id{i % 400}", $"name{i % 400}", 1), default).AsTask()));
        Assert.Equal(400, made.Count(isMade => isMade));
        Assert.Equal(400, await Store.CountAsync(null, default));
    }

    /// <summary>As it was, the answer was 503 although the session was gone.</summary>
    [Fact]
    public async Task A_session_that_is_gone_is_deleted_even_if_what_it_leaves_behind_cannot_be()
    {
        await Store.TryInsertAsync(New("a", "first", 9), default);
        for (var version = 1; version <= 9; version++) await Store.TryInsertSnapshotAsync(new("a", version, new byte[8], new byte[8]), default);
        await _store.DisposeAsync();
        await ExecuteAsync("CREATE TRIGGER keep BEFORE DELETE ON snapshots WHEN old.version = 7 BEGIN SELECT RAISE(ABORT, 'kept'); END");
        _store = Open();
        Assert.True(await Store.TryDeleteAsync("a", 9, default));
        Assert.Null(await Store.FindAsync("a", long.MaxValue, default));
        Assert.NotEmpty(await Store.ListSnapshotsAsync("a", default));
    }

    /// <summary>As it was, each thread that was to write waited for the one that tried whether the disk can be written again.</summary>
    [Fact]
    public async Task A_disk_that_does_not_answer_holds_one_thread_while_the_others_are_refused_and_read()
    {
        if (!OperatingSystem.IsLinux()) return;
        await Store.TryInsertAsync(New("a", "first", 1), default);
        await _store.DisposeAsync();
        // It can only be read, and trying whether it can be written never ends.
        System.IO.File.Delete($"{File}.lock");
        Directory.CreateDirectory($"{File}.lock");
        using (var pipe = Process.Start("mkfifo", $"{File}.probe")) await pipe.WaitForExitAsync();
        var time = new ManualTime();
        _store = Open(time);
        time.AdvanceBy(TimeSpan.FromMinutes(1));
        var trying = Task.Run(() => Store.TryInsertAsync(New("b", "second", 1), default).AsTask());
        var others = Enumerable.Range(0, 4).Select(i => Task.Run(async () =>
        {
            await Task.Delay(100);
            return await Store.TryInsertAsync(New($"c{i}", $"other{i}", 1), default);
        })).ToList();
        try
        {
            foreach (var other in others)
                await Assert.ThrowsAsync<StorageUnavailableException>(() => other.WaitAsync(TimeSpan.FromSeconds(20)));
            Same(New("a", "first", 1), await Store.FindAsync("first", long.MaxValue, default));
            Assert.False(trying.IsCompleted);
        }
        finally
        {
            await using (var pipe = new FileStream($"{File}.probe", FileMode.Open, FileAccess.Read)) await pipe.CopyToAsync(Stream.Null);
            await trying.ContinueWith(_ => { }, TaskScheduler.Default);
        }
    }

    /// <summary>3.50.2 is the first without CVE-2025-6965.</summary>
    [Fact]
    public async Task The_library_has_no_fault_that_is_known_to_be_mended()
    {
        await using var connection = new SqliteConnection("Data Source=:memory:");
        await connection.OpenAsync();
        await using var command = connection.CreateCommand();
        command.CommandText = "SELECT sqlite_version()";
        var version = Version.Parse((string)(await command.ExecuteScalarAsync())!);
        Assert.True(version >= new Version(3, 50, 2), $"SQLite is {version}");
    }

    private SqliteSessionStore Open() => Open(TimeProvider.System);

    private SqliteSessionStore Open(TimeProvider time) =>
        new(Options.Create(new StorageOptions { Path = File }), NullLogger<SqliteSessionStore>.Instance, time);

    private async Task ExecuteAsync(string sql)
    {
        await using var connection = new SqliteConnection($"Data Source={File};Pooling=False");
        await connection.OpenAsync();
        await using var command = connection.CreateCommand();
        command.CommandText = sql;
        await command.ExecuteNonQueryAsync();
    }
}
