using System.Xml.Linq;
using BnService.Experiments.Experiments;

namespace BnService.Experiments.Tests;

/// <summary>
/// Each experiment with a few steps, against a service that it starts itself; with BN_SOAK in the environment whole, with three seeds,
/// and then what must hold has to.
/// </summary>
public sealed class ExperimentsTests
{
    private static readonly bool IsWhole = Environment.GetEnvironmentVariable("BN_SOAK") is not null;

    public static TheoryData<string> Names => [.. ExperimentsCommand.All.Select(experiment => experiment.Name)];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task An_experiment_writes_its_page_its_plot_and_the_summary(string name)
    {
        using var folder = new TemporaryFolder();
        string[] size = IsWhole ? ["--check"] : ["--brief", "--seeds", "1,2"];
        Assert.Equal(0, await ExperimentsCommand.RunAsync(["--only", name, "--output", folder.Path, .. size]));

        var experiment = ExperimentsCommand.All.Single(experiment => experiment.Name == name);
        var page = await File.ReadAllTextAsync(Path.Combine(folder.Path, $"{name}.md"));
        Assert.Contains(experiment.Claim, page, StringComparison.Ordinal);
        Assert.Contains("\n| --- |", page, StringComparison.Ordinal);
        Assert.DoesNotContain("NaN", page, StringComparison.Ordinal);
        var plot = XDocument.Load(Path.Combine(folder.Path, $"{name}.svg"));
        Assert.True(plot.Descendants().Count(element => element.Name.LocalName is "polyline" or "rect" or "circle") > 3, "the plot is empty");
        Assert.DoesNotContain("NaN", plot.ToString(), StringComparison.Ordinal);
        var summary = await File.ReadAllTextAsync(Path.Combine(folder.Path, "README.md"));
        Assert.Contains($"[{experiment.Title}]({name}.md)", summary, StringComparison.Ordinal);
        Assert.Equal(!IsWhole, summary.Contains("brief run", StringComparison.Ordinal));
    }

    [Fact]
    public async Task The_same_seeds_give_the_same_numbers()
    {
        using var folder = new TemporaryFolder();
        async Task<string> PageAsync(string seed)
        {
            Assert.Equal(0, await ExperimentsCommand.RunAsync(["--only", "folding", "--brief", "--seeds", seed, "--output", folder.Path]));
            return await File.ReadAllTextAsync(Path.Combine(folder.Path, "folding.svg"));
        }
        var first = await PageAsync("1");
        Assert.Equal(first, await PageAsync("1"));
        Assert.NotEqual(first, await PageAsync("2"));
    }

    [Fact]
    public async Task What_does_not_hold_is_told_by_the_exit_code_where_that_is_asked_for()
    {
        using var folder = new TemporaryFolder();
        // With a single look, nobody is as accurate in less than half the steps.
        string[] arguments = ["--only", "fewer-steps", "--brief", "--seeds", "1", "--output", folder.Path];
        Assert.Equal(0, await ExperimentsCommand.RunAsync(arguments));
        Assert.Equal(1, await ExperimentsCommand.RunAsync([.. arguments, "--check"]));
        Assert.Contains("**does not hold**", await File.ReadAllTextAsync(Path.Combine(folder.Path, "fewer-steps.md")), StringComparison.Ordinal);
    }

    [Fact]
    public void The_names_of_experiments_are_their_own() =>
        Assert.Equal(ExperimentsCommand.All.Count, ExperimentsCommand.All.Select(experiment => experiment.Name).Distinct().Count());

    [Fact]
    public void A_trial_tells_when_an_accuracy_was_first_reached()
    {
        var trial = new Trial([(20, 0.3), (40, 0.8), (60, 0.7), (80, 0.8)], 0.5, IsDiverged: false);
        Assert.Equal(40, trial.StepsTo(0.75));
        Assert.Null(trial.StepsTo(0.81));
        Assert.Equal((40, 0.8), trial.Best);
        Assert.Equal(0.8, trial.Final);
        Assert.Equal(0, (trial with { IsDiverged = true }).Final);
    }
}
