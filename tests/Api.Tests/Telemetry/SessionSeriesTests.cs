using BnService.Api.Hosting.Telemetry;

namespace BnService.Api.Tests.Telemetry;

/// <summary>Series of sessions: of a few of them, and nothing is lost of the others.</summary>
public sealed class SessionSeriesTests
{
    private const string Steps = "bnservice_session_train_steps_total";
    private static readonly Batch X = Traffic.X;

    [Fact]
    public async Task Only_the_sessions_used_most_recently_have_series_and_the_others_are_one_more()
    {
        using var service = Service.With(("Telemetry:SessionSeries", "2"));
        var sessions = new List<SessionClient>();
        for (var i = 0; i < 5; i++)
        {
            sessions.Add(await service.CreateAsync($$"""{"name":"s{{i}}","num_features":2}"""));
            for (var step = 0; step <= i; step++) (await sessions[i].TrainAsync(X)).Expect(200);
            (await new ModelClient(service.Client, sessions[i]).InferAsync(ModelClient.Request(ModelClient.Input(X)))).Expect(200);
        }
        var page = await Exposition.OfAsync(service);
        Assert.Equal(["_other", "s3", "s4"], page.Values(Steps, "session"));
        Assert.Equal(["_other", "s3", "s4"], page.Values("nv_inference_count", "model"));
        Assert.Equal(1 + 2 + 3, page.Value(Steps, ("session", "_other")));
        Assert.Equal(3 * 16, page.Value("nv_inference_count", ("model", "_other")));
        // s0 comes forward and s3 goes back: what was counted stays where it was counted, and what is new is counted once.
        (await sessions[0].TrainAsync(X)).Expect(200);
        page = await Exposition.OfAsync(service);
        Assert.Equal(["_other", "s0", "s4"], page.Values(Steps, "session"));
        Assert.Equal(5 * (5 + 1) / 2 + 1, page.Value(Steps));
        Assert.Equal(1, page.Value(Steps, ("session", "s0")));
        Assert.Equal(1 + 2 + 3 + 4, page.Value(Steps, ("session", "_other")));
    }

    [Fact]
    public async Task A_limit_of_nothing_leaves_the_sum_alone()
    {
        using var service = Service.With(("Telemetry:SessionSeries", "0"));
        var session = await service.CreateAsync("""{"name":"one","num_features":2}""");
        (await session.TrainAsync(X)).Expect(200);
        var page = await Exposition.OfAsync(service);
        Assert.Equal(["_other"], page.Values(Steps, "session"));
        Assert.Empty(page.Families["bnservice_session_batches_tracked"].Samples);
    }

    [Fact]
    public async Task A_session_that_is_deleted_has_no_series_but_its_steps_are_counted()
    {
        using var service = new Service();
        var (kept, deleted) = (await service.CreateAsync("""{"name":"kept","num_features":2}"""), await service.CreateAsync("""{"name":"deleted","num_features":2}"""));
        (await kept.TrainAsync(X)).Expect(200);
        (await deleted.TrainAsync(X)).Expect(200);
        Assert.Equal(["deleted", "kept"], (await Exposition.OfAsync(service)).Values(Steps, "session"));
        (await deleted.DeleteAsync()).Expect(204);
        var page = await Exposition.OfAsync(service);
        Assert.Equal(["_other", "kept"], page.Values(Steps, "session"));
        Assert.Equal(2, page.Value(Steps));
    }

    [Fact]
    public async Task Drift_is_that_of_diagnostics()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"name":"drifting","num_features":2}""");
        (await session.TrainAsync(X)).Expect(200);
        (await session.InferAsync(Batch.Random(7, 64, 2))).Expect(200);
        var (page, history) = (await Exposition.OfAsync(service), await session.HistoryAsync());
        var drift = history["steps"][0].GetProperty("drift");
        Assert.Equal(drift.GetProperty("kl_divergence").GetDouble(), page.Value("bnservice_session_drift_nats", ("session", "drifting"), ("traffic", "train")), 1e-12);
        Assert.Equal(drift.GetProperty("p_value").GetDouble(), page.Value("bnservice_session_drift_p_value", ("session", "drifting"), ("traffic", "train")), 1e-12);
        Assert.True(page.Value("bnservice_session_drift_nats", ("session", "drifting"), ("traffic", "inference")) > 0);
    }

    /// <summary>Counters that come and go in any order, against a sum that only grows.</summary>
    [Fact]
    public void Whatever_is_listed_the_sum_is_that_of_all_and_nothing_listed_goes_back()
    {
        var (random, series) = (new Random(1), new OtherSeries(1));
        var all = Enumerable.Range(0, 8).Select(_ => (Key: new object(), Counter: new long[1])).ToList();
        var (total, others, before) = (0L, 0L, new Dictionary<object, long>());
        for (var round = 0; round < 500; round++)
        {
            // Gone, and another one in its place.
            if (random.Next(10) == 0) all[random.Next(all.Count)] = (new object(), new long[1]);
            foreach (var (_, counter) in all.Where(_ => random.Next(2) == 0))
            {
                counter[0]++;
                total++;
            }
            var listed = new Dictionary<object, long>();
            foreach (var (key, counter) in all)
            {
                if (random.Next(3) == 0) listed[key] = series.List(key, counter)[0];
                else series.Leave(key, counter);
            }
            series.End();
            Assert.Equal(total, series.Others[0] + listed.Values.Sum());
            Assert.True(series.Others[0] >= others);
            foreach (var (key, value) in listed) Assert.True(value >= before.GetValueOrDefault(key));
            (others, before) = (series.Others[0], listed);
        }
    }
}
