using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text.RegularExpressions;

namespace BnService.Api.Hosting.Auth;

/// <summary>
/// A key as its holder has it: <c>bn_&lt;id&gt;_&lt;secret&gt;</c>. The id is 16 hexadecimal digits, the secret 256 random bits in base64url. The
/// beginning is there to be found, by people and by scanners of repositories.
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
