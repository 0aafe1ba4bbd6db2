using System.Diagnostics;

namespace BnService.EndToEnd.Faults;

/// <summary>One key stores the largest states as fast as it can: a small step of another goes on as it did alone.</summary>
public sealed class HeavyKeyTests
{
    private const int Features = 1 << 20;

    private static readonly TimeSpan Alone = TimeSpan.FromSeconds(1), Beside = TimeSpan.FromSeconds(Soak.Of(3, 20));

    /// <summary>
    /// In two times the time of alone where the machine has nothing else to do; here it mostly has, so that the bound is generous: with 24
    /// bytes a call, each of which wrote 33.6 MB, a step took seconds.
    /// </summary>
    [Theory]
    [InlineData("creates", 4)]
    [InlineData("puts", 2)]
    [InlineData("creates", 16)]
    [InlineData("puts", 16)]
    public async Task A_step_of_another_key_does_not_wait(string attack, int clients)
    {
        if (clients == 16 && !Soak.IsAskedFor) return;
        using var service = await ServiceProcess.StartAsync();
        var admin = await KeyedService.CreateAsync(service.Client, "admin", null, null);
        var (heavy, other) = (KeyedService.Bearer(await KeyedService.CreateAsync(service.Client, "trainer", null, admin)),
            KeyedService.Bearer(await KeyedService.CreateAsync(service.Client, "trainer", null, admin)));
        await service.Client.PostAsync("/v1/sessions", """{"name":"small","num_features":8}""", other);
        await MedianAsync();
        var alone = await MedianAsync();
        using var done = new CancellationTokenSource();
        var state = State();
        var (answered, refused) = (0, 0);
        var attackers = Enumerable.Range(0, clients).Select(i => Task.Run(async () =>
        {
            while (!done.IsCancellationRequested)
            {
                var answer = attack == "creates"
                    ? await service.Client.PostAsync("/v1/sessions", $$"""{"num_features":{{Features}}}""", heavy)
                    : await service.Client.SendAsync(HttpMethod.Put, $"/v1/sessions/large{i}/state?kind=batch_norm",
                        ServiceClient.Content(Forms.Safetensors, state), heavy, ("Accept", Forms.Safetensors));
                Assert.Contains(answer.Status, (int[])[200, 201, 503]);
                Interlocked.Increment(ref answer.Status == 503 ? ref refused : ref answered);
            }
        })).ToList();
        await Task.Delay(500);
        var beside = await MedianAsync(Beside);
        await done.CancelAsync();
        await Task.WhenAll(attackers);
        Assert.True(beside <= (10 * alone) + 100, $"a step takes {beside:0.0} ms, {alone:0.0} ms alone");
        Soak.Report($"{clients} clients of one key, each {attack} sessions of {Features} features ({answered} answered, {refused} refused): "
            + $"a step of another takes {beside:0.00} ms, {alone:0.00} ms alone");

        async Task<double> MedianAsync(TimeSpan? duration = null)
        {
            var (took, whole) = (new List<double>(), Stopwatch.StartNew());
            while (whole.Elapsed < (duration ?? Alone))
            {
                var begun = Stopwatch.GetTimestamp();
                (await service.Client.PostAsync("/v1/sessions/small/train-step", """{"x":[[1,2,3,4,5,6,7,8],[2,3,5,7,9,8,1,0]]}""", other)).Expect(200);
                took.Add(Stopwatch.GetElapsedTime(begun).TotalMilliseconds);
                await Task.Delay(2);
            }
            took.Sort();
            return took[took.Count / 2];
        }
    }

    private static byte[] State()
    {
        var (random, bytes) = (new Random(1), new byte[sizeof(float) * Features]);
        var file = new TensorFile();
        foreach (var name in (string[])["weight", "bias", "running_mean", "running_var"])
        {
            for (var i = 0; i < Features; i++) BitConverter.TryWriteBytes(bytes.AsSpan(i * sizeof(float)), random.NextSingle());
            file.Add(name, "F32", [Features], [.. bytes]);
        }
        return file.ToBytes();
    }
}
