using System.Diagnostics;

namespace BnService.Api.Hosting.Telemetry;

/// <summary>
/// The parts of a request that a trace shows: read, moments, commit, normalize, write. All are children of the request, which stays the
/// current activity: parts overlap (a batch is normalized while it is written), and log events name the request. Nothing is made where
/// nobody listens.
/// </summary>
internal static class Spans
{
    /// <summary>Names of the parts.</summary>
    public const string Read = "read", Moments = "moments", Commit = "commit", Normalize = "normalize", Gradients = "gradients",
        Write = "write";

    /// <summary>Names of what is told of them.</summary>
    public const string Session = "bnservice.session", Shape = "bnservice.shape", Elements = "bnservice.elements",
        Version = "bnservice.version";

    private static readonly ActivitySource Source = new(ServiceMeter.Name);

    /// <summary>Whether anybody listens.</summary>
    public static bool AreSeen => Source.HasListeners();

    /// <summary>Begins a part of the current request; null where nobody listens.</summary>
    public static Activity? Begin(string name)
    {
        if (!Source.HasListeners()) return null;
        var request = Activity.Current;
        var span = Source.StartActivity(name);
        Activity.Current = request;
        return span;
    }

    /// <summary>Ends a part.</summary>
    public static void End(Activity? span)
    {
        if (span is null) return;
        var request = Activity.Current;
        span.Stop();
        Activity.Current = request;
    }

    /// <summary>A part that lasts as long as this is not disposed.</summary>
    public static Span Of(string name) => new(Begin(name));
}

/// <summary>A part of a request, until it is disposed.</summary>
/// <param name="activity">The part; null where nobody listens.</param>
internal readonly struct Span(Activity? activity) : IDisposable
{
    /// <summary>Tells something of it.</summary>
    public void Tag(string name, object? value) => activity?.SetTag(name, value);

    /// <summary>Says that it has failed.</summary>
    public void Fail() => activity?.SetStatus(ActivityStatusCode.Error);

    public void Dispose() => Spans.End(activity);
}
