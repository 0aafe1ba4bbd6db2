using BnService.Api.Storage;
using BnService.EndToEnd.Harness;

namespace BnService.EndToEnd.Storage;

[Collection(PostgresTests.Name)]
public sealed class PostgresSessionStoreTests(PostgresServer server) : SessionStoreContract, IAsyncLifetime
{
    private PostgresStores _stores = null!;
    private ISessionStore _store = null!;

    protected override ISessionStore Store => _store;

    public async Task InitializeAsync()
    {
        _stores = await PostgresStores.NewAsync(server);
        _store = await _stores.OpenAsync();
    }

    public async Task DisposeAsync() => await _stores.DisposeAsync();

    [Fact]
    public async Task What_was_stored_is_there_when_the_database_is_opened_again()
    {
        await Store.TryInsertAsync(New("a", "first", 1), default);
        await Store.TryUpdateAsync(New("a", "first", 7), 1, [], default);
        Same(New("a", "first", 7), await (await _stores.OpenAsync()).FindAsync("first", long.MaxValue, default));
    }

    /// <summary>Nodes that are called otherwise after each start do not fill the database.</summary>
    [Fact]
    public async Task Traffic_of_each_node_is_kept_and_of_many_that_of_the_last_eight()
    {
        var traffic = (ITrafficStore)Store;
        await Store.TryInsertAsync(New("a", "first", 1), default);
        for (byte i = 0; i < 20; i++) await traffic.SaveTrafficAsync([new StoredTraffic("a", $"node{i}", new[] { i })], default);
        Assert.Equal(Enumerable.Range(12, 8), (await traffic.FindTrafficAsync("a", default)).Select(content => (int)content.Span[0]).Order());
    }

    [Fact]
    public async Task Writes_that_wait_together_are_all_made_each_with_its_own_answer()
    {
        var made = await Task.WhenAll(Enumerable.Range(0, 500).Select(i => Store.TryInsertAsync(New($"id{i % 400}", $"name{i % 400}", 1), default).AsTask()));
        Assert.Equal(400, made.Count(isMade => isMade));
        Assert.Equal(400, await Store.CountAsync(null, default));
        // Every third from a version that is not stored, every fifth of a session that is not there.
        made = await Task.WhenAll(Enumerable.Range(0, 400).Select(i =>
            Store.TryUpdateAsync(New(i % 5 == 0 ? $"no{i}" : $"id{i}", $"name{i}", 3), i % 3 == 0 ? 2 : 1, i % 2 == 0 ? [] : [new StoredAnswer("", "k", default)], default).AsTask()));
        for (var i = 0; i < made.Length; i++)
        {
            Assert.Equal(i % 3 != 0 && i % 5 != 0, made[i]);
            Assert.Equal(made[i] ? 3 : 1, (await Store.FindVersionAsync($"id{i}", default))?.Number);
        }
    }

    [Fact]
    public async Task Ids_are_ordered_by_their_bytes_whatever_the_language_of_the_database()
    {
        // As people sort them: a, B, b, C.
        Assert.Equal(true, await _stores.AskAsync("SELECT 'a' < 'B' AND 'b' < 'C'"));
        foreach (var id in (string[])["b", "C", "a", "B"]) await Store.TryInsertAsync(New(id, $"name {id}", 1), default);
        var first = await Store.ListAsync(new SessionQuery(null, null, 2, null), default);
        Assert.Equal(["b", "a"], first.Select(session => session.Id));
        var second = await Store.ListAsync(new SessionQuery(null, null, 5, new SessionPosition(first[1].CreatedAt, "a")), default);
        Assert.Equal(["C", "B"], second.Select(session => session.Id));
    }

    [Theory]
    [InlineData("a\0b")]
    [InlineData("\uD800")]
    public async Task What_the_database_cannot_hold_is_not_there(string text)
    {
        await Store.TryInsertAsync(New("a", "first", 1), default);
        Assert.Null(await Store.FindAsync(text, long.MaxValue, default));
        Assert.Null(await Store.FindVersionAsync(text, default));
        Assert.Null(await Store.FindAnswerAsync("a", "", text, default));
        Assert.Empty(await Store.ListAsync(new SessionQuery(text, null, 5, null), default));
    }

    [Fact]
    public async Task A_question_ends_when_nobody_waits_for_the_answer()
    {
        using var gone = new CancellationTokenSource();
        await gone.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Store.FindAsync("a", long.MaxValue, gone.Token).AsTask());
        Assert.Null(await Store.FindAsync("a", long.MaxValue, default));
    }
}

[Collection(PostgresTests.Name)]
public sealed class PostgresContributionsTests(PostgresServer server) : ContributionsContract, IAsyncLifetime
{
    private PostgresStores _stores = null!;
    private IContributions _contributions = null!;

    internal override IContributions Contributions => _contributions;

    public async Task InitializeAsync()
    {
        _stores = await PostgresStores.NewAsync(server);
        _contributions = await _stores.OpenAsync();
    }

    public async Task DisposeAsync() => await _stores.DisposeAsync();
}

[Collection(PostgresTests.Name)]
public sealed class PostgresKeyStoreTests(PostgresServer server) : KeyStoreContract, IAsyncLifetime
{
    private PostgresStores _stores = null!;
    private IKeyStore _keys = null!;

    protected override IKeyStore Keys => _keys;

    public async Task InitializeAsync()
    {
        _stores = await PostgresStores.NewAsync(server);
        _keys = await _stores.OpenAsync();
    }

    public async Task DisposeAsync() => await _stores.DisposeAsync();
}
