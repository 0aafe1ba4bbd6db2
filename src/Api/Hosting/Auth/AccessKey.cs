using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;
using System.Text.RegularExpressions;
using BnService.Api.Errors;
using BnService.Api.Sessions;
using BnService.Api.Storage;

namespace BnService.Api.Hosting.Auth;

/// <summary>A key as the service knows it: whose it is and how it is recognized, but not the key.</summary>
/// <param name="Id">The part of the key that names it, and is no secret.</param>
/// <param name="Name">What it is called.</param>
/// <param name="Role">What its holder may do.</param>
/// <param name="Scope">The sessions that its holder sees.</param>
/// <param name="CreatedAt">When it was created.</param>
internal sealed record AccessKey(string Id, string Name, Role Role, SessionScope Scope, DateTimeOffset CreatedAt)
{
    private const int SaltBytes = 16;

    // What an unknown key is compared with, and never equals.
    private static readonly AccessKey Nobody = new("", "", Role.Reader, SessionScope.Everything, default)
    {
        Salt = RandomNumberGenerator.GetBytes(SaltBytes),
        Hash = RandomNumberGenerator.GetBytes(SHA256.HashSizeInBytes),
    };

    /// <summary>Why nobody gets in by it, as a part of a sentence; null of a key that can be used.</summary>
    public string? Flaw { get; private init; }

    /// <summary>What the store has for its role: of a flawed key perhaps nothing that this service knows.</summary>
    public string StoredRole { get; private init; } = Role.WireName;

    private ReadOnlyMemory<byte> Salt { get; init; }

    private ReadOnlyMemory<byte> Hash { get; init; }

    /// <summary>The same key with a new secret.</summary>
    /// <returns>The key, and its text, which is nowhere else.</returns>
    public (AccessKey Key, string Text) WithNewSecret()
    {
        var (text, salt) = (KeyText.New(Id), RandomNumberGenerator.GetBytes(SaltBytes));
        // What was sent with the old secret is another caller's.
        return (this with { Salt = salt, Hash = HashOf(salt, text), Scope = Scope with { Caller = new(isOne: true) } }, text);
    }

    /// <summary>The key as it is stored now: where its secret, role and prefix are the same, its holder is the same caller.</summary>
    /// <param name="known">The key of the id that was known before, or null.</param>
    public AccessKey Continuing(AccessKey? known) =>
        known is not null && known.Flaw == Flaw && known.Role == Role && known.Scope.Prefix == Scope.Prefix
            && known.Salt.Span.SequenceEqual(Salt.Span)
        && known.Hash.Span.SequenceEqual(Hash.Span)
            ? this with { Scope = known.Scope }
            : this;

    /// <summary>
    /// Whether a text is the text of a key, in a time that depends on neither: of an id that nobody has, everything is done as of one that
    /// somebody has.
    /// </summary>
    public static bool IsText(AccessKey? key, ReadOnlySpan<char> text)
    {
        var compared = key ?? Nobody;
        Span<byte> hash = stackalloc byte[SHA256.HashSizeInBytes];
        HashOf(compared.Salt.Span, text, hash);
        return CryptographicOperations.FixedTimeEquals(hash, compared.Hash.Span) & key is { Flaw: null };
    }

    /// <summary>The key of an admin that is in no store.</summary>
    /// <param name="text">The key as its holder has it.</param>
    public static AccessKey OfAdmin(string text)
    {
        var (id, salt) = (KeyText.IdOf(text).ToString(), RandomNumberGenerator.GetBytes(SaltBytes));
        return new(id, "configured", Role.Admin, ScopeOf(null, id), default) { Salt = salt, Hash = HashOf(salt, text) };
    }

    /// <summary>The key as a store keeps it.</summary>
    public StoredKey ToStored() => new(Id, Name, Role.WireName, Scope.Prefix, CreatedAt, Salt, Hash);

    /// <summary>
    /// A key of a store. One that cannot be used is one all the same: it lets nobody in, and is no reason to ask nobody for a key.
    /// </summary>
    public static AccessKey Of(StoredKey stored)
    {
        var role = Roles.Parse(stored.Role);
        return new AccessKey(stored.Id, stored.Name, role ?? default, ScopeOf(stored.Prefix, stored.Id), stored.CreatedAt)
        {
            Salt = stored.Salt,
            Hash = stored.Hash,
            StoredRole = stored.Role,
            Flaw = role is null ? $"its role '{Excerpt.Of(stored.Role)}' is none that this version of the service knows"
                : stored.Salt.Length != SaltBytes || stored.Hash.Length != SHA256.HashSizeInBytes
                    ? "what is stored of its secret is damaged"
                : !KeyText.IsId(stored.Id) ? "its id is none of a key"
                : role == Role.Admin && stored.Prefix is not null ? "it is an admin's and has a prefix"
                : null,
        };
    }

    /// <summary>What the holder of a key of an id and a prefix sees.</summary>
    public static SessionScope ScopeOf(string? prefix, string id) => new(prefix) { KeyId = id, Caller = new(isOne: true) };

    private static byte[] HashOf(ReadOnlySpan<byte> salt, string text)
    {
        var hash = new byte[SHA256.HashSizeInBytes];
        HashOf(salt, text, hash);
        return hash;
    }

    // One round of SHA-256 is enough: a secret is 256 random bits, and nobody tries 2^256 of them. Slow hashes are for passwords, which
    // people choose, and would cost each request milliseconds. What is hashed is the text, of which there is one form only.
    private static void HashOf(ReadOnlySpan<byte> salt, ReadOnlySpan<char> text, Span<byte> hash)
    {
        Span<byte> bytes = stackalloc byte[SaltBytes + KeyText.Longest];
        salt.CopyTo(bytes);
        // Nothing that is longer, or not ASCII, is a key: what is left of it equals none.
        var ascii = text[..Math.Min(text.Length, KeyText.Longest)];
        var length = Encoding.ASCII.GetBytes(ascii, bytes[SaltBytes..]);
        SHA256.HashData(bytes[..(SaltBytes + length)], hash);
    }
}

/// <summary>
/// A key as its holder has it: <c>bn_&lt;id&gt;_&lt;secret&gt;</c>. The id is 16 hexadecimal digits, the secret 256 random bits in
/// base64url. The beginning is there to be found, by people and by scanners of repositories.
/// </summary>
internal static partial class KeyText
{
    private const string Beginning = "bn_";
    private const int IdBytes = 8, SecretBytes = 32;

    /// <summary>The most characters that a header is looked at for.</summary>
    public const int Longest = 128;

    /// <summary>An id that no other key has.</summary>
    public static string NewId() => Convert.ToHexStringLower(RandomNumberGenerator.GetBytes(IdBytes));

    /// <summary>A new key of an id.</summary>
    public static string New(string id) => $"{Beginning}{id}_{Base64Url.EncodeToString(RandomNumberGenerator.GetBytes(SecretBytes))}";

    /// <summary>The id within a key; empty where what is there is no key.</summary>
    public static ReadOnlySpan<char> IdOf(ReadOnlySpan<char> key)
    {
        if (key.Length > Longest || !key.StartsWith(Beginning, StringComparison.Ordinal)) return [];
        var rest = key[Beginning.Length..];
        return rest.IndexOf('_') is var end and > 0 ? rest[..end] : [];
    }

    /// <summary>Whether an id could be that within a key.</summary>
    public static bool IsId(string id) => id.Length is > 0 and < Longest && !id.Contains('_', StringComparison.Ordinal);

    /// <summary>
    /// A text without the secrets of keys in it: what a client sends is quoted in problems and in the log, and may be a key in the wrong
    /// place.
    /// </summary>
    public static string Mask(string text) => MayBeIn(text) ? Secret().Replace(text, "$1…") : text;

    /// <summary>Whether a text is worth masking.</summary>
    public static bool MayBeIn(ReadOnlySpan<char> text) => text.Contains(Beginning, StringComparison.OrdinalIgnoreCase);

    // Also what was cut short, and whatever an escape has been made of.
    [GeneratedRegex("(bn_[0-9a-f]{4,}_)[^\\s'\",;/]+", RegexOptions.IgnoreCase | RegexOptions.CultureInvariant)]
    private static partial Regex Secret();
}
