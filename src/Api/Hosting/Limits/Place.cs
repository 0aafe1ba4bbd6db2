namespace BnService.Api.Hosting.Limits;

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
