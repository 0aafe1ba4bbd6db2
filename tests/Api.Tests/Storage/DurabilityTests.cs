using BnService.Api.Tests.Expected;
using BnService.Api.Tests.Harness;

namespace BnService.Api.Tests.Storage;

/// <summary>The service with its file, killed at any moment: what it has answered is there again.</summary>
public sealed class DurabilityTests : IDisposable
{
    private const int Writers = 8;

    private readonly string _folder = Directory.CreateTempSubdirectory("bn-durability").FullName;

    // A writer of a session of its own, which trains with one and the same batch.
    private readonly Batch _x = Batch.Random(3, 16, 4);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Every_step_that_was_answered_is_counted_once_after_a_kill()
    {
        var rounds = Environment.GetEnvironmentVariable("BN_SOAK") is null ? 3 : 200;
        var random = new Random(11);
        var (answered, sent) = (new long[Writers], new long[Writers]);
        for (var round = 0; round <= rounds; round++)
        {
            using var service = await ServiceProcess.StartAsync(("Storage__Engine", "sqlite"), ("Storage__Path", Path.Combine(_folder, "bn.db")));
            for (var writer = 0; writer < Writers; writer++) await CheckAsync(service, writer, round, answered, sent);
            if (round == rounds) return;
            using var isKilled = new CancellationTokenSource();
            var writing = Enumerable.Range(0, Writers).Select(writer => WriteAsync(service, writer, answered, sent, isKilled.Token)).ToList();
            // A process that has just started has answered nothing that could be lost.
            var before = answered.Sum();
            await Eventually.TrueAsync(() => answered.Sum() >= before + (4 * Writers), "steps are not answered");
            await Task.Delay(random.Next(0, 100));
            service.Kill();
            await isKilled.CancelAsync();
            await Task.WhenAll(writing);
        }
    }

    // Every answered step is there, and of those in flight at most the last one; the statistics are those of so many steps.
    private async Task CheckAsync(ServiceProcess service, int writer, int round, long[] answered, long[] sent)
    {
        var session = new SessionClient(service.Client, $"w{writer}");
        if (round == 0)
        {
            (await service.Client.PostAsync("/v1/sessions", $$"""{"name":"w{{writer}}","num_features":4,"momentum":null}""")).Expect(201);
            return;
        }
        var stats = (await session.StatsAsync()).Expect(200);
        var tracked = stats["num_batches_tracked"].GetInt64();
        Assert.InRange(tracked, answered[writer], sent[writer]);
        Assert.Equal(tracked + 1, stats.Version);
        answered[writer] = sent[writer] = tracked;
        if (tracked == 0) return;
        // The cumulative average of equal batches is the batch.
        Accuracy.Doubles_are(stats["last_batch"].GetProperty("mean").EnumerateArray().Select(value => value.GetDouble()).ToArray(), stats.Numbers("running_mean"), "running_mean");
    }

    private async Task WriteAsync(ServiceProcess service, int writer, long[] answered, long[] sent, CancellationToken isKilled)
    {
        var session = new SessionClient(service.Client, $"w{writer}");
        while (!isKilled.IsCancellationRequested)
        {
            sent[writer]++;
            try
            {
                (await session.TrainAsync(_x)).Expect(200);
            }
            catch (Exception exception) when (exception is HttpRequestException or IOException)
            {
                return;
            }
            Interlocked.Increment(ref answered[writer]);
        }
    }
}
