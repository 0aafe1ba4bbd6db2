using System.Text.Json;

namespace BnService.Api.Tests.Diagnostics;

/// <summary>What a session and its traffic say of each other.</summary>
public sealed class DiagnosticsTests(Service service) : IClassFixture<Service>
{
    private static readonly Batch X = Batch.Random(1, 32, 3);

    [Fact]
    public async Task A_new_session_has_nothing_to_tell_but_that_it_has_not_settled()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        var answer = (await session.DiagnosticsAsync()).Expect(200);
        Assert.Equal(1, answer.Version);
        Assert.Equal(["not-settled"], Codes(answer["findings"]));
        Assert.Equal(JsonValueKind.Null, answer["batch_noise"].ValueKind);
        foreach (var field in (string[])["train", "inference", "inference_batch", "skew"])
            Assert.Equal(JsonValueKind.Null, answer["drift"].GetProperty(field).ValueKind);
        Assert.Equal(1, answer["convergence"].GetProperty("initial_weight").GetDouble());
        Assert.False(answer["convergence"].GetProperty("settled").GetBoolean());
    }

    [Fact]
    public async Task The_numbers_are_those_of_the_formulas()
    {
        var session = await SettledAsync();
        (await session.TrainAsync(Batch.Random(2, 16, 3))).Expect(200);
        var (answer, stats) = ((await session.DiagnosticsAsync()).Expect(200), await session.StatsAsync());
        var convergence = answer["convergence"];
        Assert.Equal(Math.Pow(0.8, 41), convergence.GetProperty("initial_weight").GetDouble(), 1e-12);
        Assert.Equal(1.8 / 0.2, convergence.GetProperty("effective_batches").GetDouble(), 1e-12);
        var sigma = Math.Sqrt(stats.Numbers("running_var").Max());
        Assert.Equal(sigma * Math.Sqrt(0.2 / 1.8) / 4, convergence.GetProperty("mean_noise").GetProperty("value").GetDouble(), 1e-12);
        Assert.Equal(sigma / 4, answer["batch_noise"].GetProperty("sd_of_mean").GetProperty("value").GetDouble(), 1e-12);
        Assert.Equal(Math.Sqrt(30) / 16, answer["batch_noise"].GetProperty("relative_sd_of_var").GetDouble(), 1e-12);
        Assert.Equal(16, answer["batch_noise"].GetProperty("count").GetInt64());
        Assert.True(JsonElement.DeepEquals(stats["diagnostics"].GetProperty("drift"), answer["drift"].GetProperty("train")));

        // The union of 40 times X and of the last batch, by the definition.
        var all = new Batch([(40 * 32) + 16, 3], [.. Enumerable.Repeat(X.Data, 40).SelectMany(data => data), .. Batch.Random(2, 16, 3).Data]);
        var (union, gap) = (new ReferenceLayer(3).StatisticsOf(all), convergence.GetProperty("gap"));
        var unbiased = union.Variance.Select(variance => variance * all.Shape[0] / (all.Shape[0] - 1)).ToArray();
        Assert.Equal((all.Shape[0], 41), (gap.GetProperty("count").GetInt64(), gap.GetProperty("batches").GetInt64()));
        Assert.Equal(Enumerable.Range(0, 3).Max(c => Math.Abs(stats.Numbers("running_mean")[c] - union.Mean[c]) / Math.Sqrt(unbiased[c])),
            gap.GetProperty("mean").GetProperty("value").GetDouble(), 1e-10);
        Assert.Equal(Enumerable.Range(0, 3).Max(c => Math.Abs(stats.Numbers("running_var")[c] - unbiased[c]) / unbiased[c]),
            gap.GetProperty("var").GetProperty("value").GetDouble(), 1e-10);
    }

    [Fact]
    public async Task A_train_batch_that_drifts_is_told_at_the_step_and_afterwards()
    {
        var session = await SettledAsync();
        Assert.Empty((await session.TrainAsync(X)).Expect(200)["warnings"].EnumerateArray());
        var step = (await session.TrainAsync(Shifted(X, 0, 30))).Expect(200);
        var warning = Assert.Single(step["warnings"].EnumerateArray());
        var finding = Finding(await session.DiagnosticsAsync(), "drift");
        Assert.True(JsonElement.DeepEquals(warning, finding));
        Assert.Equal([0], finding.GetProperty("channels").EnumerateArray().Select(channel => channel.GetInt32()));
        Assert.InRange(finding.GetProperty("numbers").GetProperty("p_value").GetDouble(), 0, 0.001);
        Assert.NotEmpty(finding.GetProperty("remedy").GetString()!);
    }

    [Fact]
    public async Task Inference_that_drifts_is_kept_apart_and_is_skew()
    {
        var session = await SettledAsync();
        var version = (await session.GetAsync()).Version;
        (await session.InferAsync(X)).Expect(200);
        Assert.Empty(Codes((await session.DiagnosticsAsync())["findings"]));
        (await session.InferAsync(Shifted(X, 2, 50))).Expect(200);
        var answer = (await session.DiagnosticsAsync()).Expect(200);
        Assert.Equal(["inference-drift", "train-serve-skew"], Codes(answer["findings"]));
        var drift = answer["drift"];
        var (train, inference) = (drift.GetProperty("train").GetProperty("kl_divergence").GetDouble(), drift.GetProperty("inference").GetProperty("kl_divergence").GetDouble());
        Assert.Equal(inference - train, drift.GetProperty("skew").GetProperty("kl_difference").GetDouble());
        Assert.Equal((2, 2), (drift.GetProperty("inference").GetProperty("channel").GetInt32(), drift.GetProperty("skew").GetProperty("largest").GetProperty("channel").GetInt32()));
        Assert.Equal(32, drift.GetProperty("inference_batch").GetProperty("count").GetInt64());
        // Against the definition.
        var (batch, stats) = (new ReferenceLayer(3).StatisticsOf(Shifted(X, 2, 50)), await session.StatsAsync());
        var (ratio, shift) = (batch.Variance[2] / stats.Numbers("running_var")[2], batch.Mean[2] - stats.Numbers("running_mean")[2]);
        var expected = 0.5 * (ratio - Math.Log(ratio) - 1 + (shift * shift / stats.Numbers("running_var")[2]));
        Assert.Equal(expected, inference, 1e-9 * expected);
        Assert.Equal(version, answer.Version);
    }

    [Theory]
    [InlineData(1.5f, 1, false)]
    [InlineData(1.5f, 32, true)]
    [InlineData(50, 1, true)]
    public async Task A_single_picture_drifts_only_where_it_is_far_off(float shift, int pictures, bool isDrifting)
    {
        var session = await service.CreateAsync("""{"num_features":2,"momentum":0.9}""");
        var maps = Batch.Random(11, 32, 2, 6, 6);
        for (var step = 0; step < 4; step++) (await session.TrainAsync(maps)).Expect(200);
        (await session.InferAsync(maps.Rows(0, pictures) with { Data = [.. maps.Rows(0, pictures).Data.Select(value => value + (shift * 1.5f))] })).Expect(200);
        var drift = (await session.DiagnosticsAsync()).Expect(200)["drift"].GetProperty("inference");
        Assert.True(drift.GetProperty("kl_divergence").GetDouble() >= 0.25 && drift.GetProperty("p_value").GetDouble() < 0.001);
        Assert.Equal(isDrifting, drift.GetProperty("drifting").GetBoolean());
    }

    [Fact]
    public async Task Inference_of_few_values_is_not_looked_at()
    {
        var session = await SettledAsync();
        (await session.InferAsync(Shifted(X, 0, 50).Rows(0, 7))).Expect(200);
        Assert.Equal(JsonValueKind.Null, (await session.DiagnosticsAsync())["drift"].GetProperty("inference").ValueKind);
        (await session.InferAsync(Shifted(X, 0, 50).Rows(0, 8))).Expect(200);
        Assert.Equal(8, (await session.DiagnosticsAsync())["drift"].GetProperty("inference_batch").GetProperty("count").GetInt64());
    }

    [Fact]
    public async Task A_refused_inference_is_not_looked_at()
    {
        var session = await service.CreateAsync("""{"num_features":3,"require_statistics":true}""");
        (await session.InferAsync(X)).ExpectProblem("no-running-statistics");
        Assert.Equal(JsonValueKind.Null, (await session.DiagnosticsAsync())["drift"].GetProperty("inference").ValueKind);
    }

    [Fact]
    public async Task Large_batches_are_looked_at_once_a_second_and_small_ones_always()
    {
        var time = new ManualTime();
        using var own = Service.At(time);
        var session = await own.CreateAsync("""{"num_features":2}""");
        var large = Batch.Random(3, 33000, 2);
        async Task<long> SeenAsync() => (await session.DiagnosticsAsync())["drift"].GetProperty("inference_batch").GetProperty("count").GetInt64();
        (await session.InferAsync(large)).Expect(200);
        Assert.Equal(33000, await SeenAsync());
        (await session.InferAsync(large.Rows(0, 32900))).Expect(200);
        Assert.Equal(33000, await SeenAsync());
        (await session.InferAsync(large.Rows(0, 20))).Expect(200);
        Assert.Equal(20, await SeenAsync());
        time.JumpBy(TimeSpan.FromSeconds(1));
        (await session.InferAsync(large.Rows(0, 32900))).Expect(200);
        Assert.Equal(32900, await SeenAsync());
    }

    [Fact]
    public async Task A_frozen_session_that_gets_other_data_says_so()
    {
        var session = await SettledAsync();
        (await session.PatchAsync("""{"mode":"frozen"}""")).Expect(200);
        Assert.Empty((await session.TrainAsync(X)).Expect(200)["warnings"].EnumerateArray());
        var step = (await session.TrainAsync(Shifted(X, 1, 30), retain: true)).Expect(200);
        Assert.Equal(["frozen-mean-mismatch"], Codes(step["warnings"]));
        var answer = (await session.DiagnosticsAsync()).Expect(200);
        Assert.Equal(["frozen-mean-mismatch"], Codes(answer["findings"]));
        Assert.Equal(step.Version, answer.Version);
    }

    [Fact]
    public async Task The_convention_doctor_sees_what_seldom_is_meant()
    {
        var session = await service.CreateAsync("""{"num_features":3,"momentum":0.99}""");
        (await session.PutParametersAsync("""{"gamma":[1,0,1]}""")).Expect(200);
        (await session.PutRunningStatsAsync("""{"running_mean":[0,0,0],"running_var":[1,1,0]}""")).Expect(200);
        var answer = (await session.DiagnosticsAsync()).Expect(200);
        Assert.Equal(["dead-channels", "momentum-convention", "zero-running-variance"], Codes(answer["findings"]));
        Assert.Equal(0.01, Finding(answer, "momentum-convention").GetProperty("numbers").GetProperty("suggested").GetDouble());
        Assert.False(Finding(answer, "momentum-convention").TryGetProperty("channels", out _));
    }

    [Fact]
    public async Task A_session_without_running_statistics_is_diagnosed_as_far_as_it_goes()
    {
        var session = await service.CreateAsync("""{"num_features":3,"track_running_stats":false}""");
        (await session.TrainAsync(X.Rows(0, 4))).Expect(200);
        (await session.InferAsync(X)).Expect(200);
        var answer = (await session.DiagnosticsAsync()).Expect(200);
        Assert.Equal(JsonValueKind.Null, answer["convergence"].ValueKind);
        Assert.Equal(["small-batch"], Codes(answer["findings"]));
        Assert.Equal(JsonValueKind.Null, Assert.Single((await session.HistoryAsync())["steps"].EnumerateArray()).GetProperty("drift").ValueKind);
    }

    /// <summary>An inference batch before the first train batch does not fix how many positions a sample has.</summary>
    [Fact]
    public async Task Per_activation_traffic_of_another_size_harms_nothing()
    {
        var session = await service.CreateAsync("""{"num_features":2,"granularity":"per_activation"}""");
        (await session.InferAsync(Batch.Random(1, 16, 2, 3))).Expect(200);
        (await session.DiagnosticsAsync()).Expect(200);
        (await session.TrainAsync(Batch.Random(1, 16, 2, 2))).Expect(200);
        Assert.Equal(JsonValueKind.Null, (await session.DiagnosticsAsync()).Expect(200)["drift"].GetProperty("inference").ValueKind);
        var frozen = await service.CreateAsync("""{"num_features":2,"granularity":"per_activation","mode":"frozen"}""");
        (await frozen.TrainAsync(Batch.Random(1, 16, 2, 3))).Expect(200);
        (await frozen.DiagnosticsAsync()).Expect(200);
        (await frozen.HistoryAsync()).Expect(200);
    }

    [Fact]
    public async Task Poisoned_statistics_are_answered_and_not_stumbled_over()
    {
        var session = await service.CreateAsync("""{"num_features":2,"non_finite":"propagate"}""");
        var step = (await session.TrainAsync("""{"x":[["NaN",1],[1,"Infinity"]],"retain":false}""")).Expect(200);
        Assert.Contains("non-finite-batch", Codes(step["warnings"]));
        Assert.Contains("non-finite-statistics", Codes((await session.DiagnosticsAsync()).Expect(200)["findings"]));
        (await session.HistoryAsync()).Expect(200);
    }

    [Fact]
    public async Task Unknown_sessions_are_not_found()
    {
        var session = new SessionClient(service.Client, "nosuch");
        (await session.DiagnosticsAsync()).ExpectProblem("session-not-found");
        (await session.HistoryAsync()).ExpectProblem("session-not-found");
    }

    private async Task<SessionClient> SettledAsync()
    {
        var session = await service.CreateAsync("""{"num_features":3,"momentum":0.2}""");
        for (var i = 0; i < 40; i++) (await session.TrainAsync(X)).Expect(200);
        return session;
    }

    private static Batch Shifted(Batch x, int channel, float by) =>
        x with { Data = [.. x.Data.Select((value, index) => index % x.Shape[1] == channel ? value + by : value)] };

    private static string[] Codes(JsonElement findings) =>
        [.. findings.EnumerateArray().Select(finding => finding.GetProperty("code").GetString()!).Order(StringComparer.Ordinal)];

    private static JsonElement Finding(Answer answer, string code) =>
        answer["findings"].EnumerateArray().Single(finding => finding.GetProperty("code").GetString() == code);
}
