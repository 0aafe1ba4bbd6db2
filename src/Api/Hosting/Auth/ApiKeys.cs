using System.ComponentModel.DataAnnotations;
using System.Diagnostics;
using System.Globalization;
using System.Net;
using BnService.Api.Errors;
using BnService.Api.Hosting.Connections;
using BnService.Api.Hosting.Edge;
using BnService.Api.Hosting.Limits;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Sessions;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Auth;

/// <summary>Section <c>Auth</c>: who may do what.</summary>
public sealed record AuthOptions
{
    /// <summary>
    /// <c>keys</c>: callers need a key, and as long as none is stored only this machine's own programs reach the service. <c>none</c>:
    /// whoever reaches the service may do everything.
    /// </summary>
    [AllowedValues("keys", "none", ErrorMessage = "must be keys or none")]
    public string Mode { get; init; } = "keys";

    /// <summary>
    /// The key of an admin that is kept where the configuration is, as in a secret of an orchestrator, and not in the storage; made by
    /// <c>keys generate</c>.
    /// </summary>
    [RegularExpression("bn_[0-9a-f]{16}_[A-Za-z0-9_-]{43}", ErrorMessage = "must be a key as 'keys generate' prints it"),
        DataType(DataType.Password)]
    public string? AdminKey { get; init; }

    /// <summary>Whether <c>/metrics</c> needs no key.</summary>
    public bool OpenMetrics { get; init; }

    /// <summary>The most keys; nodes that share a database read all of them every second.</summary>
    [Range(1, 100_000, ErrorMessage = "must be from 1 to 100000")]
    public int MaxKeys { get; init; } = 1000;
}

/// <summary>
/// Asks callers for their keys: who has none is 401, whose role is too small 403, and what a key does not reach is not found.
/// </summary>
internal static class ApiKeys
{
    /// <summary>The header of a key where <c>Authorization</c> is not to be had.</summary>
    public const string Header = "X-Api-Key";

    private const string Scheme = "Bearer ";

    private const string TwoKeys = $"Authorization and {Header} hold two different keys; send one",
        WrongKey = "the key that was sent is not one of this service's: it may have been rotated or revoked",
        NoKey = $"this call needs a key: send it as 'Authorization: {Scheme}<key>' or '{Header}: <key>'";

    /// <summary>Lets pass who may; belongs behind routing, and in front of whatever reads of the request more than its head.</summary>
    public static void UseApiKeys(this WebApplication app)
    {
        var keys = app.Services.GetRequiredService<KeyRing>();
        var wrong = app.Services.GetRequiredService<WrongKeys>();
        var hosts = app.Services.GetRequiredService<OwnHosts>();
        var isMetricsOpen = app.Services.GetRequiredService<IOptions<AuthOptions>>().Value.OpenMetrics;
        app.Use(async (context, next) =>
        {
            var request = NoteRoute(context);
            var least = keys.IsOff ? null : AccessOf(context, isMetricsOpen).Least;
            if (least is not null && keys.HasKeys is null) await keys.RequireReadAsync(context.RequestAborted);
            var isOpen = keys.IsOff || (keys.HasKeys is false && IsLocal(context));
            hosts.Require(context.Request, isOpen);
            var scope = isOpen ? keys.Anyone : SessionScope.Everything;
            if (least is { } role && !isOpen)
            {
                var (text, complaint) = TextIn(context.Request.Headers);
                if (keys.Find(text) is not { } key)
                {
                    if (wrong.SecondsUntilAllowed(context.Connection.RemoteIpAddress) is not { } seconds)
                        throw new ProblemException(ProblemCode.Unauthorized, complaint);
                    await RefuseAsync(context, wrong, seconds);
                    return;
                }
                Require(key, role, IsOfAll(context));
                scope = key.Scope;
            }
            request.Scope = scope;
            if (keys.IsOff || least is not null) ConnectionPlace.Of(context)?.Recognize(scope.Caller);
            await next(context);
        });
    }

    // For the log event, the metrics and the trace: an exception handler forgets the endpoint.
    private static RequestContext NoteRoute(HttpContext context)
    {
        var request = RequestContext.Of(context);
        request.PathTemplate = (context.GetEndpoint() as RouteEndpoint)?.RoutePattern.RawText?.TrimEnd('/');
        request.Session = context.GetRouteValue("session") is string session ? Excerpt.Of(KeyText.Mask(session), 128) : null;
        if (request.Session is { } masked) Activity.Current?.SetTag(Spans.Session, masked);
        return request;
    }

    private static Access AccessOf(HttpContext context, bool isMetricsOpen)
    {
        var (endpoint, path) = (context.GetEndpoint(), context.Request.Path);
        // What the route says holds where metrics are not open to all.
        if (isMetricsOpen && path.StartsWithSegments("/metrics")) return new Access(Least: null);
        if (endpoint?.Metadata.GetMetadata<Access>() is { } access) return access;
        // Pages that no route table has: whoever looks at them cannot send a key.
        if (path.StartsWithSegments("/swagger")) return new Access(Least: null);
        // What is not there is not there for anybody with a key; what says nothing of itself is not for everybody.
        return endpoint is RouteEndpoint ? Access.Default : new Access(Role.Reader);
    }

    // What tells of all sessions is not for who sees some.
    private static bool IsOfAll(HttpContext context) => context.Request.Path.StartsWithSegments("/metrics");

    private static void Require(AccessKey key, Role least, bool isOfAll)
    {
        if (key.Role < least)
            throw new ProblemException(ProblemCode.Forbidden,
                $"this call needs the role {least.WireName}, key '{key.Id}' has {key.Role.WireName}");
        if (isOfAll && key.Scope.Prefix is not null)
        {
            throw new ProblemException(
                ProblemCode.Forbidden,
                    $"this call tells of all sessions, key '{key.Id}' sees those whose names begin with '{key.Scope.Prefix}'");
        }
    }

    // Without an exception, which costs more than all the rest of it.
    private static Task RefuseAsync(HttpContext context, WrongKeys wrong, int seconds)
    {
        RequestContext.Of(context).IsOneOfMany = true;
        context.Response.Headers.RetryAfter = seconds.ToString(CultureInfo.InvariantCulture);
        return ProblemAnswers.RefuseAsync(context, ProblemCode.TooManyRequests, wrong.Refusal);
    }

    // Empty where there is none, with what is wrong with it if it is not known. Two that differ are none: nobody could say whose the
    // request is.
    private static (string Text, string Complaint) TextIn(IHeaderDictionary headers)
    {
        var bearer = headers.Authorization is [{ } authorization] && authorization.StartsWith(Scheme, StringComparison.OrdinalIgnoreCase)
            ? authorization[Scheme.Length..].Trim()
            : "";
        var named = headers[Header] is [{ } header] ? header.Trim() : "";
        if (bearer.Length > 0 && named.Length > 0 && bearer != named) return ("", TwoKeys);
        return bearer.Length > 0 ? (bearer, WrongKey) : named.Length > 0 ? (named, WrongKey) : ("", NoKey);
    }

    // As long as there is no key the service listens on loopback only. That is looked at here as well, for an address can be configured in
    // more ways than the one that was looked at when it started, and while it runs. In the tests there is no connection, and no address.
    private static bool IsLocal(HttpContext context) => context.Connection.LocalIpAddress is not { } address
        || IPAddress.IsLoopback(address);
}
