using System.Net;
using BnService.Api.Errors;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Commands;
using BnService.Api.Hosting.Limits;
using Microsoft.AspNetCore.Cors.Infrastructure;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Primitives;
using CorsPolicies = Microsoft.AspNetCore.Cors.Infrastructure.CorsOptions;

namespace BnService.Api.Hosting.Edge;

/// <summary>
/// The names that the service answers to, by the requests' <c>Host</c>: those of <c>AllowedHosts</c>, or where that is not set all, as long
/// as keys are asked for. Without keys a page whose name has been made to lead here (DNS rebinding) could do everything that this machine's
/// own programs may: then only names that nobody can give to this machine from outside are answered.
/// </summary>
internal sealed class OwnHosts
{
    private const string Setting = "AllowedHosts", All = "*";

    private readonly List<StringSegment> _allowed;
    private readonly KeyRing _keys;

    // The last Host that was allowed, as it was sent: most clients send one.
    private volatile string? _known;

    /// <exception cref="UnknownSettingException"><c>AllowedHosts</c> has a name that no request could be for.</exception>
    public OwnHosts(IConfiguration configuration, KeyRing keys)
    {
        const StringSplitOptions Entries = StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries;
        var names = configuration[Setting]?.Split(';', Entries) ?? [];
        if (Array.Find(names, name => name != All && !IsName(name)) is { } wrong)
        {
            throw new UnknownSettingException(
                $"{Setting} must be names as example.org, *.example.org or *, without scheme and port, separated by ';', got '{wrong}' " +
                    $"among them");
        }
        // As they are sent: names of other letters in their ASCII form.
        (_allowed, _keys) = ([.. names.Select(name => (StringSegment)new HostString(name.TrimEnd('.')).ToUriComponent())], keys);
    }

    /// <summary>Refuses a request for somebody else. Probes are always answered: an orchestrator asks by any address.</summary>
    /// <param name="request">The request.</param>
    /// <param name="isOpen">Whether its caller needs no key whatever the call is.</param>
    /// <exception cref="ProblemException">The request is for another name.</exception>
    public void Require(HttpRequest request, bool isOpen)
    {
        if (_allowed.Count == 0 ? !isOpen : _allowed.Contains(All)) return;
        var sent = request.Headers.Host.ToString();
        if (sent == _known) return;
        // A name may end with the root's dot.
        var host = request.Host.Host is [.. var beginning, '.'] ? beginning : request.Host.Host;
        if (IsAllowed(host))
        {
            // Not looked at again here: a request for another name that is allowed may replace it in this moment.
            _known = sent;
            return;
        }
        if (RequestRate.IsHealth(request.Path)) return;
        throw new ProblemException(ProblemCode.MisdirectedRequest, _allowed.Count > 0
            ? $"the service does not answer to the name '{Excerpt.Of(host)}': {Setting} has {string.Join(", ", _allowed)}"
            : "without keys the service answers to "
                + (_keys.IsOff ? "localhost, addresses and names without a dot alone, " : "localhost, 127.0.0.1 and [::1] alone, ")
                + $"not to '{Excerpt.Of(host)}'; other names are allowed with {Setting}, as {Setting}=bn.example.org");
    }

    private bool IsAllowed(string host) => host.Length > 0 && (_allowed.Count > 0
        ? HostString.MatchesAny(host, _allowed)
        : IsLoopback(host) || (_keys.IsOff && (!host.Contains('.', StringComparison.Ordinal) || IPAddress.TryParse(host, out _))));

    private static bool IsLoopback(string host) => host.Equals("localhost", StringComparison.OrdinalIgnoreCase)
        || host.EndsWith(".localhost", StringComparison.OrdinalIgnoreCase)
        || (IPAddress.TryParse(host, out var address) && IPAddress.IsLoopback(address.IsIPv4MappedToIPv6 ? address.MapToIPv4() : address));

    private static bool IsName(string name) => name.StartsWith('[')
        ? name.EndsWith(']') && IPAddress.TryParse(name, out _)
        : Uri.CheckHostName(name.StartsWith("*.", StringComparison.Ordinal) ? name[2..]
            : name) is UriHostNameType.Dns or UriHostNameType.IPv4;
}

/// <summary>
/// Refuses what a page of another origin asks a browser to change (<c>Cors:Origins</c> names those that may). A browser sends such a
/// request without asking as long as it looks like a form, hides only its answer from the page, and says whose it is; other clients say
/// nothing of the kind.
/// </summary>
internal sealed class ForeignPages(IOptions<CorsPolicies> policies)
{
    private readonly CorsPolicy _policy = policies.Value.GetPolicy(policies.Value.DefaultPolicyName)!;

    /// <exception cref="ProblemException">A page of another origin asks for a change.</exception>
    public void Refuse(HttpRequest request)
    {
        // Methods are compared as they are written: what is spelled another way is none of these.
        if (request.Method is "GET" or "HEAD" or "OPTIONS") return;
        var (site, origin) = (request.Headers["Sec-Fetch-Site"].ToString(), request.Headers.Origin.ToString());
        if (IsOwn(site, origin, request) || _policy.AllowAnyOrigin || _policy.IsOriginAllowed(origin)) return;
        var page = origin.Length > 0 ? $"'{Excerpt.Of(origin, 128)}'" : "another origin";
        throw new ProblemException(
            ProblemCode.ForeignOrigin, $"a page of {page} may not send {request.Method}: Cors:Origins does not name its origin");
    }

    // What the browser says of itself no page can write, nor a proxy that gives the request another name. Where it says nothing (as over
    // plain HTTP, and old ones), the page is the service's own where its origin is what the browser, or a proxy for it, calls the service;
    // the scheme may have been ended in front of it.
    private static bool IsOwn(string site, string origin, HttpRequest request) => site switch
    {
        "same-origin" => true,
        "" => origin.Length == 0 || IsOfHost(origin, request),
        // What somebody has typed, or a program beside the pages.
        "none" => origin.Length == 0,
        _ => false,
    };

    private static bool IsOfHost(string origin, HttpRequest request)
    {
        if (!Uri.TryCreate(origin, UriKind.Absolute, out var page) || page.Scheme is not ("http" or "https")) return false;
        // A page could send this header only after it has been asked for, and that is refused.
        return IsSame(page, request.Host)
            || request.Headers.GetCommaSeparatedValues("X-Forwarded-Host").Any(host => IsSame(page, new HostString(host)));
    }

    private static bool IsSame(Uri page, HostString host) =>
        host.HasValue && page.IdnHost.Equals(host.Host.Trim('[', ']'), StringComparison.OrdinalIgnoreCase)
        && page.Port == (host.Port ?? (page.Scheme == "https" ? 443 : 80));
}
