using System.Globalization;
using System.Runtime.InteropServices;
using BnService.Experiments.Experiments;
using Spectre.Console;

namespace BnService.Experiments.Output;

/// <summary>What is written: a page and a plot per experiment, and a summary of all.</summary>
public sealed class Report(CommandOptions options)
{
    private readonly List<(IExperiment Experiment, Outcome Outcome, TimeSpan Took)> _outcomes = [];

    /// <summary>Writes the page and the plot of an experiment.</summary>
    public async Task AddAsync(IExperiment experiment, Outcome outcome, TimeSpan took)
    {
        _outcomes.Add((experiment, outcome, took));
        Directory.CreateDirectory(options.Output);
        await File.WriteAllTextAsync(PathOf($"{experiment.Name}.svg"), outcome.Plot);
        var gates = outcome.Gates.Select(gate => $"- {(gate.Holds ? "holds" : "**does not hold**")}: {gate.Requirement}. {gate.Seen}.");
        await File.WriteAllTextAsync(PathOf($"{experiment.Name}.md"),
            $"""
            # {experiment.Title}

            **Claim.** {experiment.Claim}.

            **The paper's figure.** {experiment.Paper}.

            **Ours.** {outcome.Ours}.

            ![{experiment.Title}]({experiment.Name}.svg)

            **How.** {experiment.Method}

            {string.Join("\n\n", outcome.Tables)}

            **What must hold.**

            {string.Join('\n', gates)}

            """);
    }

    /// <summary>Writes the summary, with the machine, the date and the command.</summary>
    public Task WriteSummaryAsync()
    {
        var rows = _outcomes.Select(row => (string[])[$"[{row.Experiment.Title}]({row.Experiment.Name}.md)", row.Experiment.Claim, row.Experiment.Paper, row.Outcome.Ours,
            row.Outcome.Gates.All(gate => gate.Holds) ? "yes" : "**no**", string.Create(CultureInfo.InvariantCulture, $"{row.Took.TotalSeconds:0} s")]);
        return File.WriteAllTextAsync(PathOf("README.md"),
            $"""
            # The field's famous results, on this service

            Small networks on 8×8 digits; every normalization layer of each of them, forward and backward, runs on the service, through its C# client. The rest of the
            arithmetic is in [the sample](../../samples/Experiments). Thin lines and dots are seeds, thick lines and bars their mean. Written by the program: do not edit.
            {(options.IsBrief ? "\n**This was a brief run of a few steps: its numbers mean nothing.**\n" : "")}
            ```sh
            {Command()}
            ```

            {DateTime.UtcNow.ToString("yyyy-MM-dd", CultureInfo.InvariantCulture)}, {Machine()}, seeds {string.Join(", ", options.Seeds)}.

            {Tables.Markdown(["experiment", "claim", "the paper's figure", "ours", "holds", "took"], rows)}

            """);
    }

    /// <summary>Shows the outcomes on the console.</summary>
    public void Show()
    {
        var table = new Table().AddColumns("experiment", "what must hold", "seen", "holds");
        foreach (var (experiment, outcome, _) in _outcomes)
            foreach (var gate in outcome.Gates)
                table.AddRow(Markup.Escape(experiment.Name), Markup.Escape(gate.Requirement), Markup.Escape(gate.Seen), gate.Holds ? "yes" : "[red]no[/]");
        AnsiConsole.Write(table);
        AnsiConsole.WriteLine($"tables and plots: {options.Output}");
    }

    private string Command()
    {
        var only = options.Only.Count == 0 ? "" : $" --only {string.Join(',', options.Only)}";
        return $"dotnet run --project samples/Experiments -c Release -- --seeds {string.Join(',', options.Seeds)}{only}{(options.IsBrief ? " --brief" : "")}";
    }

    private static string Machine() => $"{Processor()}, {Environment.ProcessorCount} cores, {RuntimeInformation.FrameworkDescription}";

    private static string Processor() => File.Exists("/proc/cpuinfo")
        && File.ReadLines("/proc/cpuinfo").FirstOrDefault(line => line.StartsWith("model name", StringComparison.Ordinal)) is { } line
            ? line[(line.IndexOf(':') + 1)..].Trim()
            : RuntimeInformation.ProcessArchitecture.ToString();

    private string PathOf(string file) => Path.Combine(options.Output, file);
}
