using BnService.Api.Sessions;
using BnService.Api.Storage;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using Microsoft.Extensions.DependencyInjection;

namespace BnService.Api.Tests.Calibration;

/// <summary>The accumulator as session state: stored, and changed by many at once.</summary>
public sealed class AccumulatorTests
{
    [Fact]
    public async Task Clients_that_send_at_once_lose_nothing()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"num_features":2}""");
        await Task.WhenAll(Enumerable.Range(0, 2).Select(client => Task.Run(async () =>
        {
            for (var i = 0; i < 40; i++)
            {
                var (value, odd) = (i + (100 * client), i % 2 == 1);
                if (odd) (await session.MergeAsync($$"""{"moments":[{"count":1,"mean":[{{value}},{{-value}}],"m2":[0,0]}]}""")).Expect(200);
                else (await session.CalibrateAsync($$"""{"x":[[{{value}},{{-value}}]]}""")).Expect(200);
            }
        })));
        // 0 to 39 and 100 to 139: mean 69.5; Σ(i − 19.5)² = 5330 for each half, whose means lie 50 off.
        var committed = (await session.CommitAsync()).Expect(200);
        Assert.Equal((82, 80), (committed.Version, committed["num_batches_tracked"].GetInt64()));
        Accuracy.Doubles_are([69.5, -69.5], committed.Numbers("running_mean"), "mean");
        var variance = ((2 * 5330) + (80 * 2500)) / 79.0;
        Accuracy.Doubles_are([variance, variance], committed.Numbers("running_var"), "variance");
    }

    [Fact]
    public async Task A_batch_that_another_one_overtakes_is_added_to_what_that_one_has_left()
    {
        var store = new WatchedStore();
        using var service = Service.Replacing(services => services.AddSingleton<ISessionStore>(store));
        using var otherNode = Service.Replacing(services => services.AddSingleton<ISessionStore>(store));
        var session = await service.CreateAsync("""{"num_features":1}""");
        var elsewhere = new SessionClient(otherNode.Client, session.Name);
        store.BeforeNextUpdate = async () => (await elsewhere.MergeAsync("""{"moments":[{"count":3,"mean":[7],"m2":[8]}]}""")).Expect(200);
        var answer = (await session.CalibrateAsync("""{"x":[[1],[3]]}""")).Expect(200);
        Assert.Equal((3, 2, 5), (answer.Version, answer["batches"].GetInt64(), answer["count"].GetInt64()));
        Accuracy.Doubles_are([10], answer.Numbers("var"), "variance");
        store.BeforeNextUpdate = async () => (await elsewhere.DropCalibrationAsync()).Expect(204);
        (await session.CommitAsync()).ExpectProblem("no-running-statistics");
    }

    [Fact]
    public void What_is_stored_is_what_is_read_again()
    {
        var layer = LayerState.Create(new NormalizerOptions { NumFeatures = 2 })
            .Advance(new Moments(4, [1, 2], [1e-17, -1e-17], [3, 4]))
            .WithRunningStatistics([5, 6], [7, 8], null)
            .Accumulate(new PopulationEstimate(new Moments(9, [0.1, 0.2], [1e-18, 2e-18], [0.3, 0.4]), 3));
        var now = DateTimeOffset.UnixEpoch;
        var read = SessionEncoding.Decode(SessionEncoding.Encode(new SessionRecord("id", "name", new Dictionary<string, string>(), now, now, layer))).Layer;
        Same(layer.Seen!, read.Seen!);
        Same(layer.Population!.Moments, read.Population!.Moments);
        Assert.Equal((1, 3, true), (read.SeenBatches, read.Population.Batches, read.Running!.AreGiven));
        Assert.Equal(layer.Running!.Mean, read.Running.Mean);

        var empty = LayerState.Create(new NormalizerOptions { NumFeatures = 2 });
        var reread = SessionEncoding.Decode(SessionEncoding.Encode(new SessionRecord("id", "name", new Dictionary<string, string>(), now, now, empty))).Layer;
        Assert.Null(reread.Seen);
        Assert.Null(reread.Population);
        Assert.False(reread.Running!.AreGiven);
    }

    [Fact]
    public void What_is_gathered_counts_as_memory_of_the_session()
    {
        var layer = LayerState.Create(new NormalizerOptions { NumFeatures = 100 });
        var zeros = new double[100];
        var gathered = layer.Accumulate(new PopulationEstimate(new Moments(9, zeros, zeros, zeros), 3));
        Assert.Equal(3 * 100 * sizeof(double), Bytes(gathered) - Bytes(layer));
        Assert.Equal((3 + 2) * 100 * sizeof(double), Bytes(layer.Advance(new Moments(9, zeros, zeros, zeros))) - Bytes(layer));

        static long Bytes(LayerState layer) =>
            new SessionRecord("id", "name", new Dictionary<string, string>(), default, default, layer).ResidentBytes;
    }

    private static void Same(Moments expected, Moments actual)
    {
        Assert.Equal(expected.Count, actual.Count);
        Assert.Equal(expected.Mean, actual.Mean);
        Assert.Equal(expected.MeanResidual, actual.MeanResidual);
        Assert.Equal(expected.M2, actual.M2);
    }
}
