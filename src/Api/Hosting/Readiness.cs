namespace BnService.Api.Hosting;

/// <summary>Whether the service takes requests: from the end of start-up until it is told to stop.</summary>
internal sealed class Readiness(IHostApplicationLifetime lifetime)
{
    /// <summary>Whether the service takes requests now.</summary>
    public bool IsReady => lifetime.ApplicationStarted.IsCancellationRequested && !lifetime.ApplicationStopping.IsCancellationRequested;
}
