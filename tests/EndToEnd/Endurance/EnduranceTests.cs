using System.Diagnostics;
using System.Globalization;

namespace BnService.EndToEnd.Endurance;

/// <summary>
/// A service with its file, with keys, limits and little memory, under everything at once: mixed traffic, large batches, bad input, clients
/// that break off. Ten minutes in the long form. Every answer is one that is meant, memory stays what it is, nothing stays rented, and
/// what the service has counted is what its clients have.
/// </summary>
public sealed class EnduranceTests : IDisposable
{
    private const int Clients = 6;

    private static readonly TimeSpan Time = TimeSpan.FromSeconds(Soak.Of(20, 600)), SampleEvery = TimeSpan.FromSeconds(Soak.Of(1, 4) / 2.0);

    private readonly string _folder = Directory.CreateTempSubdirectory("bn-endurance").FullName;
    private readonly Tally _tally = new();
    private readonly MemoryRecord _memory = new();
    private readonly Stopwatch _clock = new();
    private volatile bool _hasFailed;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Everything_at_once_for_a_long_time_leaves_nothing_behind()
    {
        using var service = await ServiceProcess.StartAsync(("Storage__Path", Path.Combine(_folder, "bn.db")), ("Node__Name", "node"),
            ("Memory__BudgetBytes", $"{48 << 20}"), ("Memory__WaitTime", "00:00:00.050"), ("Retention__TimeToLive", "00:00:02"), ("Sync__Timeout", "00:00:03"),
            ("Limits__RequestsPerSecond", "100"), ("Limits__MinRateGrace", "00:00:02"), ("Limits__MaxBodyBytes", $"{32 << 20}"),
            ("Serilog__MinimumLevel__Override__BnService.Request", "Warning"));
        var admin = await KeyedService.CreateAsync(service.Client, "admin", null, null);
        _tally.Answered(Call.CreateKey, 201);
        using var callers = new Callers(service.Address, admin, "c0", _tally);
        var training = await Task.WhenAll(Enumerable.Range(0, Clients).Select(async i => new TrainingClient(await callers.CreateAsync("trainer", $"c{i}"), $"c{i}", i)));
        FaultyClient[] faulty = [new(await callers.CreateAsync("trainer"), "torn", 1), new(await callers.CreateAsync("trainer"), "broken", 2)];
        var large = new LargeClient(await callers.CreateAsync("trainer"), "large");
        var observer = await callers.CreateAsync("reader");
        await Task.WhenAll([.. training.Select(client => client.CreateAsync()), .. faulty.Select(client => client.CreateAsync()), large.CreateAsync()]);
        var before = Rented(await ScrapeAsync(observer));

        _clock.Start();
        await Task.WhenAll(
        [
            .. training.Select(client => RunAsync(client.RunAsync)), .. faulty.Select(client => RunAsync(client.RunAsync)),
            RunAsync(large.RunAsync), RunAsync(callers.RunAsync), RunAsync(isOver => SampleAsync(observer, isOver)),
        ]);
        await Task.WhenAll(training.Select(client => client.EndAsync()));

        await SettleAsync(observer, page => _tally.Misfits(page));
        await SettleAsync(observer, page => LeftBehind(page, before));
        await large.CheckRoomAsync();
        foreach (var status in (int[])[200, 201, 204, 400, 401, 403, 404, 405, 406, 408, 409, 410, 412, 413, 415, 422, 429, 503, 504])
            Assert.True(_tally.Statuses.ContainsKey(status), $"nothing was answered {status}");
        var flat = _memory.RequireFlat(0.25, Soak.IsAskedFor ? 16 << 20 : 96 << 20);
        await StopAsync(service, training);
        Soak.Report(string.Create(CultureInfo.InvariantCulture,
            $"{Time.TotalSeconds:F0} s of everything at once: {_tally.Answers} answers ({string.Join(", ", _tally.Statuses.Select(status => $"{status.Value} of {status.Key}"))}), {_tally.Unanswered} abandoned; counters as the clients', 0 buffers left; {flat}"));
    }

    private bool IsOver() => _hasFailed || _clock.Elapsed >= Time;

    // The first that fails ends it for all.
    private async Task RunAsync(Func<Func<bool>, Task> run)
    {
        try
        {
            await Task.Run(() => run(IsOver));
        }
        catch
        {
            _hasFailed = true;
            throw;
        }
    }

    private async Task SampleAsync(Client observer, Func<bool> isOver)
    {
        while (!isOver())
        {
            _memory.Add(await ScrapeAsync(observer));
            await Task.Delay(SampleEvery);
        }
    }

    private static async Task<Exposition> ScrapeAsync(Client observer) => Exposition.Parse((await observer.SendAsync(Call.Metrics, "/metrics", 200)).Text);

    // A request is counted a moment after its answer, and what was retained is dropped in a moment: asks until all is as it should be, or long enough.
    private static async Task SettleAsync(Client observer, Func<Exposition, List<string>> misfits)
    {
        for (var attempt = 0; ; attempt++)
        {
            // The page does not count its own request yet.
            var page = Exposition.Parse((await observer.SendAsync(Call.Metrics, "/metrics", 200)).Text);
            observer.Tally.Unread(Call.Metrics, 200);
            var left = misfits(page);
            observer.Tally.Answered(Call.Metrics, 200);
            if (left.Count == 0) return;
            Assert.True(attempt < 200, string.Join('\n', left));
            await Task.Delay(100);
        }
    }

    private static double Rented(Exposition page) => page.Value("bnservice_tensor_memory_bytes", ("state", "rented"));

    private static List<string> LeftBehind(Exposition page, double rentedBefore)
    {
        (string Name, double Expected, double Value)[] figures =
        [
            ("rented tensor memory", rentedBefore, Rented(page)), ("retained steps", 0, page.Value("bnservice_retained_steps")),
            ("retained memory", 0, page.Value("bnservice_retained_memory_bytes")), ("requests that are being answered", 1, page.Value("bnservice_http_requests_active")),
            ("sessions", Clients + 3, page.Value("bnservice_sessions")), ("calls that wait for ranks", 0, page.Value("bnservice_sync_waiting")),
            ("changes that wait", 0, page.Value("bnservice_commits_waiting")),
        ];
        return [.. figures.Where(figure => figure.Value != figure.Expected).Select(figure => $"{figure.Name}: {figure.Value}, not {figure.Expected}")];
    }

    // As every rollout does: while it is busy.
    private static async Task StopAsync(ServiceProcess service, TrainingClient[] training)
    {
        var isStopped = false;
        var running = training.Select(async client =>
        {
            try
            {
                await client.RunAsync(() => isStopped);
            }
            catch (HttpRequestException)
            {
                // It is gone.
            }
        }).ToList();
        await Task.Delay(200);
        service.Terminate();
        Assert.Equal(0, await service.ExitAsync());
        isStopped = true;
        await Task.WhenAll(running);
    }
}
