using System.Globalization;
using BnService.Api.Contracts;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Limits;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Sessions;
using BnService.Api.Storage;
using BnService.Api.Wire;

namespace BnService.Api.Endpoints;

/// <summary>What happens, as it happens: server-sent events.</summary>
internal static class EventsEndpoints
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1), BetweenBeats = TimeSpan.FromSeconds(10);

    // A stream whose client has gone without a word holds a place no longer.
    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(5);

    /// <summary>Maps the calls.</summary>
    public static void MapEvents(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/sessions/{session}/events", Session).WithTags("Diagnostics").Needs(Role.Reader).Takes(Place.Stream).Answers<HistoryLine>(forms: MediaTypes.Events).FindsSession()
            .Describe("GetEvents", "Watch a session", "Server-sent events: `step` for each train-step that this node answers (a line of the history; its id is the version), `inference` for each inference batch that it looks at, `state` where the state has changed otherwise or on another node (version and num_batches_tracked), first of all how it is now, and `gone` when the session is deleted. With `Last-Event-ID` the steps after that version come first, as far as they are remembered. A client that reads slowly misses what the history forgets meanwhile. The stream ends after five minutes, with its key, with the service and where the database cannot be asked; connect again then.");
        routes.MapGet("/events", All).WithTags("Diagnostics").Needs(Role.Reader).Takes(Place.Stream).Answers<ActivityEvent>(forms: MediaTypes.Events)
            .Describe("GetActivity", "Watch all sessions", "Server-sent events: `activity`, at most one a second, names the sessions that have been created, changed or deleted on this node, or that a batch has passed through. The stream ends after five minutes, with its key, with the service and where the database cannot be asked; connect again then.");
    }

    private static async Task<IResult> Session(
        string session, HttpContext context, SessionScope scope, SessionCatalog catalog, IHostApplicationLifetime lifetime, TimeProvider time, CancellationToken cancellationToken)
    {
        var found = await catalog.GetAsync(scope, session, cancellationToken);
        return new Events(lifetime, time, async (stream, ended) =>
        {
            var lastSeen = LastSeen(context.Request);
            // Who has seen nothing reads the history for what was.
            var place = lastSeen is null ? found.Traffic.Since(default).Place : default;
            var (known, isFirst, beaten) = (lastSeen ?? 0, true, time.GetTimestamp());
            while (true)
            {
                var news = found.Traffic.Since(place);
                foreach (var step in news.Steps.Where(step => !isFirst || lastSeen is null || step.Version > lastSeen))
                {
                    stream.Write("step", step.Version, DiagnosticsEndpoints.Line(step, null), ContractJson.Context.HistoryLine);
                    known = Math.Max(known, step.Version);
                }
                foreach (var inference in news.Inferences) stream.Write("inference", null, DiagnosticsEndpoints.Line(inference), ContractJson.Context.InferenceHistoryLine);
                var layer = found.Current.Layer;
                // Another version than the last one said: an older one where the database has gone back.
                if (isFirst || layer.Version != known)
                {
                    var state = new StateEvent { Version = layer.Version, NumBatchesTracked = layer.Running?.BatchesTracked ?? 0 };
                    stream.Write("state", layer.Version, state, ContractJson.Context.StateEvent);
                }
                (place, known, isFirst) = (news.Place, layer.Version, false);
                if (time.GetElapsedTime(beaten) > BetweenBeats)
                {
                    stream.Beat();
                    beaten = time.GetTimestamp();
                }
                await stream.FlushAsync(ended);
                await Task.WhenAny(news.Next, Task.Delay(Pause, time, ended));
                ended.ThrowIfCancellationRequested();
                // It may have been deleted, have changed on another node, or have left memory and come back as another object.
                if (await catalog.FindRecentAsync(scope, found.Id, 0, ended) is not { } again)
                {
                    stream.Write("gone", null, new StateEvent { Version = known, NumBatchesTracked = 0 }, ContractJson.Context.StateEvent);
                    await stream.FlushAsync(ended);
                    return;
                }
                // Who connects again is told that by a 503.
                if (catalog.HasLost(again)) return;
                if (!ReferenceEquals(again, found)) (found, place) = (again, default);
            }
        });
    }

    private static async Task<IResult> All(
        SessionScope scope, SessionCatalog catalog, SessionActivity activity, IHostApplicationLifetime lifetime, TimeProvider time,
        CancellationToken cancellationToken)
    {
        await catalog.RequireStoreAsync(cancellationToken);
        return new Events(lifetime, time, (stream, ended) => WriteAllAsync(stream, scope, catalog, activity, time, ended));
    }

    private static async Task WriteAllAsync(
        EventStream stream, SessionScope scope, SessionCatalog catalog, SessionActivity activity, TimeProvider time, CancellationToken ended)
    {
        var (moves, asked) = (activity.Moves, time.GetTimestamp());
        while (true)
        {
            var (ids, now, next) = activity.Since(scope, moves);
            if (ids.Count > 0) stream.Write("activity", null, new ActivityEvent { Sessions = ids }, ContractJson.Context.ActivityEvent);
            moves = now;
            await stream.FlushAsync(ended);
            await Task.Delay(Pause, time, ended);
            await Task.WhenAny(next, Task.Delay(BetweenBeats, time, ended));
            ended.ThrowIfCancellationRequested();
            if (!next.IsCompleted) stream.Beat();
            if (time.GetElapsedTime(asked) < BetweenBeats) continue;
            // Where it cannot be asked nothing would move, and nobody would know why.
            await catalog.RequireStoreAsync(ended);
            asked = time.GetTimestamp();
        }
    }

    private static long? LastSeen(HttpRequest request) =>
        long.TryParse(request.Headers["Last-Event-ID"], NumberStyles.None, CultureInfo.InvariantCulture, out var version) ? version : null;

    /// <summary>An answer of events, until its client goes, the service stops or it has lasted long enough.</summary>
    private sealed class Events(IHostApplicationLifetime lifetime, TimeProvider time, Func<EventStream, CancellationToken, Task> write) : IResult
    {
        public async Task ExecuteAsync(HttpContext httpContext)
        {
            using var longest = new CancellationTokenSource(Longest, time);
            using var ended = CancellationTokenSource.CreateLinkedTokenSource(httpContext.RequestAborted, lifetime.ApplicationStopping, longest.Token);
            httpContext.Response.ContentType = MediaTypes.EventStream;
            // Proxies would wait for the end of it, and nginx is told so by the second.
            httpContext.Response.Headers.CacheControl = "no-store";
            httpContext.Response.Headers["X-Accel-Buffering"] = "no";
            try
            {
                await write(new EventStream(httpContext.Response.BodyWriter), ended.Token);
            }
            catch (OperationCanceledException) when (ended.IsCancellationRequested)
            {
                // Its end is one like any other.
            }
            catch (StorageUnavailableException)
            {
                // Who connects again is told.
            }
        }
    }
}
