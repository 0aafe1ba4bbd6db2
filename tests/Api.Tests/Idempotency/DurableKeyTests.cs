namespace BnService.Api.Tests.Idempotency;

/// <summary>Keys are as durable as the state: what was answered before the process ended is answered the same after it.</summary>
public sealed class DurableKeyTests : IDisposable
{
    private static readonly string Body = $$"""{"x":{{Batch.Random(1, 16, 3).Json}}}""";
    private static readonly string Update = $$$"""{"x":{{{Batch.Random(1, 16, 3).Json}}},"dy":{{{Batch.Random(2, 16, 3).Json}}},"update":{"optimizer":"adam","learning_rate":0.1}}""";

    private readonly string _folder = Directory.CreateTempSubdirectory("bn-keys").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("step", true)]
    [InlineData("step", false)]
    [InlineData("interval", true)]
    public async Task A_key_survives_the_end_of_the_process(string durability, bool isKilled)
    {
        var answers = new List<Answer>();
        using (var service = await StartAsync(durability))
        {
            var session = await service.Client.CreateAsync("""{"name":"kept","kind":"batch_renorm","num_features":3,"renorm":{"warmup_steps":0}}""");
            (await session.TrainAsync(Batch.Random(9, 16, 3))).Expect(200);
            answers.AddRange(await AskAsync(session));
            // y is that of gamma and beta, which the update has moved.
            (await session.PutParametersAsync("""{"gamma":[1,1,1],"beta":[0,0,0]}""")).Expect(200);
            for (var i = 0; i < 300; i++) (await session.TrainAsync(Batch.Random(i, 16, 3))).Expect(200);
            if (isKilled) service.Kill();
            else
            {
                service.Terminate();
                await service.ExitAsync();
            }
        }
        using (var service = await StartAsync(durability))
        {
            var session = new SessionClient(service.Client, "kept");
            var before = await session.StateAsync();
            var again = await AskAsync(session);
            foreach (var (first, second) in answers.Zip(again)) SameAnswer.Again(first, second);
            (await session.TrainAsync(Body + " ", ("Idempotency-Key", "train"))).ExpectProblem("idempotency-key-reused");
            Assert.Equal(before, await session.StateAsync());
            // The step itself was in memory.
            (await session.BackwardAsync(again[0].StepId!, Batch.Random(2, 16, 3))).ExpectProblem("step-expired", "resend x");
        }
    }

    /// <summary>
    /// What every client does that gets no answer: it sends the step again, under its key, until it has one. Then each step was made once.
    /// </summary>
    [Fact]
    public async Task Steps_that_are_sent_until_they_are_answered_are_each_made_once()
    {
        const int Kills = 3;
        var (random, step) = (new Random(5), 0);
        for (var round = 0; round <= Kills; round++)
        {
            using var service = await StartAsync("step");
            if (round == 0) await service.Client.CreateAsync("""{"name":"kept","num_features":3,"momentum":null}""");
            var session = new SessionClient(service.Client, "kept");
            var killing = round == Kills ? Task.CompletedTask : Task.Delay(random.Next(50, 400)).ContinueWith(_ => service.Kill(), TaskScheduler.Default);
            try
            {
                for (var end = round == Kills ? step + 10 : int.MaxValue; step < end; step++)
                {
                    var answer = (await session.TrainAsync($$"""{"x":{{Batch.Random(step, 16, 3).Json}},"retain":false}""", ("Idempotency-Key", $"s{step}"))).Expect(200);
                    Assert.Equal(step + 1, answer["num_batches_tracked"].GetInt64());
                }
                Assert.Equal(step, (await session.StatsAsync())["num_batches_tracked"].GetInt64());
            }
            catch (Exception exception) when (round < Kills && exception is HttpRequestException or IOException)
            {
                // Sent again in the next round.
            }
            await killing;
        }
    }

    private Task<ServiceProcess> StartAsync(string durability) => ServiceProcess.StartAsync(
        ("Storage__Engine", "sqlite"), ("Storage__Path", Path.Combine(_folder, "bn.db")), ("Storage__Durability", durability));

    private static async Task<List<Answer>> AskAsync(SessionClient session) =>
    [
        (await session.TrainAsync(Body, ("Idempotency-Key", "train"))).Expect(200),
        (await session.BackwardAsync(Update, ("Idempotency-Key", "update"))).Expect(200),
        (await session.CalibrateAsync(Body, ("Idempotency-Key", "calibrate"))).Expect(200),
        (await session.MergeAsync("""{"moments":[{"count":2,"mean":[1,2,3],"m2":[1,2,3]}]}""", ("Idempotency-Key", "merge"))).Expect(200),
        (await session.CommitAsync(("Idempotency-Key", "commit"))).Expect(200),
        (await session.DropCalibrationAsync(("Idempotency-Key", "drop"))).Expect(204),
    ];
}
