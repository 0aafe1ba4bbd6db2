using BnService.Api.Storage;

namespace BnService.Harness;

/// <summary>What a meeting place of ranks must do, wherever it is.</summary>
public abstract class ContributionsContract
{
    internal abstract IContributions Contributions { get; }

    [Fact]
    public async Task Whoever_contributes_sees_all_that_have_by_their_ranks()
    {
        Assert.Empty(await Contributions.FindAsync("a", "step", 5, default));
        Same([Of(2)], await Contributions.AddAsync("a", "step", 5, Of(2), default));
        Same([Of(0), Of(2)], await Contributions.AddAsync("a", "step", 5, Of(0), default));
        Same([Of(0), Of(2)], await Contributions.FindAsync("a", "step", 5, default));
    }

    [Fact]
    public async Task What_a_rank_has_contributed_stays_until_it_is_taken_back()
    {
        var first = Of(1) with { Nonce = "first" };
        await Contributions.AddAsync("a", "step", 5, first, default);
        Same([first], await Contributions.AddAsync("a", "step", 5, Of(1) with { Nonce = "second", WorldSize = 7, Content = new byte[] { 99 } }, default));
        await Contributions.RemoveAsync("a", "step", 5, 1, "second", default);
        await Contributions.RemoveAsync("a", "step", 5, 0, "first", default);
        Same([first], await Contributions.FindAsync("a", "step", 5, default));
        await Contributions.RemoveAsync("a", "step", 5, 1, "first", default);
        Assert.Empty(await Contributions.FindAsync("a", "step", 5, default));
        Same([Of(1)], await Contributions.AddAsync("a", "step", 5, Of(1), default));
    }

    [Fact]
    public async Task Sessions_topics_and_steps_are_apart()
    {
        await Contributions.AddAsync("a", "step", 5, Of(0), default);
        await Contributions.AddAsync("b", "step", 5, Of(1), default);
        await Contributions.AddAsync("a", "Step", 5, Of(2), default);
        await Contributions.AddAsync("a", "step", 6, Of(3), default);
        Same([Of(0)], await Contributions.FindAsync("a", "step", 5, default));
        Same([Of(1)], await Contributions.FindAsync("b", "step", 5, default));
        Same([Of(2)], await Contributions.FindAsync("a", "Step", 5, default));
        Same([Of(3)], await Contributions.FindAsync("a", "step", 6, default));
    }

    [Fact]
    public async Task A_step_that_is_over_is_forgotten_with_those_before_it()
    {
        foreach (var step in (long[])[4, 5, 6]) await Contributions.AddAsync("a", "step", step, Of(0), default);
        await Contributions.AddAsync("a", "other", 4, Of(1), default);
        await Contributions.AddAsync("b", "step", 4, Of(2), default);
        await Contributions.ForgetAsync("a", "step", 5, default);
        Assert.Empty(await Contributions.FindAsync("a", "step", 4, default));
        Assert.Empty(await Contributions.FindAsync("a", "step", 5, default));
        Same([Of(0)], await Contributions.FindAsync("a", "step", 6, default));
        Same([Of(1)], await Contributions.FindAsync("a", "other", 4, default));
        Same([Of(2)], await Contributions.FindAsync("b", "step", 4, default));
        await Contributions.ForgetAsync("nosuch", "step", 5, default);
    }

    [Fact]
    public async Task The_newest_step_that_somebody_waits_for_is_found()
    {
        Assert.Null(await Contributions.FindStepAsync("a", "step", default));
        foreach (var step in (long[])[9, 100, 20]) await Contributions.AddAsync("a", "step", step, Of(0), default);
        await Contributions.AddAsync("a", "other", 300, Of(0), default);
        Assert.Equal(100, await Contributions.FindStepAsync("a", "step", default));
        await Contributions.RemoveAsync("a", "step", 100, 0, "nonce0", default);
        Assert.Equal(20, await Contributions.FindStepAsync("a", "step", default));
        await Contributions.ForgetAsync("a", "step", 20, default);
        Assert.Null(await Contributions.FindStepAsync("a", "step", default));
    }

    [Fact]
    public async Task Of_ranks_that_contribute_at_the_same_time_the_last_sees_all()
    {
        for (var step = 1; step <= 20; step++)
        {
            var seen = await Task.WhenAll(Enumerable.Range(0, 4).Select(rank => Task.Run(() => Contributions.AddAsync("a", "step", step, Of(rank), default).AsTask())));
            Assert.Contains(seen, all => all.Count == 4);
        }
    }

    [Fact]
    public async Task It_is_known_how_long_each_has_been_there()
    {
        await Contributions.AddAsync("a", "step", 5, Of(0), default);
        await Task.Delay(300);
        var ages = (await Contributions.AddAsync("a", "step", 5, Of(1), default)).Select(one => one.Age.TotalSeconds).ToList();
        // However long it takes to ask for it.
        Assert.InRange(ages[0], 0.29, 60);
        Assert.InRange(ages[0] - ages[1], 0.2, 60);
        Assert.InRange(ages[1], 0, ages[0]);
        Assert.InRange((await Contributions.FindAsync("a", "step", 5, default))[0].Age.TotalSeconds, ages[0], 60);
    }

    private static StoredContribution Of(int rank) => new(rank, 4, $"nonce{rank}", new byte[] { 3, (byte)rank });

    private static void Same(StoredContribution[] expected, IReadOnlyList<StoredContribution> actual)
    {
        Assert.Equal(expected.Select(one => one with { Content = default, Age = default }), actual.Select(one => one with { Content = default, Age = default }));
        Assert.Equal(expected.Select(one => one.Content.ToArray()), actual.Select(one => one.Content.ToArray()));
    }
}
