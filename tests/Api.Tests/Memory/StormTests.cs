namespace BnService.Api.Tests.Memory;

/// <summary>Many large batches at once: each ends in 200 or 503, the budget is never passed, and afterwards the memory is back.</summary>
[Collection(WholeProcess.Name)]
public sealed class StormTests
{
    private static readonly (int Clients, int Bytes) Size = Soak.IsAskedFor ? (200, 64 << 20) : (24, 16 << 20);

    [Fact]
    public async Task The_budget_is_never_passed_and_everything_is_given_back()
    {
        var before = Service.RentedBytes;
        using (var service = Service.OnKestrel(("Memory:BudgetBytes", "134217728"), ("Memory:WaitTime", "00:00:00.5")))
        {
            var (done, refused) = await new Storm(service.Address, 24, 16 << 20).RunAsync();
            Assert.InRange(done, 1, 24);
            Assert.True(service.PeakMemory <= 128 << 20, $"{service.PeakMemory} bytes were in use");
            Assert.True(service.PeakMemory > 64 << 20, $"only {service.PeakMemory} bytes were in use, {refused} refused");
            await Eventually.TrueAsync(() => service.UsedMemory <= service.RetainedBytes, $"{service.UsedMemory} bytes are still in use, {service.RetainedBytes} retained");
            await service.Client.DeleteAsync("/v1/sessions/batch");
            await Eventually.EqualAsync(0, () => service.UsedMemory);
        }
        await Eventually.EqualAsync(before, () => Service.RentedBytes);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_small_process_survives_and_gives_its_memory_back(bool inGroup)
    {
        using var group = inGroup ? MemoryGroup.TryCreate(1L << 30) : null;
        List<(string, string)> environment = [("Memory__TrimAfter", "00:00:01")];
        environment.Add(group is null ? ("DOTNET_GCHeapHardLimit", "0x40000000") : (ServiceProcess.GroupVariable, group.Path));
        if (!Soak.IsAskedFor) environment.Add(("Memory__BudgetBytes", "134217728"));
        using var service = await ServiceProcess.StartAsync([.. environment]);
        await new Storm(service.Address, 2, 1 << 20).RunAsync();
        var before = service.ResidentBytes;
        var (done, refused) = await new Storm(service.Address, Size.Clients, Size.Bytes).RunAsync();
        Assert.Equal(Size.Clients, done + refused);
        Assert.InRange(done, 1, Size.Clients);
        (await service.Client.DeleteAsync("/v1/sessions/batch")).Expect(204);
        await Eventually.TrueAsync(() => service.ResidentBytes < before + (96 << 20), $"more than 96 MiB above the {before >> 20} MiB before are resident");
        (await service.Client.GetAsync("/health/ready")).Expect(200);
        if (group is not null) Assert.Equal(0, group.OutOfMemoryKills);
    }
}
