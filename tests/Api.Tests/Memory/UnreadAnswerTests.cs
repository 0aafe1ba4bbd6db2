using System.Globalization;
using BnService.Api.Tests.Harness;

namespace BnService.Api.Tests.Memory;

/// <summary>
/// Clients that ask for large answers and take nothing of them, on a process that has no more than 256 MiB: it lives, what they hold is counted,
/// and others are answered.
/// </summary>
[Collection(WholeProcess.Name)]
public sealed class UnreadAnswerTests
{
    private const int Clients = 40, Features = 1 << 20;

    [Theory]
    [InlineData("GET /v1/sessions/large/stats", "")]
    [InlineData("GET /v1/sessions/large/state", "")]
    [InlineData("GET /v1/sessions/large/state", "application/x-safetensors")]
    [InlineData("GET /v1/sessions?limit=1000", "")]
    [InlineData("POST /v2/repository/index", "")]
    [InlineData("GET /openapi/v1.json", "gzip")]
    public async Task A_small_process_outlives_them(string call, string form)
    {
        using var group = MemoryGroup.TryCreate(256 << 20);
        (string, string) limit = group is null ? ("DOTNET_GCHeapHardLimit", "0x8000000") : (ServiceProcess.GroupVariable, group.Path);
        using var service = await ServiceProcess.StartAsync(limit, ("Memory__WaitTime", "00:00:00.2"), ("Memory__BudgetBytes", "100663296"));
        var small = await service.Client.CreateAsync("""{"num_features":2}""");
        if (call.Contains("large", StringComparison.Ordinal))
            await service.Client.CreateAsync($$"""{"name":"large","num_features":{{Features}},"gamma_init":0.12345678901234568,"beta_init":-0.98765432109876543}""");
        if (call.Contains("limit", StringComparison.Ordinal)) await CreateLabelledAsync(service.Client);
        var before = await UsedAsync(service);
        var connections = new List<RawConnection>();
        try
        {
            for (var i = 0; i < Clients; i++)
            {
                var connection = await service.ConnectAsync();
                connections.Add(connection);
                var (method, path) = (call.Split(' ')[0], call.Split(' ')[1]);
                await connection.WriteHeadAsync(method, path, ("Accept", form.Contains('/', StringComparison.Ordinal) ? form : "*/*"),
                    ("Accept-Encoding", form.Contains('/', StringComparison.Ordinal) ? "identity" : form), ("Content-Length", "0"));
                (await service.Client.PostAsync($"{small.Path}/inference", """{"x":[[1,2]]}""")).Expect(200);
            }
            for (var i = 0; i < 20; i++)
            {
                (await service.Client.PostAsync($"{small.Path}/train-step", """{"x":[[1,2],[3,5]],"retain":false}""")).Expect(200);
                await Task.Delay(50);
            }
            if (call.Contains("large", StringComparison.Ordinal)) Assert.True(await UsedAsync(service) > before + (4 << 20), "what they hold is not counted");
        }
        finally
        {
            connections.ForEach(connection => connection.Dispose());
        }
        await Eventually.TrueAsync(() => UsedAsync(service).GetAwaiter().GetResult() <= before + (1 << 20), "what they held is counted still");
        if (group is not null) Assert.Equal(0, group.OutOfMemoryKills);
    }

    private static async Task CreateLabelledAsync(ServiceClient client)
    {
        var labels = string.Join(',', Enumerable.Range(0, 64).Select(i => $"\"{new string('k', 60)}{i}\":\"{new string('v', 256)}\""));
        for (var i = 0; i < 300; i++) await client.CreateAsync($$$"""{"num_features":1,"labels":{{{{labels}}}}}""");
    }

    private static async Task<long> UsedAsync(ServiceProcess service)
    {
        using var http = new HttpClient { BaseAddress = service.Address };
        var metrics = await http.GetStringAsync(new Uri("/metrics", UriKind.Relative));
        var line = metrics.Split('\n').First(text => text.StartsWith("bnservice_memory_budget_bytes", StringComparison.Ordinal) && text.Contains("used", StringComparison.Ordinal));
        return (long)double.Parse(line.Split(' ')[^1], CultureInfo.InvariantCulture);
    }
}
