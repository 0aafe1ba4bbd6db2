using BnService.EndToEnd.Faults;

namespace BnService.EndToEnd.Harness;

/// <summary>Nodes of the service on one database, each a process of its own.</summary>
public sealed class Cluster : IDisposable
{
    // Nobody waits for a node that hangs: the next one is asked.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(20);

    private readonly Node[] _nodes;

    private Cluster(Node[] nodes) => _nodes = nodes;

    /// <summary>Starts some nodes at the same time.</summary>
    public static async Task<Cluster> StartAsync(int nodes, string connectionString, params (string Name, string Value)[] environment) => new(
        await Task.WhenAll(Enumerable.Range(1, nodes).Select(number => Node.StartAsync(
        [
            ("Storage__Engine", "postgres"), ("Storage__ConnectionString", connectionString), ("Node__Name", $"node-{number}"), .. environment,
        ]))));

    /// <summary>A client of a node that holds every answer against the contract.</summary>
    public ServiceClient Client(int node) => _nodes[node].Service.Client;

    /// <summary>Where a node listens.</summary>
    public Uri Address(int node) => _nodes[node].Service.Address;

    /// <summary>Asks one of the nodes, in turn, for a change.</summary>
    public Task<long?> TryAsync(int turn, Operation operation) => _nodes[turn % _nodes.Length].TryAsync(operation);

    /// <summary>Kills a node as a power cut would.</summary>
    public void Kill(int node) => _nodes[node].Service.Kill();

    /// <summary>Kills a node as a power cut would, and starts it again.</summary>
    public Task RestartAsync(int node) => _nodes[node].RestartAsync();

    public void Dispose()
    {
        foreach (var node in _nodes) node.Dispose();
    }

    private sealed class Node((string Name, string Value)[] environment) : IDisposable
    {
        private HttpClient? _http;

        public ServiceProcess Service { get; private set; } = null!;

        public static async Task<Node> StartAsync((string Name, string Value)[] environment)
        {
            var node = new Node(environment);
            await node.StartAsync();
            return node;
        }

        public async Task<long?> TryAsync(Operation operation)
        {
            using var patience = new CancellationTokenSource(Patience);
            try
            {
                return await operation.TryAsync(_http!, patience.Token);
            }
            catch (ObjectDisposedException)
            {
                // Killed in this moment.
                return null;
            }
        }

        public async Task RestartAsync()
        {
            Service.Kill();
            Dispose();
            await StartAsync();
        }

        public void Dispose()
        {
            _http?.Dispose();
            Service.Dispose();
        }

        private async Task StartAsync()
        {
            Service = await ServiceProcess.StartAsync(environment);
            _http = new HttpClient { BaseAddress = Service.Address, Timeout = Timeout.InfiniteTimeSpan };
        }
    }
}
