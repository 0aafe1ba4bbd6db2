using System.Security.Cryptography;
using System.Text;
using BnService.Api.Errors;
using BnService.Api.Hosting;
using BnService.Api.Sessions;
using BnService.Api.Wire;

namespace BnService.Api.Endpoints;

/// <summary>Marks a call whose answer is remembered under an Idempotency-Key.</summary>
internal sealed record RemembersAnswerMetadata;

/// <summary>
/// The Idempotency-Key of a request (draft-ietf-httpapi-idempotency-key-header): what was asked is known by a hash of the call, its query
/// and
/// its decoded body, taken while the body is read.
/// </summary>
internal sealed class IdempotencyKey : IDisposable
{
    public const string Header = "Idempotency-Key";

    /// <summary>The header that tells that an answer was given before.</summary>
    public const string ReplayedHeader = "Idempotent-Replayed";

    public const int Longest = 64;

    private readonly string _key;
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private string? _fingerprint;

    private IdempotencyKey(string key, string call)
    {
        _key = key;
        _hash.AppendData(Encoding.UTF8.GetBytes(call));
    }

    /// <summary>Looks for a key before anything of the body is read; belongs after the negotiation.</summary>
    public static void Read(HttpContext context)
    {
        var values = context.Request.Headers[Header];
        if (values.Count == 0 || context.GetEndpoint() is not RouteEndpoint endpoint
            || endpoint.Metadata.GetMetadata<RemembersAnswerMetadata>() is null)
            return;
        var key = values.ToString();
        if (values.Count > 1 || key.Length is 0 or > Longest || key.Any(c => c is < '!' or > '~'))
            throw new ProblemException(ProblemCode.InvalidOption,
                $"{Header} must be one value of 1 to {Longest} visible ASCII characters, got '{Excerpt.Of(key, Longest)}'");
        // A session has a name and an id, so that the path may differ.
        var parts = string.Join('\n',
            context.Request.RouteValues.Where(value => value.Key != "session").Select(value => $"{value.Key}={value.Value}"));
        var call = $"{context.Request.Method} " +
            $"{endpoint.RoutePattern.RawText}\n{parts}\n{context.Request.QueryString}\n{Negotiation.Of(context).Request}\n";
        var found = new IdempotencyKey(key, call);
        context.Response.RegisterForDispose(found);
        RequestContext.Of(context).Key = found;
        RequestBytes.Watch(context, found.Take);
    }

    /// <summary>The key and what was asked, once the body has been read.</summary>
    public AnswerKey ToAnswerKey() =>
        new(AnswerKey.Idempotency, _key, _fingerprint ??= Convert.ToHexStringLower(_hash.GetCurrentHash()));

    public void Dispose() => _hash.Dispose();

    private void Take(ReadOnlySpan<byte> bytes) => _hash.AppendData(bytes);
}
