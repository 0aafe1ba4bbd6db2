using System.Net;
using BnService.Api.Hosting.Auth;
using BnService.Api.Errors;

namespace BnService.Api.Endpoints;

/// <summary>The pages that a problem's type points to: what it means and what to do.</summary>
internal static class ProblemEndpoints
{
    public static void MapProblems(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/problems", () => Page("Problems", Index())).NeedsNoKey().ExcludeFromDescription();
        routes.MapGet("/problems/{code}", Show).NeedsNoKey().ExcludeFromDescription();
    }

    private static IResult Show(string code) => ProblemCode.All.GetValueOrDefault(code) is { } problem
        ? Page(problem.Title, $"<p><code>{problem.Code}</code>, HTTP status {problem.Status}</p>" +
            $"<h2>What it means</h2><p>{Html(problem.Meaning)}</p><h2>What to do</h2><p>{Html(problem.Remedy)}</p>" +
            "<p><a href=\"/problems\">All problems</a></p>")
        : throw new ProblemException(ProblemCode.NotFound, $"there is no problem '{code}'; /problems lists all");

    private static string Index()
    {
        var rows = ProblemCode.All.Values.OrderBy(problem => problem.Status).ThenBy(problem => problem.Code, StringComparer.Ordinal)
            .Select(problem => $"<tr><td>{problem.Status}</td><td><a " +
                $"href=\"/problems/{problem.Code}\">{problem.Code}</a></td><td>{Html(problem.Title)}</td></tr>");
        return $"<p>Every error answer of this service is one of " +
            $"these.</p><table><tr><th>Status</th><th>Code</th><th>Title</th></tr>{string.Concat(rows)}</table>";
    }

    private static IResult Page(string title, string content) => TypedResults.Content(
        $"<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">" +
        $"<title>{Html(title)} · BnService</title></head><body><main><h1>{Html(title)}</h1>{content}</main></body></html>",
        "text/html; charset=utf-8");

    private static string Html(string text) => WebUtility.HtmlEncode(text);
}
