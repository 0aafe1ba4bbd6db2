using System.ComponentModel.DataAnnotations;

namespace BnService.Api.Hosting.Edge;

/// <summary>Section <c>Tls</c>: the certificate of https addresses.</summary>
public sealed record TlsOptions : IValidatableObject
{
    /// <summary>The certificate with its chain (PEM), or certificate and key in one file (PFX, PKCS #12); without it https addresses have none.</summary>
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
            if (KeyPath is not null) yield return new ValidationResult("belongs to Tls:CertificatePath, which is missing", [nameof(KeyPath)]);
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
        .Where(origin => origin != "*" && !(Uri.TryCreate(origin, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https" && uri.GetLeftPart(UriPartial.Authority) == origin))
        .Select(origin => new ValidationResult($"must be origins as https://example.org, or *, got '{origin}' among them", [nameof(Origins)]));
}
