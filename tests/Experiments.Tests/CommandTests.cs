using System.Globalization;
using BnService.Client;
using BnService.Experiments.Service;

// The console shows the progress of one program at a time.
[assembly: CollectionBehavior(DisableTestParallelization = true)]

namespace BnService.Experiments.Tests;

public sealed class CommandTests
{
    [Theory]
    [InlineData("--only", "nothing")]
    [InlineData("--only")]
    [InlineData("--seeds", "one")]
    [InlineData("--seeds", "1,1")]
    [InlineData("--seeds", "-1")]
    [InlineData("--service", "here")]
    [InlineData("--faster")]
    public async Task Wrong_arguments_end_the_program_before_it_begins(params string[] arguments) =>
        Assert.Equal(2, await ExperimentsCommand.RunAsync(arguments));

    [Fact]
    public void Options_are_what_was_asked_for()
    {
        Assert.True(CommandOptions.TryParse(["--only", "grid,ranks", "--seeds", "7,8", "--service", "http://localhost:5000", "--key", "k", "--output", "o", "--check"],
            ["grid", "ranks"], out var options, out _));
        Assert.Equal(["grid", "ranks"], options.Only);
        Assert.Equal([7, 8], options.Seeds);
        Assert.Equal((new Uri("http://localhost:5000"), "k", "o", false, true), (options.Service, options.Key, options.Output, options.IsBrief, options.IsCheck));
    }

    [Fact]
    public async Task Layers_run_on_the_service_that_is_named_and_leave_no_sessions_there()
    {
        using var service = await ServiceProcess.StartAsync(CancellationToken.None);
        using var folder = new TemporaryFolder();
        Assert.Equal(0, await ExperimentsCommand.RunAsync(["--service", service.Address.ToString(), "--only", "ranks", "--brief", "--seeds", "1", "--output", folder.Path]));

        var client = new BnClient(service.Address);
        await foreach (var session in client.ListSessionsAsync()) Assert.Fail($"session {session.Name} is left");
        using var http = new HttpClient { BaseAddress = service.Address };
        var metrics = await http.GetStringAsync(new Uri("/metrics", UriKind.Relative));
        // 20 steps of a network of two layers: by one worker, by four together, by four apart.
        Assert.Equal(20 * 2 * (1 + 4 + 4), TrainSteps(metrics));
    }

    private static double TrainSteps(string metrics) => metrics.Split('\n')
        .Where(line => line.StartsWith("bnservice_http_requests_total{", StringComparison.Ordinal) && line.Contains("/train-step\"", StringComparison.Ordinal))
        .Sum(line => double.Parse(line[(line.LastIndexOf(' ') + 1)..], CultureInfo.InvariantCulture));
}
