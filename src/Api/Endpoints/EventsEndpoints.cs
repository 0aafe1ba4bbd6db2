using System.IO.Pipelines;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using System.Globalization;
using BnService.Api.Contracts;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Limits;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Sessions;
using BnService.Api.Storage;
using BnService.Api.Wire;
using Microsoft.AspNetCore.Mvc;

namespace BnService.Api.Endpoints;

/// <summary>What happens, as it happens: server-sent events.</summary>
internal static class EventsEndpoints
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1), BetweenBeats = TimeSpan.FromSeconds(10);

    // A stream whose client has gone without a word holds a place no longer.
    private static readonly TimeSpan Longest = TimeSpan.FromMinutes(5);

    public static void MapEvents(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/sessions/{session}/events", Session).WithName("GetEvents").WithTags("Diagnostics").Needs(Role.Reader)
            .Takes(Place.Stream).FindsSession().Answers<HistoryLine>(forms: MediaTypes.Events);
        routes.MapGet("/events", All).WithName("GetActivity").WithTags("Diagnostics").Needs(Role.Reader)
            .Takes(Place.Stream).Answers<ActivityEvent>(forms: MediaTypes.Events);
    }

    /// <summary>Watch a session</summary>
    /// <remarks>
    /// Server-sent events: `step` for each train-step that this node answers (a line of the history; its id is the version), `inference`
    /// for each inference batch that it looks at, `state` where the state has changed otherwise or on another node (version and
    /// num_batches_tracked), first of all how it is now, and `gone` when the session is deleted. With `Last-Event-ID` the steps after that
    /// version come first, as far as they are remembered. A client that reads slowly misses what the history forgets meanwhile. The stream
    /// ends after five minutes, with its key, with the service and where the database cannot be asked; connect again then.
    /// </remarks>
    internal static async Task<IResult> Session(
        [AsParameters] SessionCall call, HttpRequest request, IHostApplicationLifetime lifetime, TimeProvider time)
    {
        var watch = new SessionWatch(call.Scope, call.Catalog, await call.GetAsync(), LastSeen(request), time);
        return new Events(lifetime, time, watch.WriteAsync);
    }

    /// <summary>Watch all sessions</summary>
    /// <remarks>
    /// Server-sent events: `activity`, at most one a second, names the sessions that have been created, changed or deleted on this node, or
    /// that a batch has passed through. The stream ends after five minutes, with its key, with the service and where the database cannot be
    /// asked; connect again then.
    /// </remarks>
    internal static async Task<IResult> All([AsParameters] ActivityCall call)
    {
        await call.Catalog.RequireStoreAsync(call.Ended);
        return new Events(call.Lifetime, call.Time, (stream, ended) => WriteAllAsync(stream, call, ended));
    }

    private static async Task WriteAllAsync(EventStream stream, ActivityCall call, CancellationToken ended)
    {
        var time = call.Time;
        var (moves, asked) = (call.Activity.Moves, time.GetTimestamp());
        while (true)
        {
            var (ids, now, next) = call.Activity.Since(call.Scope, moves);
            if (ids.Count > 0) stream.Write("activity", null, new ActivityEvent { Sessions = ids }, ContractJson.Context.ActivityEvent);
            moves = now;
            await stream.FlushAsync(ended);
            await Task.Delay(Pause, time, ended);
            await Task.WhenAny(next, Task.Delay(BetweenBeats, time, ended));
            ended.ThrowIfCancellationRequested();
            if (!next.IsCompleted) stream.Beat();
            if (time.GetElapsedTime(asked) < BetweenBeats) continue;
            // If the store is unreachable nothing would move, and nobody would know why.
            await call.Catalog.RequireStoreAsync(ended);
            asked = time.GetTimestamp();
        }
    }

    private static long? LastSeen(HttpRequest request) =>
        long.TryParse(request.Headers["Last-Event-ID"], NumberStyles.None, CultureInfo.InvariantCulture, out var version) ? version : null;

    /// <summary>Tells one client what happens to a session.</summary>
    private sealed class SessionWatch(SessionScope scope, SessionCatalog catalog, LayerSession found, long? lastSeen, TimeProvider time)
    {
        private LayerSession _session = found;
        private long _known = lastSeen ?? 0, _beaten = time.GetTimestamp();
        private bool _isFirst = true;

        // A client that has seen nothing reads the history for what was before.
        private TrafficPlace _place = lastSeen is null ? found.Traffic.Since(default).Place : default;

        public async Task WriteAsync(EventStream stream, CancellationToken ended)
        {
            do
            {
                var next = WriteNews(stream);
                if (time.GetElapsedTime(_beaten) > BetweenBeats)
                {
                    stream.Beat();
                    _beaten = time.GetTimestamp();
                }
                await stream.FlushAsync(ended);
                await Task.WhenAny(next, Task.Delay(Pause, time, ended));
                ended.ThrowIfCancellationRequested();
            }
            while (await IsStillThereAsync(stream, ended));
        }

        private Task WriteNews(EventStream stream)
        {
            var news = _session.Traffic.Since(_place);
            foreach (var step in news.Steps.Where(step => !_isFirst || lastSeen is null || step.Version > lastSeen))
            {
                stream.Write("step", step.Version, DiagnosticsEndpoints.Line(step, null), ContractJson.Context.HistoryLine);
                _known = Math.Max(_known, step.Version);
            }
            foreach (var inference in news.Inferences)
                stream.Write("inference", null, DiagnosticsEndpoints.Line(inference), ContractJson.Context.InferenceHistoryLine);
            var layer = _session.Current.Layer;
            // Another version than the last one that was told: an older one if the database has gone back.
            if (_isFirst || layer.Version != _known)
            {
                var state = new StateEvent { Version = layer.Version, NumBatchesTracked = layer.Running?.BatchesTracked ?? 0 };
                stream.Write("state", layer.Version, state, ContractJson.Context.StateEvent);
            }
            (_place, _known, _isFirst) = (news.Place, layer.Version, false);
            return news.Next;
        }

        // It may have been deleted, have changed on another node, or have left memory and come back as another object.
        private async Task<bool> IsStillThereAsync(EventStream stream, CancellationToken ended)
        {
            if (await catalog.FindRecentAsync(scope, _session.Id, 0, ended) is not { } again)
            {
                stream.Write("gone", null, new StateEvent { Version = _known, NumBatchesTracked = 0 }, ContractJson.Context.StateEvent);
                await stream.FlushAsync(ended);
                return false;
            }
            // A client that connects again is told by a 503.
            if (catalog.HasLost(again)) return false;
            if (!ReferenceEquals(again, _session)) (_session, _place) = (again, default);
            return true;
        }
    }

    /// <summary>An answer of events, until its client goes, the service stops or it has lasted long enough.</summary>
    private sealed class Events(
        IHostApplicationLifetime lifetime, TimeProvider time, Func<EventStream, CancellationToken, Task> write) : IResult
    {
        public async Task ExecuteAsync(HttpContext httpContext)
        {
            using var longest = new CancellationTokenSource(Longest, time);
            using var ended = CancellationTokenSource.CreateLinkedTokenSource(httpContext.RequestAborted, lifetime.ApplicationStopping,
                longest.Token);
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

/// <summary>A call that watches all sessions.</summary>
internal sealed record ActivityCall(
    SessionScope Scope,
    [property: FromServices] SessionCatalog Catalog,
    [property: FromServices] SessionActivity Activity,
    [property: FromServices] IHostApplicationLifetime Lifetime,
    [property: FromServices] TimeProvider Time,
    CancellationToken Ended);

/// <summary>Writes server-sent events.</summary>
/// <remarks>
/// TypedResults.ServerSentEvents has no comments, which keep a connection open, and sends the head with the first event alone.
/// </remarks>
internal sealed class EventStream(PipeWriter body)
{
    /// <summary>Writes one event; <see cref="FlushAsync"/> sends it.</summary>
    /// <param name="id">What the client names as the last one it has seen, or null.</param>
    public void Write<T>(string name, long? id, T data, JsonTypeInfo<T> contract)
    {
        Text($"event: {name}\n");
        if (id is { } number) Text(string.Create(CultureInfo.InvariantCulture, $"id: {number}\n"));
        // JSON has no line breaks within it.
        Text($"data: {JsonSerializer.Serialize(data, contract)}\n\n");
    }

    /// <summary>Writes a comment, which keeps the connection open and says nothing.</summary>
    public void Beat() => Text(":\n\n");

    public async Task FlushAsync(CancellationToken cancellationToken) => await body.FlushAsync(cancellationToken);

    private void Text(string text)
    {
        var length = Encoding.UTF8.GetBytes(text, body.GetSpan(Encoding.UTF8.GetMaxByteCount(text.Length)));
        body.Advance(length);
    }
}
