using System.Globalization;
using System.Text;
using BnService.Api.Hosting.Auth;
using Serilog.Configuration;
using Serilog.Core;
using Serilog.Events;
using Serilog.Formatting;

namespace BnService.Api.Hosting;

/// <summary>Writes log events a batch at a time, beside the requests that they tell of: one by one it takes as long as answering small requests.</summary>
/// <param name="formatter">How an event is written.</param>
internal sealed class ConsoleBatches(ITextFormatter formatter) : IBatchedLogEventSink, IDisposable
{
    private readonly StreamWriter _output =
        new(Console.OpenStandardOutput(), new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), bufferSize: 32 << 10);
    private readonly StringWriter _text = new(new StringBuilder(4 << 10), CultureInfo.InvariantCulture) { NewLine = "\n" };

    /// <summary>
    /// How events become batches. The end waits for what waits. If nobody reads the console, newer events are dropped: a log that stands still
    /// must cost neither memory without bound nor the requests.
    /// </summary>
    public static BatchingOptions Options => new()
    {
        BatchSizeLimit = 4096,
        BufferingTimeLimit = TimeSpan.FromMilliseconds(50),
        QueueLimit = 1 << 15,
    };

    /// <inheritdoc/>
    public async Task EmitBatchAsync(IReadOnlyCollection<LogEvent> batch)
    {
        var text = _text.GetStringBuilder();
        foreach (var logEvent in batch)
        {
            // What could not be written comes again, with its batch.
            text.Clear();
            formatter.Format(logEvent, _text);
            WriteText(text);
        }
        await _output.FlushAsync();
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _output.Dispose();
        _text.Dispose();
    }

    // Whoever has logged it, and whatever a client has sent: no key is in the log, and nothing that a terminal would act on, in JSON as well,
    // which escapes less. Hardly ever is there any, and then nothing is copied.
    private void WriteText(StringBuilder text)
    {
        var chunks = text.GetChunks();
        if (!chunks.MoveNext()) return;
        var isWhole = chunks.Current.Length == text.Length;
        if (isWhole && !KeyText.MayBeIn(chunks.Current.Span) && PlainText.AreLines(chunks.Current.Span)) _output.Write(text);
        else PlainText.WriteLines(KeyText.Mask(text.ToString()), _output);
    }
}
