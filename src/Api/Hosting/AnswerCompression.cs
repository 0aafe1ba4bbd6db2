using System.IO.Compression;
using Microsoft.AspNetCore.ResponseCompression;

namespace BnService.Api.Hosting;

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
