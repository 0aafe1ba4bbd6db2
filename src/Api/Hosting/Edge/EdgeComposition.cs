using Microsoft.AspNetCore.HostFiltering;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Edge;

/// <summary>What stands between the service and the network: TLS, what browsers may do with pages, and pages of other origins.</summary>
internal static class EdgeComposition
{
    // Swagger UI brings its own script and styles in the page.
    private const string ContentPolicy =
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src 'none'; base-uri 'self'; frame-ancestors 'none'";

    // What a script of another origin may read of an answer beside its body.
    private static readonly string[] ReadableHeaders =
        ["ETag", "Location", "Retry-After", "Idempotent-Replayed", "Bn-Step-Id", "Bn-State-Version", "Bn-Count", "Bn-Num-Batches-Tracked", "Bn-Warnings", "Inference-Header-Content-Length"];

    /// <summary>Registers it.</summary>
    public static void AddEdge(this IServiceCollection services)
    {
        services.AddSingleton<ServerCertificate>();
        services.AddHostedService(provider => provider.GetRequiredService<ServerCertificate>());
        services.AddOptions<KestrelServerOptions>().Configure<ServerCertificate, IOptions<LimitOptions>>((kestrel, certificate, limits) =>
        {
            if (!certificate.IsConfigured) return;
            certificate.Load();
            kestrel.ConfigureHttpsDefaults(https =>
            {
                https.HandshakeTimeout = limits.Value.HeadTime;
                https.ServerCertificateSelector = (_, _) => certificate.Current?.TargetCertificate;
                // A selected certificate would be sent alone.
                https.OnAuthenticate = (_, connection) => (connection.ServerCertificateSelectionCallback, connection.ServerCertificateContext) = (null, certificate.Current);
            });
        });
        services.AddSingleton<OwnHosts>();
        services.AddSingleton<ForeignPages>();
        // The server's own look at AllowedHosts would answer with a page, before anything here.
        services.Configure<HostFilteringOptions>(filtering => filtering.AllowedHosts = ["*"]);
        services.AddCors();
        services.AddOptions<Microsoft.AspNetCore.Cors.Infrastructure.CorsOptions>().Configure<IOptions<CorsOptions>>((cors, own) => cors.AddDefaultPolicy(policy =>
            policy.WithOrigins([.. own.Value.Origins]).AllowAnyMethod().AllowAnyHeader().WithExposedHeaders(ReadableHeaders)));
    }

    /// <summary>Adds to an answer the headers by which a browser does nothing with it that it is not for; called when it starts.</summary>
    public static Task SecureAsync(object state)
    {
        var response = (HttpResponse)state;
        response.Headers.XContentTypeOptions = "nosniff";
        if (response.ContentType?.StartsWith("text/html", StringComparison.Ordinal) != true) return Task.CompletedTask;
        // A page that can do with less says so itself.
        if (response.Headers.ContentSecurityPolicy.Count == 0) response.Headers.ContentSecurityPolicy = ContentPolicy;
        response.Headers["Referrer-Policy"] = "no-referrer";
        response.Headers.XFrameOptions = "DENY";
        return Task.CompletedTask;
    }
}
