namespace BnService.Api.Tests.Diagnostics;

/// <summary>The last of the history outlives the process that has seen it.</summary>
public sealed class RestartTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("bn-history").FullName;

    private string Database => Path.Combine(_folder, "bn.db");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task The_last_steps_and_the_drift_of_serving_survive_a_restart(bool isKilled)
    {
        var (history, drift, health) = ("", "", "");
        using (var service = await ServiceProcess.StartAsync(("Storage__Path", Database)))
        {
            var session = await service.Client.CreateAsync("""{"name":"kept","num_features":3}""");
            for (var i = 0; i < 60; i++) (await session.TrainAsync(Batch.Random(i, 32, 3))).Expect(200);
            var x = Batch.Random(99, 64, 3);
            (await session.InferAsync(x with { Data = [.. x.Data.Select(value => value + 50)] })).Expect(200);
            (history, drift, health) = await SeenAsync(session);
            Assert.Contains("drifting", health, StringComparison.Ordinal);
            if (isKilled)
            {
                // At most the last moment is lost.
                await Task.Delay(2500);
                service.Kill();
            }
            else
            {
                service.Terminate();
                Assert.Equal(0, await service.ExitAsync());
            }
        }
        using (var service = await ServiceProcess.StartAsync(("Storage__Path", Database)))
        {
            var session = new SessionClient(service.Client, "kept");
            Assert.Equal((history, drift, health), await SeenAsync(session));
            // What comes now stands before it, and both are there the next time.
            (await session.TrainAsync(Batch.Random(7, 32, 3))).Expect(200);
            Assert.Equal([62, 61, 60], (await VersionsAsync(session)).Take(3));
            service.Terminate();
            await service.ExitAsync();
        }
        using (var service = await ServiceProcess.StartAsync(("Storage__Path", Database)))
        {
            var session = new SessionClient(service.Client, "kept");
            Assert.Equal(Enumerable.Range(2, 61).Reverse().Select(version => (long)version), await VersionsAsync(session));
            (await session.DeleteAsync()).Expect(204);
            var again = await service.Client.CreateAsync("""{"name":"kept","num_features":3}""");
            Assert.Empty(await VersionsAsync(again));
        }
    }

    [Fact]
    public async Task A_session_that_left_memory_keeps_its_history_and_no_more_than_the_last_of_it()
    {
        using var service = Service.With(("Storage:Engine", "sqlite"), ("Storage:Path", Database), ("Sessions:MaxResidentBytes", "8000"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        for (var i = 0; i < 140; i++) (await session.TrainAsync(Batch.Random(i, 8, 2))).Expect(200);
        Assert.Equal(140, (await VersionsAsync(session)).Count);
        // Whether it has been stored already or not.
        for (var i = 0; i < 20; i++) (await (await service.CreateAsync("""{"num_features":2}""")).TrainAsync(Batch.Random(i, 8, 2))).Expect(200);
        Assert.Equal(Enumerable.Range(14, 128).Reverse().Select(version => (long)version), await VersionsAsync(session));
        (await session.TrainAsync(Batch.Random(1, 8, 2))).Expect(200);
        Assert.Equal(Enumerable.Range(14, 129).Reverse().Select(version => (long)version), await VersionsAsync(session));
    }

    private static async Task<(string History, string Drift, string Health)> SeenAsync(SessionClient session)
    {
        var history = (await session.HistoryAsync("?limit=1024")).Expect(200);
        var diagnostics = (await session.DiagnosticsAsync()).Expect(200);
        return (history.Text, diagnostics["drift"].GetRawText(), diagnostics["health"].GetRawText());
    }

    private static async Task<List<long>> VersionsAsync(SessionClient session) =>
        [.. (await session.HistoryAsync("?limit=1024")).Expect(200)["steps"].EnumerateArray().Select(line => line.GetProperty("version").GetInt64())];
}
