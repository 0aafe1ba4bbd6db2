using System.Globalization;
using System.Runtime.InteropServices;
using BnService.Client;
using BnService.Experiments.Data;
using BnService.Experiments.Experiments;
using BnService.Experiments.Output;
using BnService.Experiments.Service;
using Spectre.Console;

namespace BnService.Experiments;

/// <summary>The program: runs the experiments against a service, shows how far they are, and writes tables, plots and the summary.</summary>
public static class ExperimentsCommand
{
    /// <summary>The experiments, in the order of the report.</summary>
    public static IReadOnlyList<IExperiment> All { get; } =
    [
        new FewerSteps(), new TrainableSettings(), new NotCovariateShift(), new SmallBatches(), new FewClasses(), new PopulationEstimates(),
        new ScaleInvariance(), new FoldedNetworks(), new Ranks(),
    ];

    /// <summary>Runs the program; 0 where all has been done, 1 where a gate does not hold and <c>--check</c> asks for them, 2 for wrong arguments.</summary>
    public static async Task<int> RunAsync(string[] arguments)
    {
        if (!CommandOptions.TryParse(arguments, All.Select(experiment => experiment.Name).ToList(), out var options, out var mistake))
        {
            AnsiConsole.WriteLine(mistake);
            return mistake == CommandOptions.Usage ? 0 : 2;
        }
        using var stop = new CancellationTokenSource();
        // Whoever stops the program stops the service that it has started, too.
        void Stop(PosixSignalContext signal)
        {
            signal.Cancel = true;
            stop.Cancel();
        }
        using var interrupted = PosixSignalRegistration.Create(PosixSignal.SIGINT, Stop);
        using var terminated = PosixSignalRegistration.Create(PosixSignal.SIGTERM, Stop);
        try
        {
            using var own = options.Service is null ? await ServiceProcess.StartAsync(stop.Token) : null;
            var client = new BnClient(own?.Address ?? options.Service!, options.Key);
            var (training, heldOut) = Digits.Read(Path.Combine(AppContext.BaseDirectory, "digits.csv"));
            var report = new Report(options);
            var progress = AnsiConsole.Progress().Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new ElapsedTimeColumn());
            var doGatesHold = await progress.StartAsync(async display =>
            {
                var chosen = All.Where(experiment => options.Only.Count == 0 || options.Only.Contains(experiment.Name)).ToList();
                var bars = chosen.Select(experiment => display.AddTask(experiment.Name, autoStart: false, maxValue: 1)).ToList();
                var holds = true;
                foreach (var (experiment, bar) in chosen.Zip(bars))
                {
                    bar.StartTask();
                    var laboratory = new Laboratory(client, training, heldOut, options.Seeds, options.IsBrief, new Shown(bar), stop.Token);
                    var outcome = await experiment.RunAsync(laboratory);
                    (bar.Value, holds) = (1, holds && outcome.Gates.All(gate => gate.Holds));
                    bar.StopTask();
                    await report.AddAsync(experiment, outcome, bar.ElapsedTime ?? TimeSpan.Zero);
                }
                return holds;
            });
            await report.WriteSummaryAsync();
            report.Show();
            return options.IsCheck && !doGatesHold ? 1 : 0;
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            AnsiConsole.WriteLine("stopped");
            return 130;
        }
        catch (Exception exception) when (exception is BnServiceException or ArgumentException or IOException or InvalidOperationException or UnauthorizedAccessException)
        {
            AnsiConsole.WriteLine(string.Create(CultureInfo.InvariantCulture, $"failed: {exception.Message}"));
            return 3;
        }
    }

    private sealed class Shown(ProgressTask bar) : IProgress<double>
    {
        public void Report(double value) => bar.Value = value;
    }
}
