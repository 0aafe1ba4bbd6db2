using System.Threading.Channels;
using Serilog.Core;
using Serilog.Events;

namespace BnService.Api.Hosting;

/// <summary>
/// Writes log events beside the requests that they tell of: writing one takes as long as answering a small request. Nothing is lost:
/// while more wait than are allowed to, whoever logs writes for itself, and the end waits for what waits.
/// </summary>
internal sealed class BackgroundSink : ILogEventSink, IDisposable
{
    private const int MostWaiting = 4096;

    private readonly Channel<LogEvent> _waiting = Channel.CreateBounded<LogEvent>(new BoundedChannelOptions(MostWaiting) { SingleReader = true });
    private readonly ILogEventSink _sink;
    private readonly Task _writing;

    /// <param name="sink">Where the events go; taken over where it is disposable.</param>
    public BackgroundSink(ILogEventSink sink)
    {
        _sink = sink;
        _writing = Task.Run(WriteAsync);
    }

    /// <inheritdoc/>
    public void Emit(LogEvent logEvent)
    {
        if (!_waiting.Writer.TryWrite(logEvent)) _sink.Emit(logEvent);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _waiting.Writer.TryComplete();
        // The process is about to end: there is no thread left to be kept free.
        _writing.GetAwaiter().GetResult();
        (_sink as IDisposable)?.Dispose();
    }

    private async Task WriteAsync()
    {
        await foreach (var logEvent in _waiting.Reader.ReadAllAsync()) _sink.Emit(logEvent);
    }
}
