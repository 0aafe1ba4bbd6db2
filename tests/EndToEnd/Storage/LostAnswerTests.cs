using BnService.Api.Storage;
using BnService.Api.Storage.Postgres;
using BnService.EndToEnd.Harness;
using Npgsql;

namespace BnService.EndToEnd.Storage;

/// <summary>The connection breaks between a commit and its answer: what has become of it is found out, not guessed.</summary>
[Collection(PostgresTests.Name)]
public sealed class LostAnswerTests(PostgresServer server) : IAsyncLifetime
{
    private PostgresStores _direct = null!, _wired = null!;
    private PostgresSessionStore _store = null!, _other = null!;
    private CutWire _wire = null!;

    public async Task InitializeAsync()
    {
        _direct = await PostgresStores.NewAsync(server);
        var database = new NpgsqlConnectionStringBuilder(_direct.ConnectionString);
        _wire = CutWire.To(database.Port);
        database.Port = _wire.Port;
        // So that a commit is seen as one on the wire.
        database.MaxAutoPrepare = 0;
        _wired = PostgresStores.Of(database.ConnectionString);
        (_other, _store) = (await _direct.OpenAsync(), await _wired.OpenAsync());
        Assert.True(await _store.TryInsertAsync(Session("a", 1), default));
    }

    public async Task DisposeAsync()
    {
        _wire.IsDown = false;
        await _wired.DisposeAsync();
        await _direct.DisposeAsync();
        _wire.Dispose();
    }

    public static TheoryData<Cut> Cuts => [Cut.BeforeCommit, Cut.AfterCommit];

    [Theory]
    [MemberData(nameof(Cuts))]
    public async Task A_step_is_made_once(Cut cut)
    {
        var answer = new StoredAnswer("", "key", new byte[] { 1 });
        Assert.True(await CutAsync(cut, store => store.TryUpdateAsync(Session("a", 2), 1, [answer], default)));
        Assert.Equal(2, (await _other.FindVersionAsync("a", default))?.Number);
        Assert.NotNull(await _other.FindAnswerAsync("a", "", "key", default));
        Assert.Equal(1L, await _direct.AskAsync("SELECT count(*) FROM bn_answers"));
        Assert.False(await _store.TryUpdateAsync(Session("a", 2), 1, [], default));
    }

    [Theory]
    [MemberData(nameof(Cuts))]
    public async Task An_answer_without_a_step_is_remembered_once(Cut cut)
    {
        Assert.True(await CutAsync(cut, store => store.TryUpdateAsync(Session("a", 1), 1, [new StoredAnswer("", "key", new byte[] { 1 })], default)));
        Assert.Equal(1L, await _direct.AskAsync("SELECT count(*) FROM bn_answers"));
    }

    [Theory]
    [MemberData(nameof(Cuts))]
    public async Task What_was_not_made_is_told_so(Cut cut)
    {
        await _other.TryUpdateAsync(Session("a", 2), 1, [], default);
        Assert.False(await CutAsync(cut, store => store.TryUpdateAsync(Session("a", 2), 1, [], default)));
        Assert.False(await CutAsync(cut, store => store.TryInsertAsync(Session("a", 1), default)));
        await _other.TryInsertSnapshotAsync(Snapshot, default);
        Assert.False(await CutAsync(cut, store => store.TryInsertSnapshotAsync(Snapshot, default)));
        Assert.False(await CutAsync(cut, store => store.TryDeleteAsync("a", 1, default)));
        Assert.Equal(2, (await _other.FindVersionAsync("a", default))?.Number);
    }

    [Theory]
    [MemberData(nameof(Cuts))]
    public async Task Sessions_and_snapshots_come_and_go(Cut cut)
    {
        Assert.True(await CutAsync(cut, store => store.TryInsertAsync(Session("b", 2), default)));
        Assert.Equal(2, (await _other.FindVersionAsync("b", default))?.Number);
        Assert.True(await CutAsync(cut, store => store.TryInsertSnapshotAsync(Snapshot, default)));
        Assert.NotNull(await _other.FindSnapshotAsync("a", 1, long.MaxValue, default));
        Assert.True(await CutAsync(cut, store => store.TryDeleteSnapshotAsync("a", 1, default)));
        Assert.Null(await _other.FindSnapshotAsync("a", 1, long.MaxValue, default));
        Assert.True(await CutAsync(cut, store => store.TryDeleteAsync("b", 2, default)));
        Assert.Null(await _other.FindAsync("b", long.MaxValue, default));
    }

    [Fact]
    public async Task A_step_is_known_when_another_node_has_gone_on_from_it()
    {
        Assert.True(await CutAsync(Cut.AfterCommit, store => store.TryUpdateAsync(Session("a", 2), 1, [], default), () => GoOnAsync(2, 10)));
        // And one that another node was faster with is known not to be made.
        Assert.False(await CutAsync(Cut.BeforeCommit, store => store.TryUpdateAsync(Session("a", 13), 12, [], default), () => GoOnAsync(12, 10)));
    }

    [Fact]
    public async Task Where_too_much_has_happened_since_that_is_said()
    {
        var refusal = await Assert.ThrowsAsync<StorageUnavailableException>(() =>
            CutAsync(Cut.AfterCommit, store => store.TryUpdateAsync(Session("a", 2), 1, [], default), () => GoOnAsync(2, 40)));
        Assert.Contains("it is not known whether it was made", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task While_the_database_stays_away_nothing_is_claimed()
    {
        _wire.CutAtNext(Cut.AfterCommit);
        var refusal = await Assert.ThrowsAsync<StorageUnavailableException>(() =>
            _store.TryUpdateAsync(Session("a", 2), 1, [], default).AsTask().WaitAsync(TimeSpan.FromSeconds(30)));
        Assert.Contains("it is not known whether it was made", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("Idempotency-Key", refusal.Message, StringComparison.Ordinal);
        // What could not be sent at all was not made, which is known at once.
        refusal = await Assert.ThrowsAsync<StorageUnavailableException>(() => _store.TryUpdateAsync(Session("a", 3), 2, [], default).AsTask());
        Assert.Contains("nothing has changed", refusal.Message, StringComparison.Ordinal);
        _wire.IsDown = false;
        Assert.True(await _store.TryUpdateAsync(Session("a", 3), 2, [], default));
    }

    [Fact]
    public async Task A_database_that_says_nothing_is_not_waited_for_for_ever()
    {
        await using var impatient = PostgresStores.Of(_wired.ConnectionString + ";Timeout=1;Command Timeout=1");
        var (reading, writing) = (await impatient.OpenAsync(), await impatient.OpenAsync());
        foreach (var node in (ISessionStore[])[reading, writing]) await node.FindAsync("a", long.MaxValue, default);
        _wire.IsMute = true;
        var update = writing.TryUpdateAsync(Session("a", 2), 1, [], default).AsTask();
        var refusal = await Assert.ThrowsAsync<StorageUnavailableException>(() => reading.FindAsync("a", long.MaxValue, default).AsTask().WaitAsync(TimeSpan.FromSeconds(10)));
        Assert.Equal("the database cannot be read: it does not answer in time", refusal.Message);
        _wire.IsMute = false;
        Assert.True(await update.WaitAsync(TimeSpan.FromSeconds(20)));
        Assert.Equal(2, (await _other.FindVersionAsync("a", default))?.Number);
    }

    private async Task<bool> CutAsync(Cut cut, Func<ISessionStore, ValueTask<bool>> write, Func<Task>? meanwhile = null)
    {
        _wire.CutAtNext(cut);
        var made = write(_store).AsTask();
        await Eventually.TrueAsync(() => _wire.IsCut, "nothing is committed");
        if (meanwhile is not null) await meanwhile();
        _wire.IsDown = false;
        return await made;
    }

    private async Task GoOnAsync(long version, int steps)
    {
        for (var i = 0; i < steps; i++) Assert.True(await _other.TryUpdateAsync(Session("a", version + i + 1), version + i, [], default));
    }

    private static StoredSnapshot Snapshot => new("a", 1, new byte[] { 1 }, new byte[] { 2 });

    private static StoredSession Session(string id, long version) =>
        new(id, $"name {id}", "batch_norm", version, DateTimeOffset.UnixEpoch, new byte[] { (byte)version }, new byte[] { (byte)version });
}
