using System.Diagnostics;
using BnService.Bench.Timing;

namespace BnService.Bench.Http.Client;

/// <summary>Clients that ask, wait for the answer and ask again, each on a connection and a thread of its own.</summary>
internal sealed unsafe class ClosedLoop : IDisposable
{
    private readonly Client[] _clients;

    /// <summary>Opens the connections.</summary>
    public ClosedLoop(int port, int connections, long answerCapacity) =>
        _clients = [.. Enumerable.Range(0, connections).Select(_ => new Client(port, answerCapacity))];

    /// <summary>What single exchanges took, in microseconds, in no order.</summary>
    public IEnumerable<double> Latencies => _clients.SelectMany(client => client.Latencies);

    /// <summary>Forgets what single exchanges took.</summary>
    public void Forget()
    {
        foreach (var client in _clients) client.Latencies.Clear();
    }

    /// <summary>Asks once; the answer is the caller's to judge.</summary>
    /// <exception cref="HttpFailure">There is no whole answer.</exception>
    public Answer AskOnce(byte* request, long length) => _clients[0].AskOnce(request, length);

    /// <summary>Lets all of them ask for a time, each once at least.</summary>
    /// <returns>Microseconds per exchange, of all connections together.</returns>
    /// <exception cref="HttpFailure">An answer did not come, or was not 200.</exception>
    public double Run(byte* request, long length, double milliseconds)
    {
        var start = Stopwatch.GetTimestamp();
        var deadline = start + (long)(milliseconds / 1000 * Stopwatch.Frequency);
        Thread[] others = [.. _clients.Skip(1).Select(client => new Thread(() => client.Ask(request, length, deadline)))];
        foreach (var thread in others) thread.Start();
        _clients[0].Ask(request, length, deadline);
        foreach (var thread in others) thread.Join();
        if (_clients.Select(client => client.Failure).FirstOrDefault(failure => failure is not null) is { } failure) throw failure;
        return Clock.MicrosecondsSince(start) / _clients.Sum(client => client.Exchanges);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        foreach (var client in _clients) client.Dispose();
    }

    private sealed class Client(int port, long answerCapacity) : IDisposable
    {
        // So much that the list does not grow within a turn of small exchanges.
        private const int ManyExchanges = 1 << 18;

        private readonly KeepAliveConnection _connection = new(port, answerCapacity);

        public int Exchanges { get; private set; }

        public HttpFailure? Failure { get; private set; }

        public List<double> Latencies { get; } = new(ManyExchanges);

        public Answer AskOnce(byte* request, long length)
        {
            _connection.Exchange(request, length);
            return _connection.Answer;
        }

        public void Ask(byte* request, long length, long deadline)
        {
            (Exchanges, Failure) = (0, null);
            try
            {
                do
                {
                    var start = Stopwatch.GetTimestamp();
                    _connection.Exchange(request, length);
                    Latencies.Add(Clock.MicrosecondsSince(start));
                    if (_connection.Answer.Status != 200) throw new HttpFailure($"answered {_connection.Answer.Status} while it was timed");
                    Exchanges++;
                }
                while (Stopwatch.GetTimestamp() < deadline);
            }
            catch (HttpFailure failure)
            {
                Failure = failure;
            }
        }

        public void Dispose() => _connection.Dispose();
    }
}
