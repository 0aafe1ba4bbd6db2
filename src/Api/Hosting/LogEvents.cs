using System.Diagnostics;
using System.Globalization;
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

/// <summary>Events as lines for people: the session where the message does not name it, and the trace that <c>trace_id</c> in a problem names.</summary>
internal sealed class TextEvents : ITextFormatter
{
    private readonly MessageTemplateTextFormatter _message = new("{Timestamp:HH:mm:ss.fff} {Level:u3} {Message:lj}", CultureInfo.InvariantCulture);

    /// <inheritdoc/>
    public void Format(LogEvent logEvent, TextWriter output)
    {
        _message.Format(logEvent, output);
        if (logEvent.Properties.GetValueOrDefault(SessionOfRequest.Property) is ScalarValue { Value: string session }
            && !logEvent.MessageTemplate.Text.Contains($"{{{SessionOfRequest.Property}}}", StringComparison.Ordinal))
        {
            output.Write($" session {session}");
        }
        if (logEvent.TraceId is { } trace)
        {
            output.Write(" trace ");
            output.Write(trace.ToHexString());
        }
        output.WriteLine();
        if (logEvent.Exception is { } exception) output.WriteLine(exception);
    }
}
