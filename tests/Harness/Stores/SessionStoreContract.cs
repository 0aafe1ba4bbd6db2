using BnService.Api.Storage;

namespace BnService.Harness;

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
        foreach (var key in new[] { "a", "first" }) Same(session, await Store.FindAsync(key, long.MaxValue, default));
        Assert.Null(await Store.FindAsync("First", long.MaxValue, default));
        Assert.Equal("first", await Store.FindNameAsync("first", "first", default));
        Assert.Equal("first", await Store.FindNameAsync("nosuch", "a", default));
        Assert.Equal("first", await Store.FindNameAsync(null, "a", default));
        // A name is no id.
        Assert.Null(await Store.FindNameAsync(null, "first", default));
        Assert.Null(await Store.FindAsync("", long.MaxValue, default));
        Assert.Equal(1, await Store.CountAsync(null, default));
    }

    [Fact]
    public async Task A_state_of_more_bytes_than_asked_for_is_not_read()
    {
        var (session, snapshot) = (New("a", "first", 3) with { State = new byte[100_000] }, new StoredSnapshot("a", 3, new byte[] { 7 }, new byte[50_000]));
        Assert.True(await Store.TryInsertAsync(session, default));
        Assert.True(await Store.TryInsertSnapshotAsync(snapshot, default));
        Same(session, await Store.FindAsync("first", 100_000, default));
        Same(session with { State = default, Withheld = 100_000 }, await Store.FindAsync("first", 99_999, default));
        Assert.Equal((50_000, 0), await FrozenAsync(50_000));
        Assert.Equal((0, 50_000), await FrozenAsync(49_999));
        // An empty one is no long one.
        Assert.True(await Store.TryUpdateAsync(session with { Version = 4, State = default }, 3, [], default));
        Assert.Equal(0, (await Store.FindAsync("a", 0, default))!.Withheld);

        async Task<(int, long)> FrozenAsync(long most) =>
            await Store.FindSnapshotAsync("a", 3, most, default) is { } found && found.Header.Span[0] == 7 ? (found.State.Length, found.Withheld) : default;
    }

    [Fact]
    public async Task Sessions_are_counted_by_their_owners()
    {
        foreach (var (id, owner) in ((string, string?)[])[("a", "one"), ("b", "one"), ("c", "other"), ("d", null)])
            Assert.True(await Store.TryInsertAsync(New(id, $"name-{id}", 1) with { Owner = owner }, default));
        foreach (var (owner, sessions) in ((string?, long)[])[(null, 4), ("one", 2), ("other", 1), ("nobody", 0)])
            Assert.Equal(sessions, await Store.CountAsync(owner, default));
        // A change of the state changes no owner.
        Assert.True(await Store.TryUpdateAsync(New("a", "name-a", 2) with { Owner = "one" }, 1, [], default));
        Assert.Equal("one", (await Store.FindAsync("a", long.MaxValue, default))!.Owner);
        Assert.Null((await Store.FindAsync("d", long.MaxValue, default))!.Owner);
        Assert.True(await Store.TryDeleteAsync("a", 2, default));
        Assert.Equal(1, await Store.CountAsync("one", default));
    }

    [Fact]
    public async Task What_is_stored_is_measured_by_owners()
    {
        foreach (var (id, owner) in ((string, string?)[])[("a", "one"), ("b", "one"), ("c", null)])
            Assert.True(await Store.TryInsertAsync(New(id, $"name-{id}", 1) with { Owner = owner, Header = new byte[10], State = new byte[100_000] }, default));
        Assert.True(await Store.TryInsertSnapshotAsync(new StoredSnapshot("b", 1, new byte[20], new byte[50_000]), default));
        var updated = New("a", "name-a", 2) with { Owner = "one", Header = new byte[10], State = new byte[1000] };
        Assert.True(await Store.TryUpdateAsync(updated, 1, [new("", "small", new byte[4000]), new("", "large", new byte[5000])], default));
        Assert.Equal([(null, 1, 100_010), ("one", 2, 1010 + 100_010 + 50_020 + 5000)], await MeasureAsync());
        Assert.True(await Store.TryDeleteAsync("a", 2, default));
        Assert.True(await Store.TryDeleteSnapshotAsync("b", 1, default));
        Assert.Equal([(null, 1, 100_010), ("one", 1, 100_010)], await MeasureAsync());

        async Task<(string?, long, long)[]> MeasureAsync() =>
            [.. (await Store.MeasureAsync(default)).OrderBy(usage => usage.Owner, StringComparer.Ordinal).Select(usage => (usage.Owner, usage.Sessions, usage.Bytes))];
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
        Assert.Equal(1, await Store.CountAsync(null, default));
    }

    [Fact]
    public async Task An_update_names_the_version_that_it_starts_from()
    {
        await Store.TryInsertAsync(New("a", "first", 1), default);
        Assert.False(await Store.TryUpdateAsync(New("a", "first", 3), 2, [], default));
        Assert.False(await Store.TryUpdateAsync(New("b", "first", 2), 1, [], default));
        Assert.Equal(1, (await Store.FindAsync("a", long.MaxValue, default))!.Version);
        Assert.True(await Store.TryUpdateAsync(New("a", "first", 5), 1, [], default));
        Same(New("a", "first", 5), await Store.FindAsync("first", long.MaxValue, default));
    }

    [Fact]
    public async Task A_deletion_names_the_version_that_it_means_and_frees_the_name()
    {
        await Store.TryInsertAsync(New("a", "first", 4), default);
        Assert.False(await Store.TryDeleteAsync("a", 3, default));
        Assert.False(await Store.TryDeleteAsync("b", 4, default));
        Assert.True(await Store.TryDeleteAsync("a", 4, default));
        Assert.False(await Store.TryDeleteAsync("a", 4, default));
        Assert.Null(await Store.FindAsync("first", long.MaxValue, default));
        Assert.False(await Store.TryUpdateAsync(New("a", "first", 5), 4, [], default));
        Assert.True(await Store.TryInsertAsync(New("b", "first", 1), default));
    }

    [Fact]
    public async Task Of_many_updates_from_one_version_exactly_one_is_made()
    {
        await Store.TryInsertAsync(New("a", "first", 1), default);
        var made = await Task.WhenAll(Enumerable.Range(2, 50).Select(version => Task.Run(() => Store.TryUpdateAsync(New("a", "first", version), 1, [], default).AsTask())));
        Assert.Single(made, isMade => isMade);
        Assert.Equal(2 + Array.IndexOf(made, true), (await Store.FindAsync("a", long.MaxValue, default))!.Version);
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
            var listed = new List<StoredHeader>();
            for (SessionPosition? after = null; ;)
            {
                var page = await Store.ListAsync(new SessionQuery(prefix, kind, 4, after), default);
                Assert.True(page.Count <= 4);
                if (page.Count == 0) break;
                listed.AddRange(page);
                after = new SessionPosition(page[^1].CreatedAt, page[^1].Id);
            }
            Assert.Equal(expected.Select(session => session.Id), listed.Select(session => session.Id));
            Assert.Equal(listed.Count, await Store.CountListedAsync(new SessionQuery(prefix, kind, 4, null), default));
            foreach (var size in (int[])[1, 2, 7, 24, 25, 26])
            {
                // In slices it is the same, and nothing is counted twice.
                var (inSlices, count) = (new List<StoredHeader>(), 0L);
                for (SessionPosition? after = null; ;)
                {
                    var last = await Store.FindPositionAsync(after, size, default);
                    var slice = new SessionQuery(prefix, kind, 100, after) { Through = last };
                    inSlices.AddRange(await Store.ListAsync(slice, default));
                    count += await Store.CountListedAsync(slice, default);
                    if ((after = last) is null) break;
                }
                Assert.Equal(listed.Select(session => session.Id), inSlices.Select(session => session.Id));
                Assert.Equal(listed.Count, count);
            }
        }
    }

    [Theory]
    [InlineData("alpha", "id2", "id0")]
    [InlineData("_1", "id1", "id0")]
    [InlineData("%")]
    [InlineData("a_pha")]
    [InlineData("\\")]
    [InlineData("'")]
    [InlineData("é")]
    public async Task A_part_of_a_name_is_looked_for_as_it_stands_but_for_capital_letters(string search, params string[] found)
    {
        string[] names = ["team.Alpha_1", "team.beta_10", "ALPHA", "other"];
        for (var i = 0; i < names.Length; i++) await Store.TryInsertAsync(New($"id{i}", names[i], 1) with { CreatedAt = Start.AddSeconds(i) }, default);
        var query = new SessionQuery(null, null, 10, null) { Search = search };
        Assert.Equal(found, (await Store.ListAsync(query, default)).Select(session => session.Id));
        Assert.Equal(found.Length, await Store.CountListedAsync(query, default));
        Assert.Empty(await Store.ListAsync(query with { Kind = "nosuch" }, default));
    }

    [Fact]
    public async Task The_stored_version_can_be_asked_for_by_itself()
    {
        await Store.TryInsertAsync(New("a", "first", 7), default);
        Assert.Equal(7, (await Store.FindVersionAsync("a", default))?.Number);
        Assert.Null(await Store.FindVersionAsync("first", default));
    }

    [Fact]
    public async Task A_state_and_its_answers_are_stored_together_or_not_at_all()
    {
        await Store.TryInsertAsync(New("a", "first", 1), default);
        Assert.True(await Store.TryUpdateAsync(New("a", "first", 2), 1, [Answer("", "k1", 1), Answer("other", "k1", 2)], default));
        Same(Answer("", "k1", 1), await Store.FindAnswerAsync("a", "", "k1", default));
        Same(Answer("other", "k1", 2), await Store.FindAnswerAsync("a", "other", "k1", default));
        Assert.Null(await Store.FindAnswerAsync("a", "", "K1", default));
        Assert.Null(await Store.FindAnswerAsync("b", "", "k1", default));
        // A key that is taken, and a version that is not the stored one: nothing of either is stored.
        Assert.False(await Store.TryUpdateAsync(New("a", "first", 3), 2, [Answer("", "k2", 3), Answer("", "k1", 4)], default));
        Assert.False(await Store.TryUpdateAsync(New("a", "first", 9), 8, [Answer("", "k3", 5)], default));
        Assert.Equal(2, (await Store.FindVersionAsync("a", default))?.Number);
        Assert.Null(await Store.FindAnswerAsync("a", "", "k2", default));
        Assert.Null(await Store.FindAnswerAsync("a", "", "k3", default));
        Same(Answer("", "k1", 1), await Store.FindAnswerAsync("a", "", "k1", default));
    }

    [Fact]
    public async Task Answers_are_remembered_without_a_change_of_the_state()
    {
        await Store.TryInsertAsync(New("a", "first", 1), default);
        Assert.True(await Store.TryUpdateAsync(New("a", "first", 1) with { State = new byte[] { 66 } }, 1, [Answer("", "k1", 1)], default));
        Assert.False(await Store.TryUpdateAsync(New("b", "second", 1), 1, [Answer("", "k1", 1)], default));
        Same(New("a", "first", 1), await Store.FindAsync("a", long.MaxValue, default));
        Same(Answer("", "k1", 1), await Store.FindAnswerAsync("a", "", "k1", default));
    }

    [Fact]
    public async Task Of_each_topic_the_newest_answers_are_kept()
    {
        await Store.TryInsertAsync(New("a", "first", 1), default);
        Assert.Null(await Store.FindLastAnswerAsync("a", "", default));
        await Store.TryUpdateAsync(New("a", "first", 1), 1, [Answer("other", "0", 0)], default);
        for (var i = 0; i < StoredAnswer.Kept + 10; i++) await Store.TryUpdateAsync(New("a", "first", i + 2), i + 1, [Answer("", $"{i}", (byte)i)], default);
        Same(Answer("other", "0", 0), await Store.FindLastAnswerAsync("a", "other", default));
        Same(Answer("", $"{StoredAnswer.Kept + 9}", StoredAnswer.Kept + 9 & 0xFF), await Store.FindLastAnswerAsync("a", "", default));
        for (var i = 0; i < StoredAnswer.Kept + 10; i++) Assert.Equal(i >= 10, await Store.FindAnswerAsync("a", "", $"{i}", default) is not null);
    }

    [Fact]
    public async Task Of_groups_the_newest_answers_are_kept_over_all_of_a_session()
    {
        foreach (var (id, name) in ((string, string)[])[("a", "first"), ("b", "second")]) await Store.TryInsertAsync(New(id, name, 1), default);
        await Store.TryUpdateAsync(New("b", "second", 1), 1, [Answer("call of-other", "1", 7)], default);
        await Store.TryUpdateAsync(New("a", "first", 1), 1, [Answer("", "k", 1), Answer("other", "k", 2), Answer("call last", "1", 3)], default);
        const int Groups = 3 * StoredAnswer.KeptOfGroups;
        // Several in one write, as the changes are that wait together.
        for (var i = 0; i < Groups; i += 3)
            await Store.TryUpdateAsync(New("a", "first", 1), 1, [.. Enumerable.Range(i, 3).Select(group => Answer($"call g{group}", "1", group & 0xFF))], default);
        var kept = 0;
        for (var i = 0; i < Groups; i++)
        {
            var isThere = await Store.FindLastAnswerAsync("a", $"call g{i}", default) is not null;
            if (i >= Groups - StoredAnswer.KeptOfGroups) Assert.True(isThere, $"{i} of {Groups}");
            kept += isThere ? 1 : 0;
        }
        Assert.InRange(kept, StoredAnswer.KeptOfGroups, StoredAnswer.KeptOfGroups + StoredAnswer.Slack);
        Assert.Null(await Store.FindAnswerAsync("a", "call last", "1", default));
        // What is no group's, and what is another session's, makes no room for them.
        Same(Answer("", "k", 1), await Store.FindAnswerAsync("a", "", "k", default));
        Same(Answer("other", "k", 2), await Store.FindAnswerAsync("a", "other", "k", default));
        Same(Answer("call of-other", "1", 7), await Store.FindLastAnswerAsync("b", "call of-other", default));
    }

    [Fact]
    public async Task The_steps_of_one_group_follow_each_other_among_those_of_others()
    {
        await Store.TryInsertAsync(New("a", "first", 1), default);
        for (var i = 1; i <= 30; i++)
        {
            await Store.TryUpdateAsync(New("a", "first", 1), 1, [Answer("call g", $"{i}", i)], default);
            await Store.TryUpdateAsync(New("a", "first", 1), 1, [Answer($"call other{i}", "1", 0)], default);
            Same(Answer("call g", $"{i}", i), await Store.FindLastAnswerAsync("a", "call g", default));
        }
        // A key of the topic is taken, as in any other.
        Assert.False(await Store.TryUpdateAsync(New("a", "first", 1), 1, [Answer("call g", "7", 0)], default));
    }

    [Fact]
    public async Task A_snapshot_is_kept_until_it_is_deleted()
    {
        await Store.TryInsertAsync(New("a", "first", 1), default);
        await Store.TryInsertAsync(New("b", "second", 1), default);
        Assert.False(await Store.TryInsertSnapshotAsync(Snapshot("c", 1), default));
        foreach (var version in (long[])[3, 20, 7]) Assert.True(await Store.TryInsertSnapshotAsync(Snapshot("a", version), default));
        Assert.True(await Store.TryInsertSnapshotAsync(Snapshot("b", 7), default));
        Assert.False(await Store.TryInsertSnapshotAsync(Snapshot("a", 7) with { State = new byte[] { 0 } }, default));
        var found = await Store.FindSnapshotAsync("a", 7, long.MaxValue, default);
        Assert.Equal(Snapshot("a", 7).State.ToArray(), found!.State.ToArray());
        Assert.Equal(Snapshot("a", 7).Header.ToArray(), found.Header.ToArray());
        Assert.Null(await Store.FindSnapshotAsync("a", 8, long.MaxValue, default));
        var listed = await Store.ListSnapshotsAsync("a", default);
        Assert.Equal([20, 7, 3], listed.Select(snapshot => snapshot.Version));
        Assert.All(listed, snapshot => Assert.Equal((byte)snapshot.Version, snapshot.Header.Span[0]));
        var versions = await Store.FindSnapshotVersionsAsync(["b", "nosuch", "a"], default);
        Assert.Equal([20, 7, 3], versions["a"]);
        Assert.Equal([7], versions["b"]);
        Assert.Equal(2, versions.Count);
        Assert.True(await Store.TryDeleteSnapshotAsync("a", 7, default));
        Assert.False(await Store.TryDeleteSnapshotAsync("a", 7, default));
        Assert.Null(await Store.FindSnapshotAsync("a", 7, long.MaxValue, default));
        Assert.NotNull(await Store.FindSnapshotAsync("b", 7, long.MaxValue, default));
    }

    [Fact]
    public async Task What_belongs_to_a_session_goes_with_it()
    {
        await Store.TryInsertAsync(New("a", "first", 1), default);
        await Store.TryUpdateAsync(New("a", "first", 2), 1, [Answer("", "k", 1)], default);
        await Store.TryInsertSnapshotAsync(Snapshot("a", 2), default);
        Assert.True(await Store.TryDeleteAsync("a", 2, default));
        Assert.Null(await Store.FindAnswerAsync("a", "", "k", default));
        Assert.Null(await Store.FindLastAnswerAsync("a", "", default));
        Assert.Null(await Store.FindSnapshotAsync("a", 2, long.MaxValue, default));
        Assert.Empty(await Store.ListSnapshotsAsync("a", default));
        Assert.False(await Store.TryInsertSnapshotAsync(Snapshot("a", 2), default));
    }

    protected static StoredAnswer Answer(string topic, string key, int content) => new(topic, key, new byte[] { 5, (byte)content });

    private static StoredSnapshot Snapshot(string id, long version) => new(id, version, new[] { (byte)version }, new byte[] { 8, (byte)version });

    protected static void Same(StoredAnswer expected, StoredAnswer? actual)
    {
        Assert.NotNull(actual);
        Assert.Equal((expected.Topic, expected.Key), (actual.Topic, actual.Key));
        Assert.Equal(expected.Content.ToArray(), actual.Content.ToArray());
    }

    /// <summary>What passes through sessions, where the store keeps that.</summary>
    [Fact]
    public async Task Traffic_is_what_was_saved_last_and_goes_with_its_session()
    {
        if (Store is not ITrafficStore traffic) return;
        await Store.TryInsertAsync(New("a", "first", 1), default);
        await Store.TryInsertAsync(New("b", "second", 1), default);
        Assert.Empty(await traffic.FindTrafficAsync("a", default));
        await traffic.SaveTrafficAsync([Traffic("a", 1), Traffic("nosuch", 2), Traffic("b", 3)], default);
        await traffic.SaveTrafficAsync([Traffic("a", 4)], default);
        Assert.Equal([4], await FoundAsync("a"));
        Assert.Equal([3], await FoundAsync("b"));
        Assert.Empty(await FoundAsync("nosuch"));
        await Store.TryUpdateAsync(New("a", "first", 2), 1, [], default);
        Assert.False(await Store.TryDeleteAsync("a", 1, default));
        Assert.Equal([4], await FoundAsync("a"));
        Assert.True(await Store.TryDeleteAsync("a", 2, default));
        Assert.Empty(await FoundAsync("a"));
        Assert.Equal([3], await FoundAsync("b"));

        static StoredTraffic Traffic(string id, byte content) => new(id, "node", new[] { content });
        async Task<IEnumerable<byte>> FoundAsync(string id) => (await traffic.FindTrafficAsync(id, default)).Select(content => content.Span[0]);
    }

    internal static StoredSession New(string id, string name, long version) =>
        new(id, name, "batch_norm", version, Start, new byte[] { 9, (byte)version }, new byte[] { 1, 2, (byte)version });

    protected static void Same(StoredSession expected, StoredSession? actual)
    {
        Assert.NotNull(actual);
        Assert.Equal(
            expected with { Header = default, State = default },
            actual with { Header = default, State = default, Mark = 0, Writes = default });
        Assert.Equal(expected.Header.ToArray(), actual.Header.ToArray());
        Assert.Equal(expected.State.ToArray(), actual.State.ToArray());
    }
}
