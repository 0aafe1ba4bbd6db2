using System.Security.Cryptography;
using System.Text;
using BnService.Api.Errors;
using BnService.Api.Sessions;
using BnService.Api.Wire;

namespace BnService.Api.Endpoints;

/// <summary>Marks a call whose answer is remembered under an Idempotency-Key.</summary>
internal sealed record RemembersAnswerMetadata;

/// <summary>
/// The Idempotency-Key of a request (draft-ietf-httpapi-idempotency-key-header): what was asked is known by a hash of the call, its query and
/// its decoded body, taken while the body is read.
/// </summary>
internal sealed class IdempotencyKey : IDisposable
{
    /// <summary>The header of the key.</summary>
    public const string Header = "Idempotency-Key";

    /// <summary>The header that tells that an answer was given before.</summary>
    public const string ReplayedHeader = "Idempotent-Replayed";

    /// <summary>The most characters of a key.</summary>
    public const int Longest = 64;

    private readonly string _key;
    private readonly IncrementalHash _hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
    private string? _fingerprint;

    private IdempotencyKey(string key, string question)
    {
        _key = key;
        _hash.AppendData(Encoding.UTF8.GetBytes(question));
    }

    /// <summary>Looks for a key before anything of the body is read; belongs behind the negotiation.</summary>
    /// <exception cref="ProblemException">What is in the header is no key.</exception>
    public static Task ReadAsync(HttpContext context, RequestDelegate next)
    {
        var values = context.Request.Headers[Header];
        if (values.Count == 0 || context.GetEndpoint() is not RouteEndpoint endpoint || endpoint.Metadata.GetMetadata<RemembersAnswerMetadata>() is null)
            return next(context);
        var key = values.ToString();
        if (values.Count > 1 || key.Length is 0 or > Longest || key.Any(c => c is < '!' or > '~'))
            throw new ProblemException(ProblemCode.InvalidOption, $"{Header} must be one value of 1 to {Longest} visible ASCII characters, got '{Excerpt.Of(key, Longest)}'");
        // A session has a name and an id, so that the path may differ.
        var parts = string.Join('\n', context.Request.RouteValues.Where(value => value.Key != "session").Select(value => $"{value.Key}={value.Value}"));
        var question = $"{context.Request.Method} {endpoint.RoutePattern.RawText}\n{parts}\n{context.Request.QueryString}\n{Negotiation.Of(context).Request}\n";
        var found = new IdempotencyKey(key, question);
        context.Response.RegisterForDispose(found);
        context.Features.Set(found);
        RequestBytes.Watch(context, found.Take);
        return next(context);
    }

    /// <summary>The question, once the body has been read.</summary>
    public AnswerKey ToAnswerKey() =>
        new(AnswerKey.Idempotency, _key, _fingerprint ??= Convert.ToHexStringLower(_hash.GetCurrentHash()));

    /// <inheritdoc/>
    public void Dispose() => _hash.Dispose();

    private void Take(ReadOnlySpan<byte> bytes) => _hash.AppendData(bytes);
}

/// <summary>The headers of a call that changes state and whose answer can be remembered: If-Match and Idempotency-Key.</summary>
/// <param name="IfMatch">Which versions it may change.</param>
/// <param name="Key">Under which key its answer is remembered, or null.</param>
internal sealed record ChangeHeaders(Precondition IfMatch, IdempotencyKey? Key)
{
    /// <summary>Binds a handler's parameter.</summary>
    public static async ValueTask<ChangeHeaders?> BindAsync(HttpContext context) =>
        new((await Precondition.BindAsync(context))!, context.Features.Get<IdempotencyKey>());

    /// <summary>The terms of the change, once the body has been read.</summary>
    public ChangeTerms Terms => new(IfMatch.Check, Key?.ToAnswerKey()) { AllowedVersions = IfMatch.Versions };
}

/// <summary>The Bn-Min-Version header of a call that reads: how new the state must be (read your writes, on any node).</summary>
/// <param name="Value">The least version that will do; 0 for any.</param>
internal sealed record MinVersion(long Value)
{
    /// <summary>The header.</summary>
    public const string Header = "Bn-Min-Version";

    /// <summary>Binds a handler's parameter.</summary>
    /// <exception cref="ProblemException">What is in the header is no version.</exception>
    public static ValueTask<MinVersion?> BindAsync(HttpContext context)
    {
        var values = context.Request.Headers[Header];
        return new(new MinVersion(values.Count == 0 ? 0 : QueryNumber.Parse(values.ToString(), Header, 0, long.MaxValue)!.Value));
    }
}
