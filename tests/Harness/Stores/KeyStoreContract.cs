using BnService.Api.Storage;

namespace BnService.Harness;

/// <summary>What a store of keys must do, wherever it is.</summary>
public abstract class KeyStoreContract
{
    private static readonly DateTimeOffset Start = new(2026, 11, 21, 12, 0, 0, TimeSpan.Zero);

    protected abstract IKeyStore Keys { get; }

    [Fact]
    public async Task Keys_are_listed_as_they_were_stored_oldest_first()
    {
        Assert.Empty(await Keys.ListKeysAsync(default));
        StoredKey[] keys = [New("b", 2), New("a", 3) with { Prefix = "team-" }, New("C", 1) with { Role = "admin" }, New("d", 2)];
        foreach (var key in keys) Assert.True(await Keys.TryInsertKeyAsync(key, default));
        Same([keys[2], keys[0], keys[3], keys[1]], await Keys.ListKeysAsync(default));
    }

    [Fact]
    public async Task No_id_is_given_twice()
    {
        Assert.True(await Keys.TryInsertKeyAsync(New("a", 1), default));
        Assert.False(await Keys.TryInsertKeyAsync(New("a", 2) with { Hash = new byte[] { 9 } }, default));
        Same([New("a", 1)], await Keys.ListKeysAsync(default));
    }

    [Fact]
    public async Task Of_those_that_would_be_first_in_the_same_moment_one_is()
    {
        var isFirst = await Task.WhenAll(Enumerable.Range(0, 16).Select(i => Task.Run(() => Keys.TryInsertFirstKeyAsync(New($"k{i}", i), default).AsTask())));
        Assert.Single(isFirst, true);
        Same([New($"k{Array.IndexOf(isFirst, true)}", Array.IndexOf(isFirst, true))], await Keys.ListKeysAsync(default));
        Assert.False(await Keys.TryInsertFirstKeyAsync(New("late", 99) with { Role = "unknown" }, default));
        Assert.True(await Keys.TryInsertKeyAsync(New("other", 100), default));
    }

    [Fact]
    public async Task Of_a_key_that_is_replaced_the_secret_changes_and_nothing_else()
    {
        await Keys.TryInsertKeyAsync(New("a", 1), default);
        await Keys.TryInsertKeyAsync(New("b", 2), default);
        var next = New("a", 1) with { Salt = new byte[] { 7 }, Hash = new byte[] { 8, 8 } };
        Assert.True(await Keys.TryReplaceKeyAsync(next with { Name = "other", Role = "admin", Prefix = "p", CreatedAt = Start }, default));
        Same([next, New("b", 2)], await Keys.ListKeysAsync(default));
        Assert.False(await Keys.TryReplaceKeyAsync(next with { Id = "nosuch" }, default));
    }

    [Fact]
    public async Task A_key_that_is_deleted_is_gone()
    {
        await Keys.TryInsertKeyAsync(New("a", 1), default);
        await Keys.TryInsertKeyAsync(New("b", 2), default);
        Assert.True(await Keys.TryDeleteKeyAsync("a", default));
        Assert.False(await Keys.TryDeleteKeyAsync("a", default));
        Assert.False(await Keys.TryReplaceKeyAsync(New("a", 1), default));
        Same([New("b", 2)], await Keys.ListKeysAsync(default));
    }

    internal static StoredKey New(string id, int second) =>
        new(id, $"name of {id}", "reader", null, Start.AddSeconds(second), new byte[] { 1, 2, (byte)second }, new byte[] { 3, 4, (byte)second });

    protected static void Same(StoredKey[] expected, IReadOnlyList<StoredKey> actual)
    {
        Assert.Equal(expected.Select(key => key with { Salt = default, Hash = default }), actual.Select(key => key with { Salt = default, Hash = default }));
        Assert.Equal(expected.Select(key => key.Salt.ToArray()), actual.Select(key => key.Salt.ToArray()));
        Assert.Equal(expected.Select(key => key.Hash.ToArray()), actual.Select(key => key.Hash.ToArray()));
    }
}
