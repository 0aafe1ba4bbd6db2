using BnService.GeneratedClients.Kiota;
using BnService.GeneratedClients.Kiota.Models;
using Microsoft.Kiota.Abstractions.Authentication;
using Microsoft.Kiota.Http.HttpClientLibrary;

namespace BnService.GeneratedClients;

/// <summary>The main job through Kiota's client.</summary>
internal static class KiotaJob
{
    public static async Task RunAsync(string url)
    {
        using var adapter = new HttpClientRequestAdapter(new AnonymousAuthenticationProvider()) { BaseUrl = url };
        var client = new BnServiceClient(adapter);
        const string name = "kiota";
        var x = new Tensor { Shape = [.. Expected.Shape], Data = [.. Expected.Batch] };
        var dy = new Tensor { Shape = [.. Expected.Shape], Data = [.. Expected.Gradient] };
        var created = await client.V1.Sessions.PostAsync(new CreateSessionRequest { Name = name, NumFeatures = 2 });
        Expected.Is(created!.Kind, NormalizerKind.Batch_norm);
        var session = client.V1.Sessions[name];
        var step = await session.TrainStep.PostAsync(new TrainStepRequest { X = x });
        Expected.Are(Expected.Values(step!.Y!.Data), Expected.Normalized);
        var served = await session.Inference.PostAsync(new InferenceRequest { X = x });
        Expected.Are(Expected.Values(served!.Y!.Data), Expected.Inferred);
        var gradients = await session.Backward.PostAsync(new BackwardRequest
        {
            StepId = step.StepId,
            Dy = dy,
            Update = new UpdateRequest { Optimizer = Optimizer.Sgd, LearningRate = 0.5 },
        });
        Expected.Are(Expected.Values(gradients!.Dbeta), 4, 0);
        Expected.Are(Expected.Values(gradients.Beta), -2, 0);
        Expected.Are(Expected.Values((await session.Stats.GetAsync())!.RunningMean), 0.25, 2.5);
        var listed = await client.V1.Sessions.GetAsync(request => (request.QueryParameters.Prefix, request.QueryParameters.Limit) = (name, 1));
        Expected.Is(listed!.Sessions!.Count, 1);
        await session.DeleteAsync();
        try
        {
            await session.GetAsync();
            throw new InvalidOperationException("the session is still there");
        }
        catch (Problem problem)
        {
            Expected.Is(problem.Code, "session-not-found");
        }
    }
}
