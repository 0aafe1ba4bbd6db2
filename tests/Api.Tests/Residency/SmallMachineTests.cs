namespace BnService.Api.Tests.Residency;

/// <summary>Sessions in memory on a machine that has less than they would take: with the defaults they took 1 GiB wherever they were.</summary>
public sealed class SmallMachineTests
{
    private const int Features = 16384;

    /// <summary>160 sessions of 1.3 MB each in 256 MiB; a hundred ended the process.</summary>
    [Fact]
    public async Task A_small_process_outlives_more_sessions_than_find_room_and_serves_large_ones_then()
    {
        using var group = MemoryGroup.TryCreate(256 << 20);
        var limit = group is null ? ("DOTNET_GCHeapHardLimit", "0x7000000") : (ServiceProcess.GroupVariable, group.Path);
        using var service = await ServiceProcess.StartAsync(limit, ("Serilog__MinimumLevel__Override__BnService.Request", "Warning"));
        var body = ArrayFile.Of(Batch.Random(1, 2, Features));
        await Task.WhenAll(Enumerable.Range(0, 4).Select(worker => Task.Run(async () =>
        {
            for (var i = worker; i < 160; i += 4)
            {
                (await service.Client.PostAsync("/v1/sessions", $$"""{"name":"s{{i}}","num_features":{{Features}}}""")).Expect(201);
                Assert.Contains((await service.Client.PostAsync($"/v1/sessions/s{i}/train-step?retain=false", Forms.Npy, body)).Status, (int[])[200, 503]);
            }
        })));
        (await service.Client.PostAsync("/v1/sessions", $$"""{"name":"large","num_features":{{4 * Features}}}""")).Expect(201);
        var large = ArrayFile.Of(Batch.Random(2, 2, 4 * Features));
        // What the collector kept for small objects comes back within a second.
        for (var attempt = 0; (await service.Client.PostAsync("/v1/sessions/large/train-step?retain=false", Forms.Npy, large)).Status != 200; attempt++)
        {
            Assert.InRange(attempt, 0, 20);
            await Task.Delay(250);
        }
        if (group is not null) Assert.Equal(0, group.OutOfMemoryKills);
    }

    [Fact]
    public async Task What_was_seen_of_inference_counts_as_memory_of_a_session()
    {
        using var service = Service.With(("Sessions:MaxResidentBytes", "3000000"));
        for (var i = 0; i < 8; i++)
        {
            var session = await service.CreateAsync($$"""{"num_features":{{Features}}}""");
            (await session.InferAsync(Batch.Random(1, 4, Features))).Expect(200);
        }
        // Mean and variance of a batch each; the arrays of a new session are no more than two numbers.
        Assert.InRange(service.ResidentBytes, 8 * 2 * Features * sizeof(double), 3_000_000);
    }
}
