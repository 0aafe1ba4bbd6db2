namespace BnService.Api.Hosting;

/// <summary>What one request is and has moved; read by the request's log event.</summary>
internal sealed class RequestMetering
{
    /// <summary>Template of the route that was found; an exception handler forgets the endpoint.</summary>
    public string? PathTemplate { get; set; }

    /// <summary>Name or id of the session in the path.</summary>
    public string? Session { get; set; }

    /// <summary>Whether it is one of so many that an event for each would be too much.</summary>
    public bool IsOneOfMany { get; set; }

    /// <summary>Bytes of the request's body that were read.</summary>
    public long BodyBytes { get; set; }

    /// <summary>Whether it waits for more of its body.</summary>
    public bool IsAwaitingBody { get; set; }

    /// <summary>Bytes of the answer's body that were written.</summary>
    public long AnswerBytes { get; set; }

    /// <summary>Whether the client has gone before it was answered.</summary>
    public bool IsHungUp { get; set; }

    /// <summary>The metering of a request; made when first asked for.</summary>
    public static RequestMetering Of(HttpContext context)
    {
        if (context.Features.Get<RequestMetering>() is { } metering) return metering;
        metering = new RequestMetering();
        context.Features.Set(metering);
        return metering;
    }
}
