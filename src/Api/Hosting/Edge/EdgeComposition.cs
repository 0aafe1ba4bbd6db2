using System.ComponentModel.DataAnnotations;
using Microsoft.AspNetCore.HostFiltering;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Edge;

/// <summary>What stands between the service and the network: TLS, what browsers may do with pages, and pages of other origins.</summary>
internal static class EdgeComposition
{
    // Swagger UI brings its own script and styles in the page.
    private const string ContentPolicy =
        "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; object-src " +
            "'none'; base-uri 'self'; frame-ancestors 'none'";

    // What a script of another origin may read of an answer beside its body.
    private static readonly string[] ReadableHeaders =
        ["ETag", "Location", "Retry-After", "Idempotent-Replayed", "Bn-Step-Id", "Bn-State-Version", "Bn-Count", "Bn-Num-Batches-Tracked",
            "Bn-Warnings", "Inference-Header-Content-Length"];

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
                https.OnAuthenticate = (_, connection) => (connection.ServerCertificateSelectionCallback,
                    connection.ServerCertificateContext) = (null, certificate.Current);
            });
        });
        services.AddSingleton<OwnHosts>();
        services.AddSingleton<ForeignPages>();
        // The server's own look at AllowedHosts would answer with a page, before anything here.
        services.Configure<HostFilteringOptions>(filtering => filtering.AllowedHosts = ["*"]);
        services.AddCors();
        services.AddOptions<Microsoft.AspNetCore.Cors.Infrastructure.CorsOptions>()
            .Configure<IOptions<CorsOptions>>((cors, own) => cors.AddDefaultPolicy(policy =>
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

/// <summary>Section <c>Tls</c>: the certificate of https addresses.</summary>
public sealed record TlsOptions : IValidatableObject
{
    /// <summary>
    /// The certificate with its chain (PEM), or certificate and key in one file (PFX, PKCS #12); without it https addresses have none.
    /// </summary>
    public string? CertificatePath { get; init; }

    /// <summary>The private key of a PEM certificate.</summary>
    public string? KeyPath { get; init; }

    /// <summary>The password of the key, or of the PFX file.</summary>
    public string? Password { get; init; }

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (CertificatePath is null)
        {
            if (KeyPath is not null) yield return new ValidationResult(
                "belongs to Tls:CertificatePath, which is missing", [nameof(KeyPath)]);
            yield break;
        }
        foreach (var (name, path) in new[] { (nameof(CertificatePath), CertificatePath), (nameof(KeyPath), KeyPath) })
        {
            if (path is not null && !File.Exists(path)) yield return new ValidationResult("must name a file that exists", [name]);
        }
    }
}

/// <summary>Section <c>Cors</c>: pages of other origins that may call the service from a browser.</summary>
public sealed record CorsOptions : IValidatableObject
{
    /// <summary>The origins, as <c>https://example.org</c>; none by default.</summary>
    public IReadOnlyList<string> Origins { get; init; } = [];

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext) => Origins
        .Where(origin => origin != "*" && !(Uri.TryCreate(origin, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https"
            && uri.GetLeftPart(UriPartial.Authority) == origin))
        .Select(origin => new ValidationResult($"must be origins as https://example.org, or *, got '{origin}' among them",
            [nameof(Origins)]));
}
