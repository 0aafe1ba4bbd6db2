using System.Globalization;
using BnService.Api.Errors;

namespace BnService.Api.Endpoints;

/// <summary>Whole numbers in paths and queries.</summary>
internal static class QueryNumber
{
    /// <summary>A number that may be absent.</summary>
    /// <param name="text">What was sent, or null.</param>
    /// <param name="name">Name of the parameter.</param>
    /// <param name="least">The least that is allowed.</param>
    /// <param name="most">The most that is allowed.</param>
    /// <exception cref="ProblemException">It is no whole number, or not allowed.</exception>
    public static long? Parse(string? text, string name, long least, long most)
    {
        if (text is null) return null;
        if (long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= least && number <= most) return number;
        var allowed = most == long.MaxValue ? $"of {least} or more" : $"from {least} to {most}";
        throw new ProblemException(ProblemCode.InvalidOption, $"{name} must be a whole number {allowed}, got '{Excerpt.Of(text)}'");
    }

    /// <summary>The version of a snapshot, or null where none is named.</summary>
    /// <exception cref="ProblemException">It is no version.</exception>
    public static long? Version(string? text) => Parse(text, "version", 1, long.MaxValue);
}
