using BnService.Api.Storage;
using BnService.Api.Storage.Memory;

namespace BnService.Api.Tests.Storage;

/// <summary>What a store of sessions must do, whatever its engine.</summary>
public abstract class SessionStoreContract
{
    private static readonly DateTimeOffset Start = new(2026, 11, 21, 12, 0, 0, TimeSpan.Zero);

    protected abstract ISessionStore Store { get; }

    [Fact]
    public async Task A_session_is_found_as_it_was_stored_by_name_and_by_id()
    {
        var session = New("a", "first", 3) with { State = Enumerable.Range(0, 100_000).Select(i => (byte)i).ToArray() };
        Assert.True(await Store.TryInsertAsync(session, default));
        foreach (var key in new[] { "a", "first" }) Same(session, await Store.FindAsync(key, default));
        Assert.Null(await Store.FindAsync("First", default));
        Assert.Null(await Store.FindAsync("", default));
        Assert.Equal(1, await Store.CountAsync(default));
    }

    [Theory]
    [InlineData("b", "first")]
    [InlineData("b", "a")]
    [InlineData("a", "second")]
    [InlineData("first", "second")]
    public async Task No_name_and_no_id_is_given_twice(string id, string name)
    {
        Assert.True(await Store.TryInsertAsync(New("a", "first", 1), default));
        Assert.False(await Store.TryInsertAsync(New(id, name, 1), default));
        Assert.Equal(1, await Store.CountAsync(default));
    }

    [Fact]
    public async Task An_update_names_the_version_that_it_starts_from()
    {
        await Store.TryInsertAsync(New("a", "first", 1), default);
        Assert.False(await Store.TryUpdateAsync(New("a", "first", 3), 2, default));
        Assert.False(await Store.TryUpdateAsync(New("b", "first", 2), 1, default));
        Assert.Equal(1, (await Store.FindAsync("a", default))!.Version);
        Assert.True(await Store.TryUpdateAsync(New("a", "first", 5), 1, default));
        Same(New("a", "first", 5), await Store.FindAsync("first", default));
    }

    [Fact]
    public async Task A_deletion_names_the_version_that_it_means_and_frees_the_name()
    {
        await Store.TryInsertAsync(New("a", "first", 4), default);
        Assert.False(await Store.TryDeleteAsync("a", 3, default));
        Assert.False(await Store.TryDeleteAsync("b", 4, default));
        Assert.True(await Store.TryDeleteAsync("a", 4, default));
        Assert.False(await Store.TryDeleteAsync("a", 4, default));
        Assert.Null(await Store.FindAsync("first", default));
        Assert.False(await Store.TryUpdateAsync(New("a", "first", 5), 4, default));
        Assert.True(await Store.TryInsertAsync(New("b", "first", 1), default));
    }

    [Fact]
    public async Task Of_many_updates_from_one_version_exactly_one_is_made()
    {
        await Store.TryInsertAsync(New("a", "first", 1), default);
        var made = await Task.WhenAll(Enumerable.Range(2, 50).Select(version => Task.Run(() => Store.TryUpdateAsync(New("a", "first", version), 1, default).AsTask())));
        Assert.Single(made, isMade => isMade);
        Assert.Equal(2 + Array.IndexOf(made, true), (await Store.FindAsync("a", default))!.Version);
    }

    [Fact]
    public async Task Pages_go_from_the_newest_to_the_oldest_without_a_gap_or_a_repetition()
    {
        // Some of the same instant; names of another case and with characters that patterns know.
        var sessions = Enumerable.Range(0, 25).Select(i => New($"id{i:D2}", i % 3 == 0 ? $"A_%{i}" : $"a_%{i}", 1) with
        {
            CreatedAt = Start.AddSeconds(i / 2),
            Kind = i % 2 == 0 ? "batch_norm" : "layer_norm",
        }).ToList();
        foreach (var session in sessions.OrderBy(session => session.Name)) await Store.TryInsertAsync(session, default);
        var newestFirst = sessions.OrderByDescending(session => session.CreatedAt).ThenByDescending(session => session.Id, StringComparer.Ordinal).ToList();
        foreach (var (prefix, kind) in new (string?, string?)[] { (null, null), ("a_", null), ("A_%", null), (null, "layer_norm"), ("a_%1", "batch_norm"), ("nosuch", null) })
        {
            var expected = newestFirst.Where(session => session.Name.StartsWith(prefix ?? "", StringComparison.Ordinal) && session.Kind == (kind ?? session.Kind));
            var listed = new List<StoredSession>();
            for (SessionPosition? after = null; ;)
            {
                var page = await Store.ListAsync(new SessionQuery(prefix, kind, 4, after), default);
                Assert.True(page.Count <= 4);
                if (page.Count == 0) break;
                listed.AddRange(page);
                after = new SessionPosition(page[^1].CreatedAt, page[^1].Id);
            }
            Assert.Equal(expected.Select(session => session.Id), listed.Select(session => session.Id));
        }
    }

    private protected static StoredSession New(string id, string name, long version) =>
        new(id, name, "batch_norm", version, Start, new byte[] { 1, 2, (byte)version });

    private protected static void Same(StoredSession expected, StoredSession? actual)
    {
        Assert.NotNull(actual);
        Assert.Equal(expected with { State = default }, actual with { State = default });
        Assert.Equal(expected.State.ToArray(), actual.State.ToArray());
    }
}

public sealed class MemorySessionStoreTests : SessionStoreContract
{
    protected override ISessionStore Store { get; } = new MemorySessionStore();
}
