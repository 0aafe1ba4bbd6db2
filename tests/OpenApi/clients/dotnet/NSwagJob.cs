using BnService.GeneratedClients.NSwag;

namespace BnService.GeneratedClients;

/// <summary>The main job through NSwag's client.</summary>
internal static class NSwagJob
{
    public static async Task RunAsync(string url)
    {
        using var http = new HttpClient();
        var client = new BnServiceClient(http) { BaseUrl = url };
        const string name = "nswag";
        var (x, dy) = (new Tensor { Shape = Expected.Shape, Data = Expected.Batch }, new Tensor { Shape = Expected.Shape, Data = Expected.Gradient });
        var session = await client.CreateSessionAsync(body: new CreateSessionRequest { Name = name, Num_features = 2 });
        Expected.Is(session.Kind, NormalizerKind.Batch_norm);
        var step = await client.TrainStepAsync(name, if_Match: null, idempotency_Key: null, body: new TrainStepRequest { X = x });
        Expected.Are(step.Y.Data, Expected.Normalized);
        var served = await client.InferenceAsync(name, version: null, bn_Min_Version: null, body: new InferenceRequest { X = x });
        Expected.Are(served.Y.Data, Expected.Inferred);
        var gradients = await client.BackwardAsync(name, if_Match: null, idempotency_Key: null, body: new BackwardRequest
        {
            Step_id = step.Step_id,
            Dy = dy,
            Update = new UpdateRequest { Optimizer = Optimizer.Sgd, Learning_rate = 0.5 },
        });
        Expected.Are(gradients.Dbeta, 4, 0);
        Expected.Are(gradients.Beta, -2, 0);
        Expected.Are((await client.GetStatsAsync(name, include: null)).Running_mean, 0.25, 2.5);
        await client.DeleteSessionAsync(name, if_Match: null);
        try
        {
            await client.GetSessionAsync(name);
            throw new InvalidOperationException("the session is still there");
        }
        catch (ApiException<Problem> problem)
        {
            Expected.Is(problem.Result.Code, "session-not-found");
        }
    }
}
