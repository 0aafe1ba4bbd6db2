using BnService.Api.Hosting.Problems;
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
    /// <summary>The forms of a request.</summary>
    public static Negotiation Of(HttpContext context) => context.Features.Get<Negotiation>() ?? Plain;

    private static Negotiation Plain { get; } = new(MediaTypes.Json, MediaTypes.Json);

    /// <summary>Refuses forms that the call does not read or write; belongs behind routing.</summary>
    public static Task DecideAsync(HttpContext context, RequestDelegate next)
    {
        if (context.GetEndpoint() is { } endpoint)
        {
            var (readable, writable) = (endpoint.Metadata.GetMetadata<ReadableForms>(), endpoint.Metadata.GetMetadata<WritableForms>());
            var request = readable is null ? MediaTypes.Json : FormOfBody(context.Request, readable.MediaTypes);
            var answer = writable is null ? MediaTypes.Json : FormOfAnswer(context.Request, writable.MediaTypes);
            if ((request, answer) != (MediaTypes.Json, MediaTypes.Json)) context.Features.Set(new Negotiation(request, answer));
        }
        return next(context);
    }

    private static string FormOfBody(HttpRequest request, IReadOnlyList<string> forms)
    {
        // Without a body there need not be a type either.
        if (string.IsNullOrEmpty(request.ContentType) && request.ContentLength is null or 0 && request.Headers.TransferEncoding.Count == 0) return forms[0];
        return MediaTypes.FormOf(request.ContentType, forms) ?? throw new ProblemException(ProblemCode.UnsupportedMediaType,
            $"Content-Type must be one of {string.Join(", ", forms)}, got {(string.IsNullOrEmpty(request.ContentType) ? "none" : $"'{request.ContentType}'")}");
    }

    private static string FormOfAnswer(HttpRequest request, IReadOnlyList<string> forms) =>
        MediaTypes.BestFor(request, forms) ?? throw new ProblemException(ProblemCode.NotAcceptable,
            $"Accept must allow one of {string.Join(", ", forms)}, got '{request.Headers.Accept}'");
}
