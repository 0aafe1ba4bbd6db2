using BnService.Api.Errors;
using Microsoft.AspNetCore.Cors.Infrastructure;
using Microsoft.Extensions.Options;
using CorsPolicies = Microsoft.AspNetCore.Cors.Infrastructure.CorsOptions;

namespace BnService.Api.Hosting.Edge;

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
