using System.Net.Http.Json;
using BnService.Bench.Cases;

namespace BnService.Bench.Http.Servers;

/// <summary>The layer that all contenders apply: parameters and statistics for which inference is not the identity.</summary>
internal static unsafe class BenchSessions
{
    public const string Inference = "bench-inference";

    public const string InferencePath = $"/v1/sessions/{Inference}/inference";
    public const string TrainStepPath = $"/v1/sessions/{Training}/train-step?retain=false";

    private const string Training = "bench-training";

    /// <summary>Creates one session for inference and one that train-steps move.</summary>
    /// <exception cref="InvalidOperationException">The service refuses.</exception>
    public static void Create(ServerProcess service)
    {
        using var layer = AnyCase();
        using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{service.Port}") };
        foreach (var name in (string[])[Inference, Training])
        {
            Send(HttpMethod.Post, "/v1/sessions", new { name, num_features = HttpCase.Features });
            Send(HttpMethod.Put, $"/v1/sessions/{name}/parameters", new { gamma = layer.Gamma, beta = layer.Beta });
            Send(HttpMethod.Put, $"/v1/sessions/{name}/running-stats",
                new { running_mean = layer.RunningMean, running_var = layer.RunningVariance });
        }

        void Send(HttpMethod method, string path, object body)
        {
            using var request = new HttpRequestMessage(method, path) { Content = JsonContent.Create(body) };
            using var answer = http.Send(request);
            if (!answer.IsSuccessStatusCode) throw new InvalidOperationException($"{method} {path} answered {(int)answer.StatusCode}");
        }
    }

    /// <summary>Writes the same layer into a file for the peers: gamma, beta, running mean, running variance as float32.</summary>
    public static void WriteTo(string file)
    {
        using var layer = AnyCase();
        using var stream = File.Create(file);
        foreach (var values in (nint[])[(nint)layer.Parameters, (nint)layer.RunningStatistics])
            stream.Write(new ReadOnlySpan<byte>((void*)values, 2 * HttpCase.Features * sizeof(float)));
    }

    // The layer is the same in all cases.
    private static CaseData AnyCase() => new(new HttpCase(Rows: 1, Connections: 1).Tensor);
}
