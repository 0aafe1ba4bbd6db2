using System.Diagnostics;
using System.Text;
using BnService.Bench.Cases;
using BnService.Bench.Http;
using BnService.Bench.Http.Client;
using BnService.Bench.Http.Servers;
using BnService.Bench.Timing;

namespace BnService.Bench.Store;

/// <summary>Who trains what.</summary>
/// <param name="Connections">Number of clients, each of which asks, waits for the answer and asks again.</param>
/// <param name="Sessions">Number of sessions that they train.</param>
internal sealed record StoreCase(int Connections, int Sessions)
{
    /// <summary>Rows of x, and its features.</summary>
    public const int Rows = 16, Features = 256;

    /// <summary>The cases that are run.</summary>
    public static IReadOnlyList<StoreCase> All { get; } = [new(1, 1), new(16, 16), new(16, 1)];

    /// <summary>How the case is called.</summary>
    public string Name => $"{Connections} clients, {Sessions} sessions";
}

/// <summary>Clients that train the sessions of some nodes: a client's session is the same for all of its calls, and so is its node.</summary>
internal sealed unsafe class TrainLoad : Contender, IDisposable
{
    private const int AnswerBytes = 1 << 16;

    private readonly List<Trainer> _trainers = [];

    /// <summary>Creates the sessions.</summary>
    /// <param name="name">Name of the contender.</param>
    /// <param name="nodes">Where the nodes listen; clients are spread over them.</param>
    /// <param name="storeCase">The case.</param>
    /// <param name="data">What they train with.</param>
    public TrainLoad(string name, IReadOnlyList<ServerProcess> nodes, StoreCase storeCase, CaseData data)
        : base(name)
    {
        using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{nodes[0].Port}") };
        var prefix = $"bench-{Guid.NewGuid():N}";
        for (var i = 0; i < storeCase.Sessions; i++)
        {
            using var answer = http.Send(new HttpRequestMessage(HttpMethod.Post, "/v1/sessions")
            {
                Content = new StringContent($$"""{"name":"{{prefix}}-{{i}}","num_features":{{StoreCase.Features}}}""", Encoding.UTF8, "application/json"),
            });
            if (!answer.IsSuccessStatusCode) throw new InvalidOperationException($"{name}: creating a session answered {(int)answer.StatusCode}");
        }
        for (var i = 0; i < storeCase.Connections; i++)
            _trainers.Add(new Trainer(nodes[i % nodes.Count].Port, Request($"{prefix}-{i % storeCase.Sessions}", data)));
    }

    /// <inheritdoc/>
    public override void Measure(double milliseconds)
    {
        if (Flaw is not null) return;
        var start = Stopwatch.GetTimestamp();
        var deadline = start + (long)(milliseconds / 1000 * Stopwatch.Frequency);
        List<Thread> threads = [.. _trainers.Select(trainer => new Thread(() => trainer.Train(deadline)))];
        threads.ForEach(thread => thread.Start());
        threads.ForEach(thread => thread.Join());
        Flaw = _trainers.Select(trainer => trainer.Failure).FirstOrDefault(failure => failure is not null);
        if (Flaw is null) Samples.Add(Clock.MicrosecondsSince(start) / _trainers.Sum(trainer => trainer.Steps));
    }

    /// <summary>The median of its turns.</summary>
    public override double Time() => Quantile(Samples, 0.5);

    /// <inheritdoc/>
    public void Dispose() => _trainers.ForEach(trainer => trainer.Dispose());

    private static byte[] Request(string session, CaseData data)
    {
        var body = new byte[Payload.NumPyHead(StoreCase.Rows, StoreCase.Features).Length + data.Case.Bytes];
        var head = Payload.NumPyHead(StoreCase.Rows, StoreCase.Features);
        head.CopyTo(body, 0);
        new ReadOnlySpan<byte>(data.X(0), (int)data.Case.Bytes).CopyTo(body.AsSpan(head.Length));
        return
        [
            .. Encoding.ASCII.GetBytes($"POST /v1/sessions/{session}/train-step?retain=false HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-npy\r\nContent-Length: {body.Length}\r\n\r\n"),
            .. body,
        ];
    }

    private sealed class Trainer(int port, byte[] request) : IDisposable
    {
        private readonly KeepAliveConnection _connection = new(port, AnswerBytes);

        public int Steps { get; private set; }

        public string? Failure { get; private set; }

        public void Train(long deadline)
        {
            Steps = 0;
            try
            {
                fixed (byte* bytes = request)
                {
                    do
                    {
                        _connection.Exchange(bytes, request.Length);
                        if (_connection.Answer.Status != 200) throw new HttpFailure($"a train-step was answered {_connection.Answer.Status}");
                        Steps++;
                    }
                    while (Stopwatch.GetTimestamp() < deadline);
                }
            }
            catch (HttpFailure failure)
            {
                Failure = failure.Message;
            }
        }

        public void Dispose() => _connection.Dispose();
    }
}
