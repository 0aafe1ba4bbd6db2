using System.Net;
using BnService.Api.Errors;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Commands;
using BnService.Api.Hosting.Limits;
using Microsoft.Extensions.Primitives;

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
                $"{Setting} must be names as example.org, *.example.org or *, without scheme and port, separated by ';', got '{wrong}' among them");
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
            : $"without keys the service answers to {(_keys.IsOff ? "localhost, addresses and names without a dot" : "localhost, 127.0.0.1 and [::1]")} alone, "
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
        : Uri.CheckHostName(name.StartsWith("*.", StringComparison.Ordinal) ? name[2..] : name) is UriHostNameType.Dns or UriHostNameType.IPv4;
}
