namespace BnService.Api.Hosting.Problems;

/// <summary>What a client sent, cut short: it is part of every message, and may be of any length.</summary>
internal static class Excerpt
{
    /// <summary>The beginning of a text.</summary>
    /// <param name="text">The text.</param>
    /// <param name="longest">How many characters of it are kept.</param>
    public static string Of(string text, int longest = 64) => text.Length <= longest ? text : text[..longest] + "…";
}
