using BnService.Bench.Http.Client;
using BnService.Bench.Http.Servers;
using BnService.Bench.Timing;

namespace BnService.Bench.Http;

/// <summary>The names of the contenders in a row.</summary>
internal static class HttpNames
{
    public const string Inference = "inference";
    public const string TrainStep = "train-step";
    public const string OpenInference = "infer, Open Inference Protocol";
    public const string OwnEcho = "echo, our configuration";
    public const string DefaultEcho = "echo, default Kestrel";
    public const string RawEcho = "echo in C";
    public const string TorchInference = "FastAPI inference";
    public const string TorchTrainStep = "FastAPI train-step";
    public const string Binding = "System.Text.Json binding";
    public const string SimdJson = "simdjson, reading alone";
}

/// <summary>A server that is asked one and the same thing again and again.</summary>
/// <param name="name">Its name in the row.</param>
/// <param name="server">The server.</param>
/// <param name="request">What it is asked, but for the payload.</param>
/// <param name="payload">The rest of what it is asked.</param>
/// <param name="connections">By how many clients.</param>
internal sealed unsafe class HttpContender(string name, ServerProcess server, HttpRequest request, Payload payload, int connections)
    : Contender(name), IDisposable
{
    // Numbers in JSON may come back with more than twice the digits that they were sent with.
    private readonly ClosedLoop _clients = new(server.Port, connections, (3L * payload.Length) + (64 << 10));

    /// <summary>The median latency in microseconds.</summary>
    public double MedianLatency => Quantile([.. _clients.Latencies], 0.5);

    /// <summary>The latency in microseconds that one exchange in a hundred exceeds.</summary>
    public double HighLatency => Quantile([.. _clients.Latencies], 0.99);

    private long Length => request.Prefix.Length + payload.Length;

    /// <summary>Asks for the first time.</summary>
    /// <returns>Why the answer is not the right one; null where it is.</returns>
    public string? Introduce(AnswerCheck check)
    {
        try
        {
            return check(_clients.AskOnce(payload.Precede(request.Prefix), Length));
        }
        catch (Exception exception) when (exception is HttpFailure or FormatException)
        {
            return exception.Message;
        }
    }

    /// <inheritdoc/>
    public override void Measure(double milliseconds)
    {
        if (Flaw is not null) return;
        try
        {
            Samples.Add(_clients.Run(payload.Precede(request.Prefix), Length, milliseconds));
        }
        catch (HttpFailure failure)
        {
            Flaw = failure.Message;
        }
    }

    /// <inheritdoc/>
    public override void Forget()
    {
        base.Forget();
        _clients.Forget();
    }

    /// <summary>The median of its turns.</summary>
    public override double Time() => Quantile(Samples, 0.5);

    /// <inheritdoc/>
    public void Dispose() => _clients.Dispose();
}
