using BnService.Api.Sessions;
using BnService.Api.Storage;
using Microsoft.Extensions.DependencyInjection;

namespace BnService.Api.Tests.Telemetry;

/// <summary>A service to which everything has happened that it counts.</summary>
public sealed class Traffic : IDisposable
{
    public static Batch X { get; } = Batch.Random(1, 16, 2);

    private readonly Service _otherNode;

    public Traffic()
    {
        Service = Service.Replacing(services => services.AddSingleton<ISessionStore>(Store));
        _otherNode = Service.Replacing(services => services.AddSingleton<ISessionStore>(Store));
    }

    public WatchedStore Store { get; } = new();

    public Service Service { get; }

    /// <summary>Makes it happen.</summary>
    public async Task HappenAsync(string name)
    {
        var session = await Service.CreateAsync($$"""{"name":"{{name}}","num_features":2}""");
        await OvertakenAsync(session);
        var step = await session.TrainAsync($$"""{"x":{{X.Json}}}""", ("Idempotency-Key", "a"));
        (await session.TrainAsync($$"""{"x":{{X.Json}}}""", ("Idempotency-Key", "a"))).Expect(200);
        (await session.InferAsync(X)).Expect(200);
        (await session.BackwardAsync(step.StepId!, X)).Expect(200);
        (await session.CalibrateAsync(X)).Expect(200);
        (await Service.Client.PostAsync("/v1/normalize", $$"""{"x":{{X.Json}},"kind":"batch_norm"}""")).Expect(200);
        // Large enough to take its turn.
        (await Service.Client.PostAsync("/v1/normalize?kind=batch_norm", Forms.Npy, ArrayFile.Of(Batch.Random(1, ComputeGate.LargeElements / 2, 2)))).Expect(200);
        var model = new ModelClient(Service.Client, session);
        (await model.InferAsync(ModelClient.Request(ModelClient.Input(X)))).Expect(200);
        (await model.InferAsync("{")).Expect(400);
        var ranks = new RankGroup(session, Service.Client, 2);
        await ranks.AllAsync(200, rank => ranks.TrainAsync(rank, X));
        await AwayAsync(session);
    }

    /// <summary>A step is overtaken by another node.</summary>
    public async Task OvertakenAsync(SessionClient session)
    {
        Store.BeforeNextUpdate = async () => (await new SessionClient(_otherNode.Client, session.Name).TrainAsync(X)).Expect(200);
        (await session.TrainAsync(X)).Expect(200);
    }

    /// <summary>The store goes away while a step is being stored.</summary>
    public async Task AwayAsync(SessionClient session)
    {
        Store.BeforeNextUpdate = () =>
        {
            Store.IsAway = true;
            return Task.CompletedTask;
        };
        (await Service.Unchecked.PostAsync($"{session.Path}/train-step", $$"""{"x":{{X.Json}},"retain":false}""")).Expect(503);
        Store.IsAway = false;
    }

    public void Dispose()
    {
        Service.Dispose();
        _otherNode.Dispose();
    }
}
