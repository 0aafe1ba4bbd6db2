using System.Text.Json;
using BnService.Api.Sessions;

namespace BnService.Api.Tests.Diagnostics;

/// <summary>A line per train-step.</summary>
public sealed class HistoryTests(Service service) : IClassFixture<Service>
{
    [Fact]
    public async Task Each_step_is_a_line_and_the_newest_comes_first()
    {
        var time = new ManualTime();
        using var own = Service.At(time);
        var session = await own.CreateAsync("""{"num_features":2}""");
        Assert.Empty((await session.HistoryAsync()).Expect(200)["steps"].EnumerateArray());
        (await session.TrainAsync("""{"x":[[1,2],[3,2]],"retain":false}""")).Expect(200);
        (await session.PatchAsync("""{"eps":0.5}""")).Expect(200);
        time.JumpBy(TimeSpan.FromMinutes(1));
        (await session.TrainAsync(Batch.Random(1, 9, 2))).Expect(200);
        var drift = (await session.StatsAsync())["diagnostics"].GetProperty("drift");
        (await session.RefusedAsync(s => s.TrainAsync("""{"x":[[1,2]]}"""))).ExpectProblem("batch-too-small");

        var answer = (await session.HistoryAsync()).Expect(200);
        var lines = answer["steps"].EnumerateArray().ToList();
        Assert.Equal([4, 2], Numbers(lines, "version"));
        Assert.Equal([2, 1], Numbers(lines, "num_batches_tracked"));
        Assert.Equal([9, 2], Numbers(lines, "count"));
        Assert.Equal(TimeSpan.FromMinutes(1), lines[0].GetProperty("at").GetDateTimeOffset() - lines[1].GetProperty("at").GetDateTimeOffset());
        Assert.True(JsonElement.DeepEquals(drift, lines[0].GetProperty("drift")));
        Assert.Equal(["small-batch", "constant-channels"], lines[1].GetProperty("warnings").EnumerateArray().Select(code => code.GetString()));
        Assert.Equal(4, answer.Version);
    }

    [Fact]
    public async Task Limit_takes_the_newest()
    {
        var session = await service.CreateAsync("""{"num_features":1}""");
        for (var i = 0; i < 105; i++) (await session.TrainAsync("""{"x":[[1],[3]],"retain":false}""")).Expect(200);
        Assert.Equal(Enumerable.Range(7, 100).Reverse().Select(version => (long)version), await VersionsAsync(session, ""));
        Assert.Equal([106, 105, 104], await VersionsAsync(session, "?limit=3"));
        Assert.Equal(105, (await VersionsAsync(session, "?limit=1024")).Count);
    }

    [Theory]
    [InlineData("0")]
    [InlineData("1025")]
    [InlineData("-1")]
    [InlineData("x")]
    [InlineData("")]
    [InlineData("1.5")]
    [InlineData("99999999999999999999")]
    public async Task A_limit_out_of_range_is_refused(string limit)
    {
        var session = await service.CreateAsync("""{"num_features":1}""");
        (await session.HistoryAsync($"?limit={limit}")).ExpectProblem("invalid-option", "limit must be a whole number from 1 to 1024", $"got '{limit}'");
    }

    [Fact]
    public async Task A_step_says_where_its_batch_lies_how_long_it_took_and_what_it_was_in_a_channel()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        var step = (await session.TrainAsync(Batch.Random(3, 9, 3))).Expect(200);
        var stats = (await session.StatsAsync()).Expect(200);
        var line = (await session.HistoryAsync("?channel=2")).Expect(200)["steps"][0];
        var shifts = Enumerable.Range(0, 3).Select(c => (At(step, "batch_mean", c) - At(stats, "running_mean", c)) / Math.Sqrt(At(stats, "running_var", c))).ToList();
        Assert.Equal(Math.Sqrt(shifts.Average(shift => shift * shift)), line.GetProperty("shift").GetProperty("rms").GetDouble(), 1e-9);
        Assert.Equal(shifts.Max(Math.Abs), line.GetProperty("shift").GetProperty("largest").GetProperty("value").GetDouble(), 1e-9);
        Assert.Equal(Enumerable.Range(0, 3).Average(c => At(step, "batch_var", c) / At(stats, "running_var", c)), line.GetProperty("shift").GetProperty("var_ratio").GetDouble(), 1e-9);
        Assert.True(line.GetProperty("milliseconds").GetDouble() >= 0);
        var channel = line.GetProperty("channel");
        Assert.Equal([(float)At(step, "batch_mean", 2), (float)At(step, "batch_var", 2), (float)At(stats, "running_mean", 2), (float)At(stats, "running_var", 2)],
            ((string[])["batch_mean", "batch_var", "running_mean", "running_var"]).Select(name => channel.GetProperty(name).GetSingle()));
        Assert.False((await session.HistoryAsync())["steps"][0].TryGetProperty("channel", out _));
        (await session.HistoryAsync("?channel=3")).ExpectProblem("invalid-option", "channel must be a whole number from 0 to 2, got '3'");
    }

    [Fact]
    public async Task Of_many_channels_only_the_newest_steps_are_kept()
    {
        var session = await service.CreateAsync("""{"num_features":256}""");
        for (var i = 0; i < 20; i++) (await session.TrainAsync(Batch.Random(i, 2, 256))).Expect(200);
        var lines = (await session.HistoryAsync("?channel=255")).Expect(200)["steps"].EnumerateArray().ToList();
        Assert.Equal([.. Enumerable.Repeat(true, 16), .. Enumerable.Repeat(false, 4)], lines.Select(line => line.TryGetProperty("channel", out _)));
    }

    [Fact]
    public async Task A_step_says_the_same_at_once_and_after_its_channels_have_been_forgotten()
    {
        var (soon, late) = (await service.CreateAsync("""{"num_features":256}"""), await service.CreateAsync("""{"num_features":256}"""));
        var seen = new List<JsonElement>();
        for (var i = 0; i < 20; i++)
        {
            foreach (var session in new[] { soon, late }) (await session.TrainAsync(Batch.Random(i, 9, 256))).Expect(200);
            seen.Insert(0, (await soon.HistoryAsync("?limit=1")).Expect(200)["steps"][0]);
        }
        var lines = (await late.HistoryAsync()).Expect(200)["steps"].EnumerateArray().ToList();
        foreach (var field in (string[])["drift", "shift"])
            Assert.All(lines.Zip(seen), pair => Assert.True(JsonElement.DeepEquals(pair.First.GetProperty(field), pair.Second.GetProperty(field))));
    }

    [Fact]
    public async Task Inference_batches_that_were_looked_at_are_lines_of_their_own()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.TrainAsync(Batch.Random(1, 9, 2))).Expect(200);
        (await session.InferAsync(Batch.Random(2, 16, 2))).Expect(200);
        (await session.InferAsync(Batch.Random(3, 32, 2))).Expect(200);
        var lines = (await session.HistoryAsync()).Expect(200)["inferences"].EnumerateArray().ToList();
        Assert.Equal([32, 16], Numbers(lines, "count"));
        Assert.True(JsonElement.DeepEquals((await session.DiagnosticsAsync())["drift"].GetProperty("inference"), lines[0].GetProperty("drift")));
        Assert.Equal(32, Assert.Single((await session.HistoryAsync("?limit=1"))["inferences"].EnumerateArray()).GetProperty("count").GetInt32());
    }

    private static double At(Answer answer, string field, int channel) => answer[field][channel].GetDouble();

    [Fact]
    public async Task A_deleted_session_takes_its_history_along()
    {
        var session = await service.CreateAsync("""{"name":"history-deleted","num_features":1}""");
        (await session.TrainAsync("""{"x":[[1],[3]],"retain":false}""")).Expect(200);
        (await session.DeleteAsync()).Expect(204);
        (await session.HistoryAsync()).ExpectProblem("session-not-found");
        var again = await service.CreateAsync("""{"name":"history-deleted","num_features":1}""");
        Assert.Empty((await again.HistoryAsync()).Expect(200)["steps"].EnumerateArray());
    }

    [Fact]
    public async Task Steps_at_the_same_time_all_have_their_line_in_the_order_of_their_versions()
    {
        var session = await service.CreateAsync("""{"num_features":1}""");
        await Task.WhenAll(Enumerable.Range(0, 40).Select(_ => session.TrainAsync("""{"x":[[1],[3]],"retain":false}""")));
        Assert.Equal(Enumerable.Range(2, 40).Reverse().Select(version => (long)version), await VersionsAsync(session, ""));
    }

    [Theory]
    [InlineData(1, 1)]
    [InlineData(16, 16)]
    [InlineData(17, 17)]
    [InlineData(1024, 1024)]
    [InlineData(1025, 1024)]
    [InlineData(5000, 1024)]
    public void The_ring_keeps_the_last_1024(int steps, int kept)
    {
        var traffic = new SessionTraffic();
        for (var version = 1; version <= steps; version++) traffic.Add(new StepLine(version, version, default, 2, null, []));
        Assert.Equal(Enumerable.Range(steps - kept + 1, kept).Reverse().Select(version => (long)version), traffic.Newest(2000).Select(step => step.Version));
        Assert.Equal(Math.Min(kept, 5), traffic.Newest(5).Count);
    }

    private static async Task<List<long>> VersionsAsync(SessionClient session, string query) =>
        Numbers((await session.HistoryAsync(query)).Expect(200)["steps"].EnumerateArray(), "version");

    private static List<long> Numbers(IEnumerable<JsonElement> lines, string field) => [.. lines.Select(line => line.GetProperty(field).GetInt64())];
}
