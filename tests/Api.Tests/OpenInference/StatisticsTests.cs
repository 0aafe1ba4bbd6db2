using System.Text.Json;

namespace BnService.Api.Tests.OpenInference;

public sealed class StatisticsTests(Service service) : IClassFixture<Service>
{
    private static readonly string[] Phases = ["queue", "compute_input", "compute_infer", "compute_output"];

    [Fact]
    public async Task A_new_model_has_done_nothing()
    {
        var model = await service.ModelAsync("""{"name":"new","num_features":3}""");
        const string zero = """{"count":0,"ns":0}""";
        Assert.Equal(
            $$$"""{"model_stats":[{"name":"new","version":"","last_inference":0,"inference_count":0,"execution_count":0,"inference_stats":{"success":{{{zero}}},"fail":{{{zero}}},"queue":{{{zero}}},"compute_input":{{{zero}}},"compute_infer":{{{zero}}},"compute_output":{{{zero}}},"cache_hit":{{{zero}}},"cache_miss":{{{zero}}}},"response_stats":{},"batch_stats":[],"memory_usage":[]}]}""",
            (await model.GetAsync("/stats")).Expect(200).Text);
    }

    [Fact]
    public async Task Each_request_is_counted_by_how_it_ended()
    {
        var model = await service.ModelAsync("""{"num_features":3}""");
        var before = DateTimeOffset.UtcNow.ToUnixTimeMilliseconds();
        foreach (var rows in (int[])[1, 4, 7]) (await model.InferAsync(ModelClient.Request(ModelClient.Input(Batch.Random(1, rows, 3))))).Expect(200);
        var good = await model.StatisticsAsync();
        Assert.Equal(12, good.GetProperty("inference_count").GetInt64());
        Assert.Equal(3, good.GetProperty("execution_count").GetInt64());
        Assert.InRange(good.GetProperty("last_inference").GetInt64(), before, DateTimeOffset.UtcNow.ToUnixTimeMilliseconds());
        Assert.Equal((3, 0), (Count(good, "success"), Count(good, "fail")));
        Assert.All(Phases, phase => Assert.Equal(3, Count(good, phase)));
        Assert.True(Nanoseconds(good, "success") > 0);
        Assert.InRange(Phases.Sum(phase => Nanoseconds(good, phase)), 1, Nanoseconds(good, "success"));

        (await model.InferAsync("{")).ExpectError(400);
        (await model.InferAsync(ModelClient.Request(ModelClient.Input(Batch.Random(1, 3, 2))))).ExpectError(400);
        (await model.InferAsync(ModelClient.Request(ModelClient.Input(new Batch([1, 3], [float.NaN, 0, 0]))))).ExpectError(400);
        var bad = await model.StatisticsAsync();
        Assert.Equal((3, 3, 6), (Count(bad, "success"), Count(bad, "fail"), Count(bad, "queue")));
        Assert.Equal((3, 12), (Count(bad, "compute_infer"), bad.GetProperty("inference_count").GetInt64()));
        Assert.True(Nanoseconds(bad, "fail") > 0);
        Assert.Equal(good.GetProperty("last_inference").GetInt64(), bad.GetProperty("last_inference").GetInt64());
    }

    /// <summary>Whoever has an answer finds it counted; a real server sends its last byte before the call has ended.</summary>
    [Theory]
    [InlineData("")]
    [InlineData(""" "parameters":{"binary_data_output":true},""")]
    public async Task An_answer_is_counted_before_it_is_whole(string more)
    {
        using var kestrel = Service.OnKestrel();
        var model = await kestrel.ModelAsync("""{"num_features":3}""");
        // On the same connection the next call waits for the end of the one before.
        var watcher = new ModelClient(kestrel.Unchecked, model.Session);
        foreach (var rows in (int[])[1, 20_000])
        {
            var request = ModelClient.Request(ModelClient.Input(Batch.Random(1, rows, 3)), more);
            for (var i = 0; i < 5; i++)
            {
                var count = Count(await watcher.StatisticsAsync(), "success");
                (await model.InferAsync(request)).Expect(200);
                Assert.Equal(count + 1, Count(await watcher.StatisticsAsync(), "success"));
            }
        }
    }

    [Fact]
    public async Task Requests_at_once_are_all_counted_and_what_is_read_fits_together()
    {
        var model = await service.ModelAsync("""{"num_features":3}""");
        var request = ModelClient.Request(ModelClient.Input(Batch.Random(1, 2, 3)));
        using var done = new CancellationTokenSource();
        var reading = Task.Run(async () =>
        {
            long last = 0;
            while (!done.IsCancellationRequested)
            {
                var read = await model.StatisticsAsync();
                Assert.Equal(Count(read, "success") + Count(read, "fail"), Count(read, "queue"));
                Assert.Equal(2 * Count(read, "success"), read.GetProperty("inference_count").GetInt64());
                Assert.True(Count(read, "queue") >= last);
                last = Count(read, "queue");
            }
        });
        await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => Task.Run(async () =>
        {
            for (var i = 0; i < 50; i++)
            {
                (await model.InferAsync(request)).Expect(200);
                (await model.InferAsync("{")).Expect(400);
            }
        })));
        await done.CancelAsync();
        await reading;
        var total = await model.StatisticsAsync();
        Assert.Equal((400, 400, 800), (Count(total, "success"), Count(total, "fail"), Count(total, "queue")));
    }

    [Fact]
    public async Task All_models_are_listed_with_their_own()
    {
        using var own = new Service();
        var (a, b) = (await own.ModelAsync("""{"name":"a","num_features":3}"""), await own.ModelAsync("""{"name":"b","num_features":3}"""));
        (await a.InferAsync(ModelClient.Request(ModelClient.Input(Batch.Random(1, 2, 3))))).Expect(200);
        var all = (await own.Client.GetAsync("/v2/models/stats")).Expect(200)["model_stats"].EnumerateArray().ToList();
        Assert.Equal(["b", "a"], all.Select(item => item.GetProperty("name").GetString()));
        Assert.Equal((0, 1), (Count(all[0], "success"), Count(all[1], "success")));
        Assert.Equal(0, Count(await b.StatisticsAsync(), "success"));
    }

    /// <summary>Inference of the protocol is traffic as any other: diagnostics see it.</summary>
    [Fact]
    public async Task What_passes_is_looked_at()
    {
        var model = await service.TrainedModelAsync();
        var quiet = (await model.Session.DiagnosticsAsync()).Expect(200).Text;
        var shifted = Batch.Random(1, 64, 3);
        (await model.InferAsync(ModelClient.Request(ModelClient.Input(shifted with { Data = [.. shifted.Data.Select(value => value + 100)] })))).Expect(200);
        Assert.NotEqual(quiet, (await model.Session.DiagnosticsAsync()).Expect(200).Text);
    }

    private static long Count(JsonElement statistics, string phase) => statistics.GetProperty("inference_stats").GetProperty(phase).GetProperty("count").GetInt64();

    private static long Nanoseconds(JsonElement statistics, string phase) => statistics.GetProperty("inference_stats").GetProperty(phase).GetProperty("ns").GetInt64();
}
