using Microsoft.Net.Http.Headers;

namespace BnService.Api.Wire;

/// <summary>The forms in which requests are read and answers written.</summary>
public static class MediaTypes
{
    /// <summary>JSON (RFC 8259).</summary>
    public const string Json = "application/json";

    /// <summary>Bytes that another header explains: JSON and tensors of the Open Inference Protocol.</summary>
    public const string OctetStream = "application/octet-stream";

    /// <summary>Problem answers (RFC 9457).</summary>
    public const string ProblemJson = "application/problem+json";

    /// <summary>Media types of request bodies that can be read.</summary>
    public static IReadOnlyList<string> Readable { get; } = [Json];

    /// <summary>Media types of answers that can be written.</summary>
    public static IReadOnlyList<string> Writable { get; } = [Json];

    /// <summary>Whether an Accept header allows one of the forms in which answers are written (RFC 9110, 12.5.1).</summary>
    public static bool Accepts(HttpRequest request)
    {
        if (request.Headers.Accept.Count == 0) return true;
        if (!MediaTypeHeaderValue.TryParseList(request.Headers.Accept, out var accepted)) return false;
        return Writable.Any(form => Quality(form, accepted) > 0);
    }

    // The most specific range that matches decides: "application/json;q=0, */*" refuses JSON.
    private static double Quality(string form, IEnumerable<MediaTypeHeaderValue> accepted)
    {
        var mediaType = new MediaTypeHeaderValue(form);
        return accepted
            .Where(range => mediaType.IsSubsetOf(range) || (range.Parameters.Count > 0 && range.MediaType == form))
            .OrderBy(range => (range.MatchesAllTypes ? 2 : 0) + (range.MatchesAllSubTypes ? 1 : 0))
            .Select(range => range.Quality ?? 1)
            .FirstOrDefault();
    }
}
