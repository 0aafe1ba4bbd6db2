namespace BnService.Dashboard.Tests.Harness;

/// <summary>One service for tests whose sessions are not in each other's way.</summary>
public sealed class SharedService : IAsyncLifetime
{
    public ServiceProcess Service { get; private set; } = null!;

    public async Task InitializeAsync() => Service = await ServiceProcess.StartAsync();

    public Task DisposeAsync()
    {
        Service.Dispose();
        return Task.CompletedTask;
    }
}
