using BnService.Api.Errors;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Limits;

/// <summary>
/// The places of requests, of streams and of waiting ranks (section Limits). Of each kind there are so many in all and for one key; and one
/// key never holds more than are left to all others, so that however many keys take what they can get, there is one for the next.
/// </summary>
internal sealed class Places
{
    // Calls that are over in a moment, and pages: more of them than this wait for clients that do not read.
    private const int MostShort = 64, MostPages = 256;

    private readonly Kind[] _kinds;
    private long _begun, _ended;

    /// <summary>The places that the settings give.</summary>
    public Places(IOptions<LimitOptions> options)
    {
        var limits = options.Value;
        // All together hold at most three quarters of the connections: new ones have the rest.
        var requests = Kind.Of(limits.MaxConcurrentRequests, limits.MaxRequestsPerKey, "requests", "MaxConcurrentRequests",
            "MaxRequestsPerKey", limits, 6);
        _kinds =
        [
            requests,
            Kind.Of(limits.MaxStreams, limits.MaxStreamsPerKey, "streams of events", "MaxStreams", "MaxStreamsPerKey", limits, 3),
            Kind.Of(limits.MaxWaitingRanks, limits.MaxWaitingRanksPerKey, "ranks of synchronized steps", "MaxWaitingRanks",
                "MaxWaitingRanksPerKey", limits, 3),
            new(MostPages, MostPages, "pages", null, null),
            new(MostShort, MostShort, "looks at the metrics", null, null),
            new(MostShort, MostShort, "calls about keys", null, null),
            new(MostShort, MostShort, "calls that create keys", null, null),
            new(requests.Most, requests.MostPerKey, "refused bodies", null, null),
        ];
    }

    /// <summary>Number of requests that have come so far, without probes.</summary>
    public long Begun => Interlocked.Read(ref _begun);

    /// <summary>Whether none is on its way, refused ones included.</summary>
    public bool IsIdle => Interlocked.Read(ref _ended) == Begun;

    /// <summary>A request that is no probe has come.</summary>
    public void Begin() => Interlocked.Increment(ref _begun);

    /// <summary>It has been answered, or has ended without an answer.</summary>
    public void End() => Interlocked.Increment(ref _ended);

    /// <summary>Number of places of a kind that are held.</summary>
    public int Held(Place place) => Volatile.Read(ref _kinds[(int)place].Held);

    /// <summary>
    /// Serves a request where there is a place for it, until it is answered or its key is no more; belongs behind the keys: who has none
    /// holds no place that somebody with a key could need.
    /// </summary>
    public async Task ServeAsync(HttpContext context, RequestDelegate next)
    {
        var (place, request) = (PlaceOf(context), RequestContext.Of(context));
        var caller = request.Caller;
        if (place == Place.None)
        {
            await next(context);
            return;
        }
        if (TryTake(place, caller) is not { } shortage)
        {
            try
            {
                using var end = request.Deadline?.EndWith(caller.Ended);
                await next(context);
                return;
            }
            finally
            {
                Leave(place, caller);
            }
        }
        // Not counted any more: a refused client may take long to come to its answer.
        var code = shortage.IsOwn ? ProblemCode.TooManyRequests : ProblemCode.Overloaded;
        if (shortage.IsOwn) context.Response.Headers.RetryAfter = "1";
        await ProblemAnswers.RefuseAsync(context, code, shortage.Detail);
    }

    /// <summary>Takes a place, to be left again; or tells why there is none.</summary>
    public Shortage? TryTake(Place place, Caller caller)
    {
        var kind = _kinds[(int)place];
        var all = Interlocked.Increment(ref kind.Held);
        var own = caller.IsOne ? Interlocked.Increment(ref caller.Held(place)) : 0;
        var shortage = kind.Refuse(all, own);
        if (shortage is not null) Leave(place, caller);
        return shortage;
    }

    /// <summary>Leaves a place that was taken.</summary>
    public void Leave(Place place, Caller caller)
    {
        if (caller.IsOne) Interlocked.Decrement(ref caller.Held(place));
        Interlocked.Decrement(ref _kinds[(int)place].Held);
    }

    private static Place PlaceOf(HttpContext context)
    {
        if (context.GetEndpoint()?.Metadata.GetMetadata<PlaceMetadata>() is { } said) return said.Place;
        if (RequestRate.IsHealth(context.Request.Path)) return Place.None;
        return RequestContext.Of(context).Caller == Caller.Stranger ? Place.Page : Place.Request;
    }

    /// <summary>Why there is no place.</summary>
    /// <param name="IsOwn">Whether the caller itself holds too many.</param>
    /// <param name="Detail">What is allowed.</param>
    internal sealed record Shortage(bool IsOwn, string Detail);

    private sealed class Kind(int most, int mostPerKey, string what, string? setting, string? settingPerKey)
    {
        public int Held;

        public int Most => most;

        public int MostPerKey => mostPerKey;

        // At most so many sixteenths of the connections.
        public static Kind Of(int most, int? mostPerKey, string what, string setting, string settingPerKey, LimitOptions limits,
            int sixteenths)
        {
            var connections = Math.Max(1, (int)(limits.MaxConnections * (long)sixteenths / 16));
            return connections < most
                ? new(connections, mostPerKey ?? connections, what, $"Limits:{setting} is {most}, and Limits:MaxConnections leaves no more",
                    $"Limits:{settingPerKey}")
                : new(most, mostPerKey ?? most, what, $"Limits:{setting}", $"Limits:{settingPerKey}");
        }

        // Given how many are held with this one, and how many of them by its key; 0 where it has none.
        public Shortage? Refuse(int all, int own)
        {
            if (all > most) return new(false, $"the service serves {most} {what} at one time{Named(setting)}, got one more");
            if (own > mostPerKey) return new(true, $"one key may have {mostPerKey} {what} at one time{Named(settingPerKey)}, got one more");
            return own <= most - all + 1 ? null
                : new(true, $"one key may have no more {what} at one time than are left to all others of the {most} that the service " +
                    $"serves{Named(setting)}, got {own}");
        }

        private static string Named(string? setting) => setting is null ? "" : $" ({setting})";
    }
}

/// <summary>What a request holds while it is served. Each kind is counted by itself, so that none takes another one's places.</summary>
internal enum Place
{
    /// <summary>Of a request that computes, or whose body comes.</summary>
    Request,

    /// <summary>Of a stream of events.</summary>
    Stream,

    /// <summary>Of a rank whose call waits for the other ranks of its step.</summary>
    Rank,

    /// <summary>Of a page that needs no key, where the service asks for keys.</summary>
    Page,

    /// <summary>Of a look at the metrics.</summary>
    Metrics,

    /// <summary>Of a call that lists, rotates or revokes keys: it reads no body, and waits for nobody.</summary>
    Keys,

    /// <summary>Of a call that creates a key: it reads a body.</summary>
    NewKey,

    /// <summary>Of the rest of a body that was refused.</summary>
    Refused,

    /// <summary>None: a probe waits for nothing.</summary>
    None,
}

/// <summary>Says in the route tables which places a call is counted by; those of requests where nothing is said.</summary>
internal static class PlaceDescription
{
    /// <summary>The call is counted by these places.</summary>
    public static TBuilder Takes<TBuilder>(this TBuilder route, Place place)
        where TBuilder : IEndpointConventionBuilder => route.WithMetadata(new PlaceMetadata(place));
}

/// <summary>Which places a call is counted by.</summary>
/// <param name="Place">Their kind.</param>
internal sealed record PlaceMetadata(Place Place);
