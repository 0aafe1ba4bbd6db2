using BnService.Api.Errors;
using BnService.Api.Hosting.Limits;
using BnService.Api.Sessions;
using BnService.Api.Storage;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Auth;

/// <summary>
/// The keys of the service's callers, in memory: no request waits for the store, and while the store is away the keys that were known go
/// on to be. What another node changes is looked for every second (<see cref="KeyRefresh"/>).
/// </summary>
internal sealed partial class KeyRing(IKeyStore store, IOptions<AuthOptions> options, TimeProvider time, ILogger<KeyRing> logger)
    : IDisposable
{
    private const string FirstKey =
        "this would be the first key: from then on every call, of the pages too, needs a key, this one is shown once, and without it " +
            "nobody gets "
        + "in any more. Send \"i_will_keep_the_key\": true with it, or create it with the program: keys create --name first --role admin";

    // One change at a time, so that what was read before a change does not come behind it.
    private readonly SemaphoreSlim _changing = new(1);

    private readonly AccessKey? _configured = options.Value.AdminKey is { } text ? AccessKey.OfAdmin(text) : null;

    // Null until the store has been read; replaced as a whole, and never changed.
    private volatile Dictionary<string, AccessKey>? _keys;
    private volatile bool _hasHadKeys;

    // What the log has said already, by ids; only whoever changes the keys looks at it.
    private readonly HashSet<string> _flawed = [];

    /// <summary>What everybody sees as long as there is no key.</summary>
    public SessionScope Anyone { get; } = new((string?)null) { Caller = new(isOne: false) };

    /// <summary>Whether keys are asked of nobody (<c>Auth:Mode</c> is <c>none</c>).</summary>
    public bool IsOff { get; } = options.Value.Mode == "none";

    /// <summary>Whether other processes may change the keys.</summary>
    public bool IsShared => store.IsShared;

    /// <summary>
    /// Whether there are keys, or have been since this process was started: what asks for a key once does so until its end, so that nobody
    /// opens it by taking the last key away. Null as long as the store could not be read.
    /// </summary>
    public bool? HasKeys => _hasHadKeys ? true : _keys is null ? null : false;

    /// <summary>The key that a text is; null where it is none.</summary>
    public AccessKey? Find(ReadOnlySpan<char> text)
    {
        var id = KeyText.IdOf(text);
        var key = _configured is not null && id.SequenceEqual(_configured.Id) ? _configured
            : _keys is { } keys && keys.GetAlternateLookup<ReadOnlySpan<char>>().TryGetValue(id, out var found) ? found : null;
        return AccessKey.IsText(key, text) ? key : null;
    }

    /// <summary>Reads the keys if they have not been read yet, as at the start, or after it where the disk was away then.</summary>
    /// <exception cref="StorageUnavailableException">They cannot be read.</exception>
    public Task RequireReadAsync(CancellationToken cancellationToken) =>
        _keys is null ? RefreshAsync(cancellationToken) : Task.CompletedTask;

    /// <summary>Reads the keys as they are stored now.</summary>
    /// <exception cref="StorageUnavailableException">They cannot be read; the known ones stay.</exception>
    public Task RefreshAsync(CancellationToken cancellationToken) => AloneAsync(_ => Task.FromResult(true), cancellationToken);

    /// <summary>All keys, oldest first.</summary>
    public Task<IReadOnlyList<AccessKey>> ListAsync(CancellationToken cancellationToken) =>
        AloneAsync(keys => Task.FromResult<IReadOnlyList<AccessKey>>([.. keys.Values]), cancellationToken);

    /// <summary>Creates a key.</summary>
    /// <param name="name">What it is called.</param>
    /// <param name="role">What its holder may do.</param>
    /// <param name="prefix">Beginning of the names of the sessions that its holder sees; null for all.</param>
    /// <param name="isKept">Whether the caller has said that the key will be kept, which the first one asks for.</param>
    /// <param name="isOpen">Whether the caller was let in because there was no key: it may make the first one, and no other.</param>
    /// <returns>The key, its text, which is nowhere else, and whether the service asks for keys from now on and has not before.</returns>
    /// <exception cref="ProblemException">There may be no such key.</exception>
    public Task<(AccessKey Key, string Text, bool IsFirst)> CreateAsync(
        string name, Role role, string? prefix, bool isKept, bool isOpen, CancellationToken cancellationToken) => AloneAsync(async keys =>
    {
        if (isOpen && HasKeys is true) throw NotFirst();
        if (role == Role.Admin && prefix is not null)
            throw Invalid("an admin sees all sessions: send no prefix with role admin, or another role");
        var isFirst = keys.Count == 0 && _configured is null;
        // Nobody else gets in, so that it must be one that can make the others.
        if (_configured is null && role != Role.Admin && keys.Values.All(other => other.Flaw is not null))
            throw Invalid($"role of the first key must be admin, got {role.WireName}: nobody could create another one");
        if (isFirst && !IsOff && !isKept) throw Invalid(FirstKey);
        if (keys.Count >= options.Value.MaxKeys)
            throw new ProblemException(ProblemCode.LimitReached, $"there are {keys.Count} keys, as many as Auth:MaxKeys allows");
        var id = KeyText.NewId();
        var (key, text) = new AccessKey(id, name, role, AccessKey.ScopeOf(prefix, id), time.GetUtcNow()).WithNewSecret();
        RequestDeadline.Lift();
        // On another node, or by the command line, somebody may make the first one in this very moment.
        var stored = key.ToStored();
        if (!await (isOpen ? store.TryInsertFirstKeyAsync(stored, CancellationToken.None)
            : store.TryInsertKeyAsync(stored, CancellationToken.None)))
            throw isOpen ? NotFirst() : new InvalidOperationException("a random id was drawn twice");
        keys.Add(key.Id, key);
        LogCreated(logger, key.Id, name, role.WireName, prefix ?? "");
        return (key, text, isFirst && !IsOff);
    }, cancellationToken);

    /// <summary>Gives a key a new secret; the old one is nobody's from now on.</summary>
    /// <returns>The key, and its text, which is nowhere else.</returns>
    /// <exception cref="ProblemException">There is none of the id.</exception>
    public Task<(AccessKey Key, string Text)> RotateAsync(string id, CancellationToken cancellationToken) => AloneAsync(async keys =>
    {
        var old = keys.GetValueOrDefault(id) ?? throw NotFound(id);
        if (old.Flaw is not null) throw Invalid($"key '{Excerpt.Of(id)}' cannot be rotated: {old.Flaw}; revoke it, and create another one");
        var (key, text) = old.WithNewSecret();
        RequestDeadline.Lift();
        if (!await store.TryReplaceKeyAsync(key.ToStored(), CancellationToken.None)) throw NotFound(id);
        keys[id] = key;
        LogRotated(logger, id, key.Name);
        return (key, text);
    }, cancellationToken);

    /// <summary>Deletes a key; it is nobody's from now on.</summary>
    /// <param name="id">Its id.</param>
    /// <param name="isLastAllowed">Whether it may be the last one of an admin.</param>
    /// <exception cref="ProblemException">There is none of the id, or it is the last one of an admin.</exception>
    public Task<AccessKey> RevokeAsync(string id, bool isLastAllowed, CancellationToken cancellationToken) => AloneAsync(async keys =>
    {
        var key = keys.GetValueOrDefault(id) ?? throw NotFound(id);
        if (!isLastAllowed && _configured is null && IsAdmin(key) && keys.Values.Count(IsAdmin) == 1)
            throw new ProblemException(ProblemCode.LastAdminKey,
                $"key '{id}' is the only one with the role admin: without it nobody could create or revoke keys");
        RequestDeadline.Lift();
        await store.TryDeleteKeyAsync(id, CancellationToken.None);
        keys.Remove(id);
        LogRevoked(logger, id, key.Name);
        return key;
    }, cancellationToken);

    public void Dispose() => _changing.Dispose();

    // Does something with the keys as they are stored, in their order, and takes over what has become of them. A change that has begun does
    // not end with the caller who asked for it: what is stored and what is known here would differ.
    private async Task<T> AloneAsync<T>(Func<OrderedDictionary<string, AccessKey>, Task<T>> act, CancellationToken cancellationToken)
    {
        await _changing.WaitAsync(cancellationToken);
        try
        {
            var keys = new OrderedDictionary<string, AccessKey>();
            foreach (var stored in await store.ListKeysAsync(cancellationToken))
            {
                var key = keys[stored.Id] = AccessKey.Of(stored).Continuing(_keys?.GetValueOrDefault(stored.Id));
                // The verbs' log is no other than the console's own.
                if (key.Flaw is not null && _flawed.Add(key.Id))
                    LogFlawed(logger, PlainText.Of(key.Id), PlainText.Of(key.Name), PlainText.Of(key.Flaw));
            }
            Publish(keys);
            var result = await act(keys);
            Publish(keys);
            return result;
        }
        finally
        {
            _changing.Release();
        }
    }

    private void Publish(OrderedDictionary<string, AccessKey> keys)
    {
        var known = _keys;
        _keys = keys.Values.Where(key => key.Flaw is null).ToDictionary(key => key.Id);
        // Behind the keys, so that nobody is asked for a key that is not known yet.
        _hasHadKeys |= keys.Count > 0 || _configured is not null;
        // Whoever came when there was no key has none now.
        if (_hasHadKeys && !IsOff) Anyone.Caller.End();
        if (known is null) return;
        foreach (var key in known.Values)
        {
            if (keys.GetValueOrDefault(key.Id)?.Scope.Caller != key.Scope.Caller) key.Scope.Caller.End();
        }
    }

    private static bool IsAdmin(AccessKey key) => key.Flaw is null && key.Role == Role.Admin;

    private static ProblemException NotFirst() =>
        new(ProblemCode.Unauthorized,
            "a key has been created since this request came, from which on every call needs one; nothing has changed");

    private static ProblemException Invalid(string detail) => new(ProblemCode.InvalidOption, detail);

    private static ProblemException NotFound(string id) => new(ProblemCode.KeyNotFound, $"there is no key with id '{Excerpt.Of(id)}'");

    [LoggerMessage(Level = LogLevel.Information, Message = "Key {Id} '{Name}' created: role {Role}, prefix '{Prefix}'")]
    private static partial void LogCreated(ILogger logger, string id, string name, string role, string prefix);

    [LoggerMessage(Level = LogLevel.Warning,
        Message = "Key {Id} '{Name}' lets nobody in: {Flaw}. It counts as a key all the same, so that others are asked for theirs; "
            + "revoke it if it is not to be mended")]
    private static partial void LogFlawed(ILogger logger, string id, string name, string flaw);

    [LoggerMessage(Level = LogLevel.Information, Message = "Key {Id} '{Name}' rotated")]
    private static partial void LogRotated(ILogger logger, string id, string name);

    [LoggerMessage(Level = LogLevel.Information, Message = "Key {Id} '{Name}' revoked")]
    private static partial void LogRevoked(ILogger logger, string id, string name);
}

/// <summary>
/// Looks every second for keys that another node, or the command line, has created, rotated or revoked. Beside the requests: none of them
/// waits for it, and a database that is away stops nobody whose key is known.
/// </summary>
internal sealed class KeyRefresh(KeyRing keys, TimeProvider time) : BackgroundService
{
    private static readonly TimeSpan Interval = TimeSpan.FromSeconds(1);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        if (!keys.IsShared || keys.IsOff) return;
        using var timer = new PeriodicTimer(Interval, time);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            try
            {
                await keys.RefreshAsync(stoppingToken);
            }
            catch (StorageUnavailableException)
            {
                // The store says so itself, once.
            }
        }
    }
}

/// <summary>What whoever gets a key should know: what has changed by it, and what to do.</summary>
internal static class KeyNotice
{
    /// <summary>The old secret is nobody's now.</summary>
    public const string OfRotated =
        "It is shown this once: keep it. The old secret is refused from now on, on other nodes after about a second.";

    /// <summary>There is one more key.</summary>
    /// <param name="isFirst">Whether the service has asked for none before.</param>
    public static string OfCreated(bool isFirst) => isFirst
        ? $"It is the first key, and shown this once: keep it. From now on every call needs a key, sent as 'Authorization: Bearer <key>' " +
            $"or "
            + $"'{ApiKeys.Header}: <key>'; the page at / asks for it, Swagger has it under Authorize. Create keys for others with it " +
                $"(POST /v1/keys)."
        : "It is shown this once: keep it.";
}
