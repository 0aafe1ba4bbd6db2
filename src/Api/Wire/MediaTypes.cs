using Microsoft.Extensions.Primitives;
using Microsoft.Net.Http.Headers;

namespace BnService.Api.Wire;

/// <summary>The forms in which requests are read and answers written.</summary>
public static class MediaTypes
{
    /// <summary>JSON (RFC 8259).</summary>
    public const string Json = "application/json";

    /// <summary>Named tensors (huggingface/safetensors).</summary>
    public const string Safetensors = "application/x-safetensors";

    /// <summary>One array, as numpy.save writes it.</summary>
    public const string Npy = "application/x-npy";

    /// <summary>Bytes that another header explains: JSON and tensors of the Open Inference Protocol.</summary>
    public const string OctetStream = "application/octet-stream";

    /// <summary>Server-sent events.</summary>
    public const string EventStream = "text/event-stream";

    /// <summary>Problem answers (RFC 9457).</summary>
    public const string ProblemJson = "application/problem+json";

    /// <summary>Calls without tensors.</summary>
    public static IReadOnlyList<string> JsonAlone { get; } = [Json];

    /// <summary>Calls that answer with events.</summary>
    public static IReadOnlyList<string> Events { get; } = [EventStream];

    /// <summary>Calls with named tensors or arrays.</summary>
    public static IReadOnlyList<string> Named { get; } = [Json, Safetensors];

    /// <summary>Calls with a tensor in or out that can stand alone.</summary>
    public static IReadOnlyList<string> Tensors { get; } = [Json, Safetensors, Npy];

    /// <summary>One of the forms, by the Content-Type of a request; null for any other.</summary>
    public static string? FormOf(string? contentType, IReadOnlyList<string> forms) =>
        MediaTypeHeaderValue.TryParse(contentType, out var parsed)
            ? forms.FirstOrDefault(form => parsed.MediaType.Equals(form, StringComparison.OrdinalIgnoreCase))
            : null;

    /// <summary>The form that a client likes best (RFC 9110, 12.5.1); among equals that of its request, or else the first.</summary>
    /// <param name="request">The request.</param>
    /// <param name="forms">The forms that there are.</param>
    /// <returns>Null where it accepts none.</returns>
    public static string? BestFor(HttpRequest request, IReadOnlyList<string> forms)
    {
        var own = FormOf(request.ContentType, forms) ?? forms[0];
        if (StringValues.IsNullOrEmpty(request.Headers.Accept)) return own;
        if (!MediaTypeHeaderValue.TryParseList(request.Headers.Accept, out var accepted)) return null;
        var (best, highest) = ((string?)null, 0.0);
        foreach (var form in forms.OrderBy(form => form == own ? 0 : 1))
        {
            var quality = Quality(form, accepted);
            if (quality > highest) (best, highest) = (form, quality);
        }
        return best;
    }

    // The most specific range that matches decides: "application/json;q=0, */*" refuses JSON.
    private static double Quality(string form, IEnumerable<MediaTypeHeaderValue> accepted)
    {
        var mediaType = new MediaTypeHeaderValue(form);
        return accepted
            .Where(range => mediaType.IsSubsetOf(range)
                || (range.Parameters.Count > 0 && range.MediaType.Equals(form, StringComparison.OrdinalIgnoreCase)))
            .OrderBy(range => (range.MatchesAllTypes ? 2 : 0) + (range.MatchesAllSubTypes ? 1 : 0))
            .Select(range => range.Quality ?? 1)
            .FirstOrDefault();
    }
}
