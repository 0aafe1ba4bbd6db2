using System.Buffers;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Telemetry;
using Serilog.Configuration;
using Serilog.Core;
using Serilog.Events;
using Serilog.Formatting;
using Serilog.Formatting.Display;

namespace BnService.Api.Hosting;

/// <summary>Adds the session of the request that an event belongs to, where the event does not name it itself.</summary>
internal sealed class SessionOfRequest : ILogEventEnricher
{
    /// <summary>Name of the property.</summary>
    public const string Property = "Session";

    public void Enrich(LogEvent logEvent, ILogEventPropertyFactory propertyFactory)
    {
        if (logEvent.Properties.ContainsKey(Property)) return;
        for (var activity = Activity.Current; activity is not null; activity = activity.Parent)
        {
            if (activity.GetTagItem(Spans.Session) is not string session) continue;
            logEvent.AddPropertyIfAbsent(new LogEventProperty(Property, new ScalarValue(session)));
            return;
        }
    }
}

/// <summary>
/// Makes the values of events plain (<see cref="PlainText"/>): for the sinks that the configuration adds, which write them as they are.
/// </summary>
internal sealed class PlainProperties : ILogEventEnricher
{
    public void Enrich(LogEvent logEvent, ILogEventPropertyFactory propertyFactory)
    {
        foreach (var (name, value) in logEvent.Properties.ToList()) logEvent.AddOrUpdateProperty(new LogEventProperty(name, Plain(value)));
    }

    private static LogEventPropertyValue Plain(LogEventPropertyValue value) => value switch
    {
        ScalarValue { Value: string text } => new ScalarValue(PlainText.Of(text)),
        ScalarValue { Value: Uri uri } => new ScalarValue(PlainText.Of(uri.ToString())),
        SequenceValue sequence => new SequenceValue(sequence.Elements.Select(Plain)),
        StructureValue structure => new StructureValue(
            structure.Properties.Select(part => new LogEventProperty(part.Name, Plain(part.Value))), structure.TypeTag),
        DictionaryValue map => new DictionaryValue(
            map.Elements.Select(entry => KeyValuePair.Create((ScalarValue)Plain(entry.Key), Plain(entry.Value)))),
        _ => value,
    };
}

/// <summary>
/// Events as lines for people: the session where the message does not name it, and the trace that <c>trace_id</c> in a problem names. What
/// is behind an event's line belongs to its exception, and is indented: nothing that a client sends can look like an event.
/// </summary>
internal sealed class TextEvents : ITextFormatter
{
    private const string Indent = "    ";

    private readonly MessageTemplateTextFormatter _message =
        new("{Timestamp:HH:mm:ss.fff} {Level:u3} {Message:lj}", CultureInfo.InvariantCulture);
    private readonly StringBuilder _line = new();

    public void Format(LogEvent logEvent, TextWriter output)
    {
        lock (_line)
        {
            using (var line = new StringWriter(_line.Clear(), CultureInfo.InvariantCulture)) _message.Format(logEvent, line);
            if (logEvent.Properties.GetValueOrDefault(SessionOfRequest.Property) is ScalarValue { Value: string session }
                && !logEvent.MessageTemplate.Text.Contains($"{{{SessionOfRequest.Property}}}", StringComparison.Ordinal))
            {
                _line.Append(" session ").Append(session);
            }
            if (logEvent.TraceId is { } trace) _line.Append(" trace ").Append(trace.ToHexString());
            foreach (var chunk in _line.GetChunks()) PlainText.Write(chunk.Span, output);
        }
        output.Write('\n');
        if (logEvent.Exception is not { } exception) return;
        foreach (var part in exception.ToString().AsSpan().EnumerateLines())
        {
            output.Write(Indent);
            PlainText.Write(part, output);
            output.Write('\n');
        }
    }
}

/// <summary>
/// Writes log events a batch at a time, beside the requests that they tell of: one by one it takes as long as answering small requests.
/// </summary>
/// <param name="formatter">How an event is written.</param>
internal sealed class ConsoleBatches(ITextFormatter formatter) : IBatchedLogEventSink, IDisposable
{
    private readonly StreamWriter _output =
        new(Console.OpenStandardOutput(), new UTF8Encoding(encoderShouldEmitUTF8Identifier: false), bufferSize: 32 << 10);
    private readonly StringWriter _text = new(new StringBuilder(4 << 10), CultureInfo.InvariantCulture) { NewLine = "\n" };

    /// <summary>
    /// How events become batches. The end waits for what waits. If nobody reads the console, newer events are dropped: a log that stands
    /// still must cost neither memory without bound nor the requests.
    /// </summary>
    public static BatchingOptions Options => new()
    {
        BatchSizeLimit = 4096,
        BufferingTimeLimit = TimeSpan.FromMilliseconds(50),
        QueueLimit = 1 << 15,
    };

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

    public void Dispose()
    {
        _output.Dispose();
        _text.Dispose();
    }

    // Whoever has logged it, and whatever a client has sent: no key is in the log, and nothing that a terminal would act on, in JSON as
    // well, which escapes less. Hardly ever is there any, and then nothing is copied.
    private void WriteText(StringBuilder text)
    {
        var chunks = text.GetChunks();
        if (!chunks.MoveNext()) return;
        var isWhole = chunks.Current.Length == text.Length;
        if (isWhole && !KeyText.MayBeIn(chunks.Current.Span) && PlainText.AreLines(chunks.Current.Span)) _output.Write(text);
        else PlainText.WriteLines(KeyText.Mask(text.ToString()), _output);
    }
}

/// <summary>
/// Text in which a terminal, and whoever reads it line by line, finds nothing to act on: control characters, ends of lines, and marks that
/// turn the direction of what is behind them are written as escapes (<c>\u001b</c>).
/// </summary>
internal static class PlainText
{
    private static readonly char[] Acting = [.. Enumerable.Range(0, char.MaxValue).Select(code => (char)code).Where(IsActing)];
    private static readonly SearchValues<char> OfText = SearchValues.Create(Acting);
    private static readonly SearchValues<char> OfLines = SearchValues.Create(Array.FindAll(Acting, character => character != '\n'));

    /// <summary>A text as one line; the same text where it is plain.</summary>
    public static string Of(string text)
    {
        if (!text.AsSpan().ContainsAny(OfText)) return text;
        var plain = new StringWriter(new StringBuilder(text.Length + 16), CultureInfo.InvariantCulture);
        Write(text, plain);
        return plain.ToString();
    }

    /// <summary>Whether lines hold nothing that must be escaped but their ends.</summary>
    public static bool AreLines(ReadOnlySpan<char> text) => !text.ContainsAny(OfLines);

    /// <summary>Writes a text as a part of one line.</summary>
    public static void Write(ReadOnlySpan<char> text, TextWriter output) => Write(text, output, OfText);

    /// <summary>Writes lines, with their ends.</summary>
    public static void WriteLines(ReadOnlySpan<char> text, TextWriter output) => Write(text, output, OfLines);

    private static void Write(ReadOnlySpan<char> text, TextWriter output, SearchValues<char> acting)
    {
        while (text.IndexOfAny(acting) is var next and >= 0)
        {
            output.Write(text[..next]);
            output.Write("\\u");
            output.Write(((int)text[next]).ToString("x4", CultureInfo.InvariantCulture));
            text = text[(next + 1)..];
        }
        output.Write(text);
    }

    private static bool IsActing(char character) => char.GetUnicodeCategory(character)
        is UnicodeCategory.Control or UnicodeCategory.Format or UnicodeCategory.LineSeparator or UnicodeCategory.ParagraphSeparator;
}
