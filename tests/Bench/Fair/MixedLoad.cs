using System.Collections.Concurrent;
using System.Diagnostics;
using System.Text;
using BnService.Bench.Http;
using BnService.Bench.Http.Client;

namespace BnService.Bench.Fair;

/// <summary>One client with small inferences, and two with large batches.</summary>
internal sealed unsafe class MixedLoad
{
    private const int Features = 1024, LargeRows = 25_600, LargeClients = 2;

    private readonly int _port;
    private readonly byte[] _small, _large;

    /// <summary>Creates the session.</summary>
    /// <param name="port">Where the service listens.</param>
    /// <param name="session">Its name.</param>
    /// <param name="layer">Its layer.</param>
    public MixedLoad(int port, string session, string layer)
    {
        _port = port;
        using var http = new HttpClient { BaseAddress = new Uri($"http://127.0.0.1:{port}") };
        using var answer = http.Send(new HttpRequestMessage(HttpMethod.Post, "/v1/sessions")
        {
            Content = new StringContent($$"""{"name":"{{session}}",{{layer}}}""", Encoding.UTF8, "application/json"),
        });
        if (!answer.IsSuccessStatusCode) throw new InvalidOperationException($"creating a session answered {(int)answer.StatusCode}");
        (_small, _large) = (Request($"{session}/inference", 1), Request($"{session}/train-step?retain=false", LargeRows));
    }

    /// <summary>Runs it for some seconds.</summary>
    /// <returns>What each small inference took, and each large train-step, in microseconds.</returns>
    public (List<double> Small, List<double> Large) Run(double seconds, bool loaded)
    {
        using var end = new CancellationTokenSource();
        var large = new ConcurrentQueue<double>();
        List<Thread> others = [.. Enumerable.Range(0, loaded ? LargeClients : 0).Select(_ => new Thread(() => Train(large, end.Token)))];
        others.ForEach(thread => thread.Start());
        if (loaded) Thread.Sleep(500);
        var times = new List<double>();
        using (var connection = new KeepAliveConnection(_port, 64 << 10))
        {
            var start = Stopwatch.GetTimestamp();
            while (Stopwatch.GetElapsedTime(start).TotalSeconds < seconds)
            {
                var before = Stopwatch.GetTimestamp();
                Exchange(connection, _small);
                times.Add(Stopwatch.GetElapsedTime(before).TotalMicroseconds);
            }
        }
        end.Cancel();
        others.ForEach(thread => thread.Join());
        return (times, [.. large]);
    }

    private static void Exchange(KeepAliveConnection connection, byte[] request)
    {
        fixed (byte* bytes = request) connection.Exchange(bytes, request.Length);
        if (connection.Answer.Status != 200) throw new HttpFailure($"answered {connection.Answer.Status}");
    }

    private static byte[] Request(string call, int rows)
    {
        var head = Payload.NumPyHead(rows, Features);
        var body = new byte[head.Length + ((long)rows * Features * sizeof(float))];
        head.CopyTo(body, 0);
        var elements = System.Runtime.InteropServices.MemoryMarshal.Cast<byte, float>(body.AsSpan(head.Length));
        for (var i = 0; i < elements.Length; i++) elements[i] = i * 0.6180339f % 1;
        var line = $"POST /v1/sessions/{call} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-npy\r\nContent-Length: {body.Length}\r\n\r\n";
        return [.. Encoding.ASCII.GetBytes(line), .. body];
    }

    private void Train(ConcurrentQueue<double> times, CancellationToken end)
    {
        using var connection = new KeepAliveConnection(_port, _large.Length + (64 << 10));
        while (!end.IsCancellationRequested)
        {
            var before = Stopwatch.GetTimestamp();
            Exchange(connection, _large);
            times.Enqueue(Stopwatch.GetElapsedTime(before).TotalMicroseconds);
        }
    }
}
