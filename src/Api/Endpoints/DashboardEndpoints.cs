using BnService.Api.Hosting;
using BnService.Api.Hosting.Auth;
using BnService.Api.Errors;
using Microsoft.Extensions.Primitives;
using Microsoft.Net.Http.Headers;

namespace BnService.Api.Endpoints;

/// <summary>The page at the root and what belongs to it. They need no key: the calls that the page makes do.</summary>
/// <remarks>
/// MapStaticAssets serves files of a web root, which may be missing in the program's folder, and none that are part of the assembly.
/// </remarks>
internal static class DashboardEndpoints
{
    // Nothing inline and nothing of anybody else, which keeps what is drawn from being run.
    private const string ContentPolicy =
        "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; font-src 'self'; object-src " +
            "'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

    // The names of these files change with their content; the page is the one that names them.
    private const string ForEver = "public, max-age=31536000, immutable", Ask = "no-cache";

    private const string Missing =
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" " +
            "content=\"width=device-width\"><title>BnService</title></head><body><main>" +
        "<h1>BnService</h1><p>The service runs. Its dashboard is not part of this build, because npm was missing when it was built.</p>" +
        "<h2>How to get it</h2><p>Install Node.js 18 or newer (<a href=\"https://nodejs.org\">nodejs.org</a>, or your system's packages " +
            "<code>nodejs</code> and <code>npm</code>), " +
        "build again with <code>dotnet build src/Api -c Release</code>, and start the service again.</p>" +
        "<p>All calls can be tried at <a href=\"/swagger\">/swagger</a> as well.</p></main></body></html>";

    private static readonly string[] Methods = [HttpMethods.Get, HttpMethods.Head];

    public static void MapDashboard(this IEndpointRouteBuilder routes)
    {
        routes.MapMethods("/", Methods, (DashboardFiles files) => files.Index is { } page ? (IResult)new Sent(page, Ask)
            : TypedResults.Content(Missing, "text/html; charset=utf-8"))
            .NeedsNoKey().ExcludeFromDescription();
        routes.MapMethods("/icon.svg", Methods, (DashboardFiles files) => Send(files, "icon.svg", Ask)).NeedsNoKey()
            .ExcludeFromDescription();
        routes.MapMethods("/assets/{file}", Methods, (string file, DashboardFiles files) => Send(files, $"assets/{file}", ForEver))
            .NeedsNoKey().ExcludeFromDescription();
    }

    private static IResult Send(DashboardFiles files, string path, string caching) => files.Find(path) is { } file
        ? new Sent(file, caching)
        : throw new ProblemException(ProblemCode.NotFound, $"the dashboard has no file '{Excerpt.Of(path)}'");

    /// <summary>A file in the best coding that the client takes, or nothing where it has it already.</summary>
    private sealed class Sent(DashboardFile file, string caching) : IResult
    {
        public async Task ExecuteAsync(HttpContext httpContext)
        {
            var (request, response) = (httpContext.Request, httpContext.Response);
            var coding = CodingFor(request.Headers.AcceptEncoding);
            var tag = new EntityTagHeaderValue($"\"{file.Tag}-{coding}\"");
            response.Headers.ETag = tag.ToString();
            response.Headers.CacheControl = caching;
            response.Headers.Vary = "Accept-Encoding";
            response.Headers.ContentSecurityPolicy = ContentPolicy;
            if (request.GetTypedHeaders().IfNoneMatch.Any(known => known.Equals(EntityTagHeaderValue.Any)
                || known.Compare(tag, useStrongComparison: false)))
            {
                response.StatusCode = StatusCodes.Status304NotModified;
                return;
            }
            var content = file.Content[coding];
            response.ContentType = file.ContentType;
            response.ContentLength = content.Length;
            if (coding != DashboardFiles.Identity) response.Headers.ContentEncoding = coding;
            if (!HttpMethods.IsHead(request.Method)) await response.Body.WriteAsync(content, httpContext.RequestAborted);
        }

        // Among those that the client takes the first is the smallest.
        private string CodingFor(StringValues accepted)
        {
            if (!StringWithQualityHeaderValue.TryParseList(accepted, out var codings)) return DashboardFiles.Identity;
            return file.Content.Keys.FirstOrDefault(coding =>
                (codings.FirstOrDefault(known => known.Value.Equals(coding, StringComparison.OrdinalIgnoreCase))
                ?? codings.FirstOrDefault(known => known.Value == "*")) is { } found && found.Quality != 0) ?? DashboardFiles.Identity;
        }
    }
}
