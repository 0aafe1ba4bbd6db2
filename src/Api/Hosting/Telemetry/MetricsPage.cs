using BnService.Api.Sessions;
using BnService.Api.Storage;
using OpenTelemetry.Metrics;

namespace BnService.Api.Hosting.Telemetry;

/// <summary>
/// What <c>/metrics</c> shows: what OpenTelemetry has gathered, and the series of sessions. Those come from the sessions themselves: which
/// of them are shown changes, and OpenTelemetry keeps what it has seen once.
/// </summary>
internal sealed class MetricsPage : IDisposable
{
    // A store that does not answer keeps nobody waiting: the last number stands.
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(500);

    private readonly PrometheusText _text = new();
    private readonly PrometheusExporter _exporter;
    private readonly SemaphoreSlim _one = new(1);
    private readonly SessionSeries _sessions;
    private readonly SessionCount _count;

    public MetricsPage(SessionSeries sessions, SessionCount count)
    {
        (_sessions, _count, _exporter) = (sessions, count, new PrometheusExporter(_text));
        Reader = new BaseExportingMetricReader(_exporter);
    }

    /// <summary>Gathers what instruments have measured; for the provider that has the instruments, which disposes it.</summary>
    public MetricReader Reader { get; }

    /// <summary>The page as it is now.</summary>
    public async Task<byte[]> ReadAsync(CancellationToken cancellationToken)
    {
        await FreshenAsync(cancellationToken);
        return await WriteAsync(() =>
        {
            _exporter.Collect!(Timeout.Infinite);
            _sessions.Write(_text);
        }, cancellationToken);
    }

    /// <summary>The statistics of infer requests alone, as Triton has them.</summary>
    public Task<byte[]> ReadInferencesAsync(CancellationToken cancellationToken) =>
        WriteAsync(() => _sessions.WriteInferences(_text), cancellationToken);

    public void Dispose() => _one.Dispose();

    // One after the other: pages are short, and have one buffer.
    private async Task<byte[]> WriteAsync(Action write, CancellationToken cancellationToken)
    {
        await _one.WaitAsync(cancellationToken);
        try
        {
            _text.Clear();
            write();
            return _text.Written.ToArray();
        }
        finally
        {
            _one.Release();
        }
    }

    private async Task FreshenAsync(CancellationToken cancellationToken)
    {
        try
        {
            await _count.FreshenAsync(cancellationToken).AsTask().WaitAsync(Patience, cancellationToken);
        }
        catch (Exception exception) when (exception is TimeoutException or StorageUnavailableException)
        {
            // What cannot be counted is shown as it was, or not at all.
        }
    }
}
