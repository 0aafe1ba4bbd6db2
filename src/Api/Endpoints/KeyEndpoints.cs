using System.Text.RegularExpressions;
using BnService.Api.Contracts;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Limits;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Errors;
using BnService.Api.Sessions;

namespace BnService.Api.Endpoints;

/// <summary>Creating, listing, rotating and revoking the keys of callers.</summary>
internal static partial class KeyEndpoints
{
    private static readonly TimeSpan PatienceForUsage = TimeSpan.FromMilliseconds(500);

    public static void MapKeys(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/keys").WithTags("Keys").Takes(Place.Keys);
        group.MapPost("", Create).WithName("CreateKey").Needs(Role.Admin).Takes(Place.NewKey)
            .Reads<CreateKeyRequest>().Answers<CreatedKey>(201).Fails(ProblemCode.InvalidOption, ProblemCode.LimitReached);
        group.MapGet("", List).WithName("ListKeys").Needs(Role.Admin).Answers<KeyList>();
        group.MapPost("/{id}/rotate", Rotate).WithName("RotateKey").Needs(Role.Admin)
            .Answers<CreatedKey>().Fails(ProblemCode.KeyNotFound, ProblemCode.InvalidOption);
        group.MapDelete("/{id}", Revoke).WithName("RevokeKey").Needs(Role.Admin)
            .Answers(204).Fails(ProblemCode.KeyNotFound, ProblemCode.LastAdminKey);
    }

    /// <summary>Create a key</summary>
    /// <remarks>
    /// Creates a key and answers with it, once. As long as there is none, everybody who reaches the service, which listens on loopback
    /// only, may make this call as any other; the first key must be an admin's and needs `i_will_keep_the_key`: from it on every call needs
    /// a key, and nobody gets in without it. `notice` says what has changed.
    /// </remarks>
    internal static async Task<IResult> Create(Body<CreateKeyRequest> body, SessionScope scope, KeyRing keys, HttpContext context)
    {
        var request = await body.ReadAsync();
        SessionEndpoints.RequireName(request.Name);
        if (request.Prefix is not null) RequirePrefix(request.Prefix);
        var isOpen = scope.KeyId is null && !keys.IsOff;
        var (key, text, isFirst) = await keys.CreateAsync(
            request.Name, request.Role, request.Prefix, request.IWillKeepTheKey is true, isOpen, context.RequestAborted);
        return AnswerOnce(key, text, KeyNotice.OfCreated(isFirst), 201, context.Response);
    }

    /// <summary>Refuses what no name could begin with.</summary>
    internal static void RequirePrefix(string prefix)
    {
        if (KeyPrefix.IsMatch(prefix)) return;
        throw new ProblemException(ProblemCode.InvalidOption,
            $"prefix must be 1 to 96 letters, digits, '.', '_' or '-', the first a letter or digit, got '{Excerpt.Of(prefix, 96)}'");
    }

    /// <summary>List keys</summary>
    /// <remarks>
    /// All keys without their secrets, oldest first. One that cannot be used (of a role that this version of the service does not know, or
    /// damaged) lets nobody in and is listed with its `flaw`; it can be revoked.
    /// </remarks>
    internal static async Task<IResult> List(KeyRing keys, StoredBytes stored, CancellationToken cancellationToken)
    {
        var all = await keys.ListAsync(cancellationToken);
        // Keys are listed and revoked whether or not what they have stored can be measured soon.
        await stored.FreshenAsync().WaitAsync(PatienceForUsage, cancellationToken).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        var list = new KeyList { Keys = [.. all.Select(key => Resource(key, stored.Of(key.Id)))] };
        return new Answer<KeyList>(list) { HeldBytes = MemoryNeed.OfKeys(all.Count) };
    }

    /// <summary>Rotate a key</summary>
    /// <remarks>
    /// Gives the key a new secret and answers with it, once; the old one is refused from then on, and what was sent with it ends, on other
    /// nodes about a second later.
    /// </remarks>
    internal static async Task<IResult> Rotate(string id, KeyRing keys, HttpResponse response, CancellationToken cancellationToken)
    {
        var (key, text) = await keys.RotateAsync(id, cancellationToken);
        return AnswerOnce(key, text, KeyNotice.OfRotated, 200, response);
    }

    /// <summary>Revoke a key</summary>
    /// <remarks>
    /// Deletes the key; it is refused from then on, and what was sent with it ends (streams, waiting ranks, bodies that still come), on
    /// other nodes about a second later. The last key of an admin stays.
    /// </remarks>
    internal static async Task<IResult> Revoke(string id, KeyRing keys, CancellationToken cancellationToken)
    {
        await keys.RevokeAsync(id, isLastAllowed: false, cancellationToken);
        return TypedResults.NoContent();
    }

    private static Answer<CreatedKey> AnswerOnce(AccessKey key, string text, string notice, int status, HttpResponse response)
    {
        // Nothing between here and the caller is to keep it.
        response.Headers.CacheControl = "no-store";
        return new Answer<CreatedKey>(new CreatedKey
        {
            Id = key.Id,
            Name = key.Name,
            Role = key.Role,
            Prefix = key.Scope.Prefix,
            CreatedAt = key.CreatedAt,
            Key = text,
            Notice = notice,
        })
        { Status = status };
    }

    private static KeyResource Resource(AccessKey key, (long Sessions, long Bytes)? stored) => new()
    {
        Sessions = stored?.Sessions,
        Bytes = stored?.Bytes,
        Id = key.Id,
        Name = key.Name,
        Role = Roles.Parse(key.StoredRole),
        Prefix = key.Scope.Prefix,
        CreatedAt = key.CreatedAt,
        Flaw = key.Flaw,
    };

    // As a session's name, with room for an id after it.
    [GeneratedRegex(@"\A[A-Za-z0-9][A-Za-z0-9._-]{0,95}\z")]
    private static partial Regex KeyPrefix { get; }
}
