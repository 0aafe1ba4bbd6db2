using System.Collections.Concurrent;
using System.Globalization;
using System.Text;
using BnService.Api.Hosting.Auth;
using Serilog.Core;
using Serilog.Events;
using Serilog.Formatting;

namespace BnService.Api.Hosting;

/// <summary>
/// Writes log events beside the requests that they tell of, a batch at a time: writing one by one takes as long as answering small
/// requests. Nothing is lost: while too many wait, whoever logs writes them, and the end waits for what waits.
/// </summary>
internal sealed class BackgroundSink : ILogEventSink, IDisposable
{
    private const int MostWaiting = 4096;

    // Waking a thread for each event would cost more than the event.
    private static readonly TimeSpan Interval = TimeSpan.FromMilliseconds(50);

    private readonly ConcurrentQueue<LogEvent> _waiting = new();
    private readonly Lock _lock = new();
    private readonly ITextFormatter _formatter;
    private readonly StreamWriter _output;
    private readonly StringWriter _text = new(new StringBuilder(4 << 10), CultureInfo.InvariantCulture);
    private readonly Timer _timer;
    private int _count;

    /// <param name="formatter">How an event is written.</param>
    /// <param name="output">Where to; taken over.</param>
    public BackgroundSink(ITextFormatter formatter, Stream output)
    {
        _formatter = formatter;
        _output = new StreamWriter(output, new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), bufferSize: 32 << 10);
        _timer = new Timer(_ => Write(), null, Interval, Interval);
    }

    /// <inheritdoc/>
    public void Emit(LogEvent logEvent)
    {
        _waiting.Enqueue(logEvent);
        if (Interlocked.Increment(ref _count) > MostWaiting || logEvent.Level >= LogEventLevel.Error) Write();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _timer.Dispose();
        Write();
        lock (_lock)
        {
            _output.Dispose();
            _text.Dispose();
        }
    }

    private void Write()
    {
        lock (_lock)
        {
            if (_waiting.IsEmpty) return;
            while (_waiting.TryDequeue(out var logEvent))
            {
                Interlocked.Decrement(ref _count);
                _formatter.Format(logEvent, _text);
                WriteText(_text.GetStringBuilder());
            }
            _output.Flush();
        }
    }

    // Whoever has logged it, and whatever a client has sent: no key is in the log. Hardly ever is there one, and then nothing is copied.
    private void WriteText(StringBuilder text)
    {
        var chunks = text.GetChunks();
        if (!chunks.MoveNext()) return;
        var isWhole = chunks.Current.Length == text.Length;
        if (isWhole && !KeyText.MayBeIn(chunks.Current.Span)) _output.Write(text);
        else _output.Write(KeyText.Mask(text.ToString()));
        text.Clear();
    }
}
