using BnService.Api.Hosting;
using BnService.Api.Hosting.Limits;

namespace BnService.Api.Sessions;

/// <summary>
/// The sessions that a caller sees: those whose names begin with the prefix of its key. Every look-up of the catalog asks for one, so that
/// no call can find a session of somebody else.
/// </summary>
/// <param name="Prefix">The prefix; null for all sessions.</param>
internal sealed record SessionScope(string? Prefix)
{
    /// <summary>The longest prefix: an id has room behind it in a name.</summary>
    public const int LongestPrefix = 96;

    /// <summary>All sessions.</summary>
    public static SessionScope Everything { get; } = new((string?)null);

    /// <summary>The id of the key that the caller has sent; null where keys are not asked for.</summary>
    public string? KeyId { get; init; }

    /// <summary>Who the caller is, where places are counted.</summary>
    public Caller Caller { get; init; } = Caller.Stranger;

    /// <summary>Whether a session of this name is among them.</summary>
    public bool Contains(string name) => Prefix is null || name.StartsWith(Prefix, StringComparison.Ordinal);

    /// <summary>What a list of names that begin with <paramref name="prefix"/> looks for here; null where there can be none.</summary>
    public string? Within(string prefix) => Contains(prefix) ? prefix : Prefix!.StartsWith(prefix, StringComparison.Ordinal) ? Prefix : null;

    /// <summary>Binds a handler's parameter: the scope that was found out with the caller's key. Without one, nothing is answered.</summary>
    public static ValueTask<SessionScope?> BindAsync(HttpContext context) => new(RequestContext.Of(context).Scope
        ?? throw new InvalidOperationException("the key of the request has not been looked at"));
}
