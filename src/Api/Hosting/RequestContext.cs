using BnService.Api.Endpoints;
using BnService.Api.Hosting.Limits;
using BnService.Api.Hosting.Memory;
using BnService.Api.Sessions;
using BnService.Api.Wire;

namespace BnService.Api.Hosting;

/// <summary>What is known of one request: what it asks for, who has sent it, what it may take, and what it has moved.</summary>
internal sealed class RequestContext
{
    /// <summary>Template of the route that was found; an exception handler forgets the endpoint.</summary>
    public string? PathTemplate { get; set; }

    /// <summary>Name or id of the session in the path, as it may be logged.</summary>
    public string? Session { get; set; }

    /// <summary>What the caller sees; null until its key has been looked at.</summary>
    public SessionScope? Scope { get; set; }

    /// <summary>Who has sent it; a stranger until its key has been looked at.</summary>
    public Caller Caller => Scope?.Caller ?? Caller.Stranger;

    /// <summary>The time that it may take; null where no request runs, as in tests.</summary>
    public RequestDeadline? Deadline { get; set; }

    /// <summary>The memory that it holds; null where no request runs, as in tests.</summary>
    public RequestMemory? Memory { get; set; }

    /// <summary>The forms of its body and of its answer.</summary>
    public Negotiation Forms { get; set; } = Negotiation.Plain;

    /// <summary>Under what its answer is remembered; null without an Idempotency-Key.</summary>
    public IdempotencyKey? Key { get; set; }

    /// <summary>Sees each byte of its body, decoded; null where nothing needs to.</summary>
    public ByteWatch? Watch { get; set; }

    /// <summary>Whether it is one of so many that a log event for each would be too much.</summary>
    public bool IsOneOfMany { get; set; }

    /// <summary>Bytes of its body that were read.</summary>
    public long BodyBytes { get; set; }

    /// <summary>Whether it waits for more of its body.</summary>
    public bool IsAwaitingBody { get; set; }

    /// <summary>Bytes of the answer's body that were written.</summary>
    public long AnswerBytes { get; set; }

    /// <summary>Whether the client has gone before it was answered.</summary>
    public bool IsHungUp { get; set; }

    /// <summary>The context of a request; made when it is first asked for.</summary>
    public static RequestContext Of(HttpContext http)
    {
        if (http.Features.Get<RequestContext>() is { } context) return context;
        context = new RequestContext();
        http.Features.Set(context);
        return context;
    }
}
