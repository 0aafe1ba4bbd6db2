using System.Diagnostics;

namespace BnService.EndToEnd.Faults;

/// <summary>One key opens as much as it can: all others are served, and the admin's revocation ends it.</summary>
public sealed class GreedyKeyTests
{
    private const string Step = """{"x":[[1,2],[3,5]],"retain":false}""";

    [Theory]
    [InlineData("streams", "reader", "GET", "/v1/events", "")]
    [InlineData("ranks", "trainer", "POST", "/v1/sessions/s/sync/g{0}/train-step?rank=0&world_size=2", Step)]
    [InlineData("slow bodies", "reader", "POST", "/v1/sessions/s/inference", """{"x":[[1,""")]
    public async Task A_key_that_takes_what_it_gets_takes_nothing_from_others_and_ends_with_its_revocation(
        string what, string role, string method, string path, string body)
    {
        // In the long form on a small machine.
        using var group = Soak.IsAskedFor ? MemoryGroup.TryCreate(256L << 20) : null;
        (string Name, string Value)[] small = [(ServiceProcess.DescriptorsVariable, "500"), .. group is null ? [] : new[] { (ServiceProcess.GroupVariable, group.Path) }];
        using var service = await ServiceProcess.StartAsync(Soak.IsAskedFor ? small : [("Limits__MaxConcurrentRequests", "100")]);
        var admin = await KeyedService.CreateAsync(service.Client, "admin", null, null);
        var (greedy, other) = (await KeyedService.CreateAsync(service.Client, role, null, admin), await KeyedService.CreateAsync(service.Client, "trainer", null, admin));
        (await service.Client.PostAsync("/v1/sessions", """{"name":"s","num_features":2}""", KeyedService.Bearer(admin))).Expect(201);
        using var done = new CancellationTokenSource();
        var others = ServeAsync(service, other, done.Token);
        var opened = new List<RawConnection>();
        try
        {
            for (var i = 0; i < Soak.Of(150, 1005); i++)
            {
                opened.Add(await service.ConnectAsync());
                await opened[^1].WriteHeadAsync(method, string.Format(null, path, i), KeyedService.Bearer(greedy), ("Content-Type", "application/json"),
                    ("Content-Length", $"{(body == Step || body.Length == 0 ? body.Length : 1000)}"));
                await opened[^1].WriteAsync(body);
            }
            // Of what one key may not have more is refused at once.
            await Task.Delay(500);
            Assert.Equal(200, (await service.Client.GetAsync("/health/ready")).Status);
            Assert.Equal(200, (await service.Client.GetAsync("/v1/keys", KeyedService.Bearer(admin))).Status);
            var waited = Stopwatch.StartNew();
            (await service.Client.DeleteAsync($"/v1/keys/{KeyedService.IdOf(greedy)}", KeyedService.Bearer(admin))).Expect(204);
            // As it was, streams went on for five minutes, and ranks for thirty seconds.
            foreach (var connection in opened) await EndAsync(connection).WaitAsync(TimeSpan.FromSeconds(20));
            Assert.InRange(waited.Elapsed, TimeSpan.Zero, TimeSpan.FromSeconds(20));
        }
        finally
        {
            opened.ForEach(connection => connection.Dispose());
            await done.CancelAsync();
        }
        var (answered, lost) = await others;
        Assert.InRange(answered, 10, int.MaxValue);
        Soak.Report($"one key and {opened.Count} {what}: {answered} calls of another key answered meanwhile, {lost} connections lost");
    }

    // Whatever comes until the answer is whole or the connection ends.
    private static async Task EndAsync(RawConnection connection)
    {
        try
        {
            await connection.ReadAnswerAsync();
        }
        catch (System.Net.Sockets.SocketException)
        {
            // Closed by the service.
        }
    }

    // A connection may be closed between two calls where there are too many; what is answered is answered well.
    private static async Task<(int Answered, int Lost)> ServeAsync(ServiceProcess service, string key, CancellationToken done)
    {
        var (answered, lost) = (0, 0);
        while (!done.IsCancellationRequested)
        {
            foreach (var path in (string[])["/v1/sessions/s/train-step", "/v1/sessions/s/inference"])
            {
                try
                {
                    (await service.Client.PostAsync(path, path.EndsWith('p') ? Step : """{"x":[[1,2]]}""", KeyedService.Bearer(key))).Expect(200);
                    answered++;
                }
                catch (HttpRequestException) when (++lost < 20)
                {
                    // The next one takes another.
                }
            }
            await Task.Delay(5, CancellationToken.None);
        }
        return (answered, lost);
    }
}
