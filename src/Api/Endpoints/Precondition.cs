using System.Globalization;
using BnService.Api.Errors;
using BnService.Api.Hosting;
using BnService.Api.Sessions;
using Microsoft.Net.Http.Headers;

namespace BnService.Api.Endpoints;

/// <summary>The If-Match header of a call that changes state (RFC 9110, 13.1.1): which versions it may change.</summary>
internal sealed class Precondition
{
    private readonly string _header;
    private readonly HashSet<string>? _allowed;

    private Precondition(string header, HashSet<string>? allowed) => (_header, _allowed) = (header, allowed);

    /// <summary>The versions that it may change; null for any.</summary>
    public IReadOnlyList<long>? Versions => _allowed is null ? null : [.. _allowed.Select(VersionOf).OfType<long>()];

    public static ValueTask<Precondition?> BindAsync(HttpContext context)
    {
        var header = context.Request.Headers.IfMatch;
        if (header.Count == 0 || header.ToString().Trim() == "*") return new(new Precondition(header.ToString(), null));
        // A header that cannot be read matches nothing: the caller meant to be careful. Weak tags never match strongly.
        var allowed = EntityTagHeaderValue.TryParseList(header, out var tags)
            ? tags.Where(tag => !tag.IsWeak).Select(tag => tag.Tag.ToString()).ToHashSet()
            : [];
        return new(new Precondition(header.ToString(), allowed));
    }

    public static string Tag(long version) => string.Create(CultureInfo.InvariantCulture, $"\"{version}\"");

    /// <summary>Refuses to create what the caller expected to exist: without a session no If-Match holds, not even *.</summary>
    public void CheckAbsent(string session)
    {
        if (_header.Length > 0)
            throw new ProblemException(ProblemCode.VersionConflict,
                $"If-Match asks for {_header}, but there is no session '{Excerpt.Of(session, 128)}'");
    }

    /// <summary>Refuses to change a state whose version the caller did not expect.</summary>
    public void Check(long version)
    {
        if (_allowed?.Contains(Tag(version)) == false)
            throw new ProblemException(ProblemCode.VersionConflict, $"If-Match allows {_header}, the session is at version {Tag(version)}");
    }

    // Null where no version has the tag.
    private static long? VersionOf(string tag) =>
        long.TryParse(tag.Trim('"'), NumberStyles.None, CultureInfo.InvariantCulture, out var version) && Tag(version) == tag ? version
            : null;
}

/// <summary>The headers of a call that changes state and whose answer can be remembered: If-Match and Idempotency-Key.</summary>
/// <param name="IfMatch">Which versions it may change.</param>
/// <param name="Key">Under which key its answer is remembered, or null.</param>
internal sealed record ChangeHeaders(Precondition IfMatch, IdempotencyKey? Key)
{
    public static async ValueTask<ChangeHeaders?> BindAsync(HttpContext context) =>
        new((await Precondition.BindAsync(context))!, RequestContext.Of(context).Key);

    /// <summary>The conditions of the change, once the body has been read.</summary>
    public ChangeTerms Terms => new(IfMatch.Check, Key?.ToAnswerKey()) { AllowedVersions = IfMatch.Versions };
}

/// <summary>The Bn-Min-Version header of a call that reads: how new the state must be (read your writes, on any node).</summary>
/// <param name="Value">The least version that will do; 0 for any.</param>
internal sealed record MinVersion(long Value)
{
    public const string Header = "Bn-Min-Version";

    /// <summary>Binds a handler's parameter.</summary>
    public static ValueTask<MinVersion?> BindAsync(HttpContext context)
    {
        var values = context.Request.Headers[Header];
        return new(new MinVersion(values.Count == 0 ? 0 : QueryNumber.Parse(values.ToString(), Header, 0, long.MaxValue)!.Value));
    }
}
