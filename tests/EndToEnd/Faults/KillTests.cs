namespace BnService.EndToEnd.Faults;

/// <summary>The service with its file, killed at any moment: what it has answered is there again, once, and nothing else.</summary>
public sealed class KillTests : IDisposable
{
    private const int Writers = 8;

    private readonly string _folder = Directory.CreateTempSubdirectory("bn-kill").FullName;
    private readonly Replay _replay = new();

    public void Dispose()
    {
        _replay.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Theory]
    [InlineData("step")]
    [InlineData("interval")]
    public async Task Every_change_that_was_answered_is_made_once_and_no_half_of_another_one(string durability)
    {
        var (rounds, random) = (Soak.Of(2, 200), new Random(11));
        var writers = Enumerable.Range(0, Writers).Select(i => new Writer($"w{i}")).ToList();
        for (var round = 0; round <= rounds; round++)
        {
            using var service = await ServiceProcess.StartAsync(("Storage__Path", Path.Combine(_folder, "bn.db")), ("Storage__Durability", durability));
            foreach (var writer in writers)
            {
                if (round == 0) (await service.Client.PostAsync("/v1/sessions", Operation.Options(writer.Session))).Expect(201);
                else await CheckAsync(service, writer);
            }
            if (round == rounds) break;
            using var http = new HttpClient { BaseAddress = service.Address };
            using var isKilled = new CancellationTokenSource();
            var before = writers.Sum(writer => writer.Answered);
            var writing = writers.Select(writer => writer.WriteAsync(http, isKilled.Token)).ToList();
            // A process that has just started has answered nothing that could be lost.
            await Eventually.TrueAsync(() => writers.Sum(writer => writer.Answered) >= before + (4 * Writers), "changes are not answered");
            await Task.Delay(random.Next(0, 100));
            service.Kill();
            await isKilled.CancelAsync();
            await Task.WhenAll(writing);
        }
        Soak.Report($"{rounds} kills under {Writers} writers ({durability}): {writers.Sum(writer => writer.Answered)} changes answered, 0 lost, 0 made twice");
    }

    // All that were answered are there, and at most the one in flight as well; the state is that of so many changes to the last bit.
    private async Task CheckAsync(ServiceProcess service, Writer writer)
    {
        var session = new SessionClient(service.Client, writer.Session);
        var state = (await session.GetStateAsync()).Expect(200);
        var made = (int)state.Version - 1;
        Assert.InRange(made, writer.Answered, writer.Answered + 1);
        Assert.Equal(await _replay.StateAfterAsync(writer.Session, made), state.Text);
    }

    // One after the other; what was not answered is asked for again, under its key.
    private sealed class Writer(string session)
    {
        public string Session { get; } = session;

        public int Answered { get; private set; }

        public async Task WriteAsync(HttpClient http, CancellationToken isKilled)
        {
            while (await new Operation(Session, Answered).TryAsync(http, isKilled) is { } version)
            {
                Assert.Equal(Answered + 2, version);
                Answered++;
            }
        }
    }
}
