using System.IO.Compression;
using BnService.Api.Endpoints;
using BnService.Api.Errors;
using BnService.Api.Wire;
using Microsoft.AspNetCore.ResponseCompression;
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

    /// <summary>
    /// Undoes the coding of each request, decides on the forms of its body and answer, and looks for its Idempotency-Key.
    /// </summary>
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

/// <summary>Marks a call whose answers are compressed for clients that ask for it.</summary>
[AttributeUsage(AttributeTargets.Method)]
internal sealed class CompressedAnswerAttribute : Attribute;

/// <summary>Content codings of answers (RFC 9110, 12.5.3): gzip, deflate and brotli, on calls that are marked for it.</summary>
internal static class AnswerCompression
{
    /// <summary>Registers the codings.</summary>
    public static void AddAnswerCompression(this IServiceCollection services) => services.AddResponseCompression(options =>
    {
        // Nothing in an answer is secret to the client who has sent the tensor that it is made of.
        options.EnableForHttps = true;
        options.MimeTypes = [Wire.MediaTypes.Json, Wire.MediaTypes.OctetStream, "text/plain"];
        options.Providers.Add<GzipCompressionProvider>();
        options.Providers.Add<Deflate>();
        options.Providers.Add<BrotliCompressionProvider>();
    });

    /// <summary>
    /// Compresses the answers of marked calls; belongs behind routing. Errors are written in front of it and stay as they are: clients
    /// that ask for compression with every request do not all undo it before they look for an error's text.
    /// </summary>
    public static void UseAnswerCompression(this IApplicationBuilder app) => app.UseWhen(
        context => context.GetEndpoint()?.Metadata.GetMetadata<CompressedAnswerAttribute>() is not null,
        marked => marked.UseResponseCompression());

    // HTTP's deflate is zlib's format, not the bare stream.
    private sealed class Deflate : ICompressionProvider
    {
        public string EncodingName => "deflate";

        public bool SupportsFlush => true;

        public Stream CreateStream(Stream outputStream) => new ZLibStream(outputStream, CompressionLevel.Fastest, leaveOpen: true);
    }
}
