namespace BnService.EndToEnd.Faults;

/// <summary>The service is told to stop while it is busy, as every rollout does: what it has begun it answers, and what it answers is kept.</summary>
public sealed class StopTests : IDisposable
{
    private const int Writers = 8;

    private readonly string _folder = Directory.CreateTempSubdirectory("bn-stop").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("step")]
    [InlineData("interval")]
    public async Task No_change_is_made_without_an_answer_when_it_stops_under_load(string durability)
    {
        var rounds = Soak.Of(2, 40);
        var answered = new int[Writers];
        for (var round = 0; round <= rounds; round++)
        {
            using var service = await ServiceProcess.StartAsync(("Storage__Path", Path.Combine(_folder, "bn.db")), ("Storage__Durability", durability));
            for (var i = 0; i < Writers; i++)
            {
                var session = new SessionClient(service.Client, $"w{i}");
                if (round == 0) (await service.Client.PostAsync("/v1/sessions", Operation.Options(session.Name))).Expect(201);
                else Assert.Equal(answered[i] + 1, (await session.GetAsync()).Expect(200).Version);
            }
            if (round == rounds) break;
            using var http = new HttpClient { BaseAddress = service.Address };
            var writing = Enumerable.Range(0, Writers).Select(async i =>
            {
                while (await new Operation($"w{i}", answered[i]).TryAsync(http, CancellationToken.None) is not null) answered[i]++;
            }).ToList();
            var before = answered.Sum();
            await Eventually.TrueAsync(() => answered.Sum() >= before + (3 * Writers), "changes are not answered");
            service.Terminate();
            Assert.Equal(0, await service.ExitAsync());
            await Task.WhenAll(writing);
        }
        Soak.Report($"{rounds} stops under {Writers} writers ({durability}): {answered.Sum()} changes answered, 0 made without an answer");
    }
}
