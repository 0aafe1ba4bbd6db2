using BnService.Api.Errors;
using BnService.Api.Hosting;
using BnService.Api.Wire;

namespace BnService.Api.Endpoints;

/// <summary>The forms of bodies that a call reads.</summary>
internal sealed record ReadableForms(IReadOnlyList<string> MediaTypes);

/// <summary>The forms in which a call answers.</summary>
internal sealed record WritableForms(IReadOnlyList<string> MediaTypes);

/// <summary>The forms of one request and its answer, decided before anything is read.</summary>
/// <param name="Request">Form of the request's body; JSON where there is none.</param>
/// <param name="Answer">Form of the answer.</param>
internal sealed record Negotiation(string Request, string Answer)
{
    public static Negotiation Of(HttpContext context) => RequestContext.Of(context).Forms;

    public static Negotiation Plain { get; } = new(MediaTypes.Json, MediaTypes.Json);

    /// <summary>Refuses forms that the call does not read or write; belongs after routing.</summary>
    public static void Decide(HttpContext context)
    {
        if (context.GetEndpoint() is not { } endpoint) return;
        var (readable, writable) = (endpoint.Metadata.GetMetadata<ReadableForms>(), endpoint.Metadata.GetMetadata<WritableForms>());
        var request = readable is null ? MediaTypes.Json : FormOfBody(context.Request, readable.MediaTypes);
        var answer = writable is null ? MediaTypes.Json : FormOfAnswer(context.Request, writable.MediaTypes);
        if ((request, answer) != (MediaTypes.Json, MediaTypes.Json)) RequestContext.Of(context).Forms = new Negotiation(request, answer);
    }

    /// <summary>Refuses a body that is no JSON and does not say what it is.</summary>
    /// <param name="body">The body, UTF-8 if it is JSON; an empty one is as good as none.</param>
    /// <exception cref="ProblemException">It begins as no JSON object or array does.</exception>
    public static void RequireJson(HttpContext context, ReadOnlySpan<byte> body)
    {
        if (!string.IsNullOrWhiteSpace(context.Request.ContentType)) return;
        var text = (body.StartsWith("\uFEFF"u8) ? body[3..] : body).TrimStart(" \t\r\n"u8);
        if (text.Length == 0 || text[0] is (byte)'{' or (byte)'[') return;
        throw new ProblemException(ProblemCode.UnsupportedMediaType,
            $"Content-Type is missing and the body is not JSON; it must be one of " +
                $"{string.Join(", ", context.GetEndpoint()!.Metadata.GetMetadata<ReadableForms>()!.MediaTypes)}");
    }

    private static string FormOfBody(HttpRequest request, IReadOnlyList<string> forms)
    {
        // Without a type the body is JSON, if there is one: its reader finds out.
        if (string.IsNullOrWhiteSpace(request.ContentType)) return MediaTypes.Json;
        return MediaTypes.FormOf(request.ContentType, forms) ?? throw new ProblemException(ProblemCode.UnsupportedMediaType,
            $"Content-Type must be one of {string.Join(", ", forms)}, got '{request.ContentType}'");
    }

    private static string FormOfAnswer(HttpRequest request, IReadOnlyList<string> forms) =>
        MediaTypes.BestFor(request, forms) ?? throw new ProblemException(ProblemCode.NotAcceptable,
            $"Accept must allow one of {string.Join(", ", forms)}, got '{request.Headers.Accept}'");
}
