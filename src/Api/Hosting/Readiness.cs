using BnService.Api.Storage;

namespace BnService.Api.Hosting;

/// <summary>Whether the service takes requests: from the end of start-up, with a store that is open, until it is told to stop.</summary>
internal sealed class Readiness(IHostApplicationLifetime lifetime, ISessionStore store)
{
    /// <summary>Whether the service takes requests now.</summary>
    public bool IsReady => lifetime.ApplicationStarted.IsCancellationRequested && !lifetime.ApplicationStopping.IsCancellationRequested
        && store.IsOpen;
}
