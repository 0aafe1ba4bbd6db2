using System.Globalization;

namespace BnService.Client.Tests;

/// <summary>A service of its own process that is killed in the midst of training and started again: the client goes on as if nothing had been.</summary>
public sealed class KilledServiceTests : IDisposable
{
    private const int StepsBetween = 12, Features = 13;

    private static readonly int Kills = Soak.Of(2, 20);

    private readonly string _folder = Directory.CreateTempSubdirectory("bn-client").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("step")]
    [InlineData("interval")]
    public async Task Final_statistics_and_parameters_are_those_of_the_uninterrupted_run_to_the_last_bit(string durability)
    {
        var wines = Repository.Wines();
        var port = Loopback.FreePort().ToString(CultureInfo.InvariantCulture);
        var service = await StartAsync(port, durability);
        try
        {
            var options = new BnClientOptions { Address = service.Address, MaxRetries = 1000, RetryTime = TimeSpan.FromMinutes(5), MaxDelay = TimeSpan.FromMilliseconds(200) };
            var client = new BnClient(options);
            var layer = await client.CreateSessionAsync("killed", new BatchNormOptions { NumFeatures = Features });
            var (made, last) = (0, int.MaxValue);
            var training = TrainAsync(layer, wines, step => step < Volatile.Read(ref last), () => Interlocked.Increment(ref made));
            var random = new Random(5);
            for (var kill = 1; kill <= Kills; kill++)
            {
                var enough = Volatile.Read(ref made) + random.Next(1, StepsBetween);
                await Eventually.TrueAsync(() => Volatile.Read(ref made) >= enough || training.IsCompleted, "nothing is trained");
                await Task.Delay(random.Next(0, 10));
                Assert.False(training.IsCompleted, training.Exception?.ToString());
                service.Kill();
                service.Dispose();
                service = await StartAsync(port, durability);
            }
            Volatile.Write(ref last, Volatile.Read(ref made) + StepsBetween);
            await training;
            var final = await layer.ExportStateAsync();

            using var undisturbed = new Service();
            var other = await new BnClient(undisturbed.NewHttp()).CreateSessionAsync("undisturbed", new BatchNormOptions { NumFeatures = Features });
            await TrainAsync(other, wines, step => step < made, () => { });
            Assert.Equal(await other.ExportStateAsync(), final);
            var stats = await other.StatsAsync();
            Assert.Equal((made, 1 + (2 * made)), (stats.NumBatchesTracked, stats.Version));
        }
        finally
        {
            service.Dispose();
        }
    }

    // Each step is followed by its backward with an update, of which the next gradients depend on nothing that could differ: dy is given.
    private static async Task TrainAsync(LayerSession layer, Batch wines, Func<int, bool> goesOn, Action stepped)
    {
        for (var i = 0; goesOn(i); i++)
        {
            var x = wines.Rows(i * 3 % 100, 40 + (i % 20));
            using var step = await layer.TrainStepAsync(x.Data, x.Shape);
            Assert.Equal(i + 1, step.NumBatchesTracked);
            using var gradients = await layer.BackwardAsync(step, Batch.Random(i, x.Shape).Data, new BackwardOptions { Update = ParameterUpdate.Adam(0.01) });
            Assert.Equal((2 * i) + 3, gradients.Version);
            stepped();
        }
    }

    private Task<ServiceProcess> StartAsync(string port, string durability) => ServiceProcess.StartAsync(
        ("ASPNETCORE_HTTP_PORTS", port), ("Storage__Path", Path.Combine(_folder, "bn.db")), ("Storage__Durability", durability));
}
