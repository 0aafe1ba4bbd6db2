using BnService.Api.Endpoints;
using BnService.Api.Errors;
using BnService.Api.Wire;
using Microsoft.Net.Http.Headers;

namespace BnService.Api.Hosting;

/// <summary>
/// Content codings of request bodies (RFC 9110, 8.4): gzip, deflate (zlib) and br are undone while the body is read, so that whoever
/// reads it sees nothing of them and its limit is on what comes out.
/// </summary>
internal static class RequestDecoding
{
    /// <summary>Registers the codings.</summary>
    public static void AddRequestDecoding(this IServiceCollection services) => services.AddRequestDecompression();

    /// <summary>Undoes the coding of each request, decides on the forms of its body and answer, and looks for its Idempotency-Key.</summary>
    public static void UseRequestDecoding(this IApplicationBuilder app)
    {
        app.UseWhen(context => context.Request.Headers.ContentEncoding.Count > 0, coded => coded.Use((context, next) =>
        {
            // The length of what was sent is not that of what will be read.
            context.Request.ContentLength = null;
            context.Request.Body = new BodyReader(context.Request.BodyReader).AsStream();
            return next(context);
        }));
        app.UseRequestDecompression();
        app.Use((context, next) =>
        {
            // The header of a coding that was undone is gone.
            var left = context.Request.Headers.ContentEncoding;
            if (left.Count > 0 && !left.ToString().Equals("identity", StringComparison.OrdinalIgnoreCase))
            {
                throw new ProblemException(
                    ProblemCode.UnsupportedMediaType, $"{HeaderNames.ContentEncoding} must be one of gzip, deflate, br, got '{left}'");
            }
            Negotiation.Decide(context);
            IdempotencyKey.Read(context);
            return next(context);
        });
    }
}
