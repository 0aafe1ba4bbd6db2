using Microsoft.Extensions.Logging;

namespace BnService.Client.Tests.Harness;

/// <summary>A client of the service in this process, with something between them that can go wrong, and a clock that never waits.</summary>
public sealed class ClientOfService : IDisposable
{
    public ClientOfService(params Fault[] faults)
        : this(new Service(), new FaultHandler(faults))
    {
    }

    public ClientOfService(Service service, FaultHandler faults, Action<BnClientOptions>? configure = null, ILogger<BnClient>? logger = null)
    {
        (Service, Faults) = (service, faults);
        var options = new BnClientOptions { Time = Time, AttemptTimeout = SkippedTime.Limit };
        configure?.Invoke(options);
        Client = new BnClient(service.NewHttp(faults), options, logger);
    }

    public Service Service { get; }

    public FaultHandler Faults { get; }

    public SkippedTime Time { get; } = new();

    public BnClient Client { get; }

    public Task<LayerSession> BatchNormAsync(string name, int features) => Client.CreateSessionAsync(name, new BatchNormOptions { NumFeatures = features });

    public void Dispose() => Service.Dispose();
}
