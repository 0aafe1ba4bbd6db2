using System.Diagnostics;
using System.Globalization;
using System.Text;
using BnService.Api.Hosting.Telemetry;
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

    /// <inheritdoc/>
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
    /// <inheritdoc/>
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

    private readonly MessageTemplateTextFormatter _message = new("{Timestamp:HH:mm:ss.fff} {Level:u3} {Message:lj}", CultureInfo.InvariantCulture);
    private readonly StringBuilder _line = new();

    /// <inheritdoc/>
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
