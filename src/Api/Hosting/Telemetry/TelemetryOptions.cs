using System.ComponentModel.DataAnnotations;

namespace BnService.Api.Hosting.Telemetry;

/// <summary>Section <c>Telemetry</c>: what the service tells of itself.</summary>
public sealed record TelemetryOptions
{
    /// <summary>Form of the log: <c>text</c>, <c>json</c>, or JSON in a container and text elsewhere.</summary>
    [AllowedValues("auto", "text", "json", ErrorMessage = "must be auto, text or json")]
    public string LogFormat { get; init; } = "auto";

    /// <summary>The most sessions that have series of their own; the others are one more, by the name of <c>_other</c>.</summary>
    [Range(0, 10_000, ErrorMessage = "must be from 0 to 10000")]
    public int SessionSeries { get; init; } = 100;

    /// <summary>Which part of the traces that begin here is sampled; of one that a caller has begun the caller decides.</summary>
    [Range(0.0, 1.0, ErrorMessage = "must be from 0 to 1")]
    public double TraceRatio { get; init; } = 1;
}

/// <summary>Section <c>Telemetry:Otlp</c>: where traces and metrics are sent to.</summary>
public sealed record OtlpOptions : IValidatableObject
{
    /// <summary>The collector; without it nothing is sent.</summary>
    public string? Endpoint { get; init; }

    /// <summary>Its protocol: <c>grpc</c>, or <c>http</c> with protobuf, to <c>/v1/traces</c> and <c>/v1/metrics</c> below the endpoint.</summary>
    [AllowedValues("grpc", "http", ErrorMessage = "must be grpc or http")]
    public string Protocol { get; init; } = "grpc";

    /// <summary>How often metrics are sent.</summary>
    [Range(typeof(TimeSpan), "00:00:00.100", "01:00:00", ErrorMessage = "must be from 00:00:00.100 to 01:00:00")]
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(60);

    /// <summary>Where each signal goes; null where nothing is sent.</summary>
    /// <param name="path">Path of the signal below the endpoint, where the protocol has one.</param>
    public Uri? EndpointOf(string path) => string.IsNullOrWhiteSpace(Endpoint) ? null
        : new Uri(Protocol == "http" ? $"{Endpoint.TrimEnd('/')}/{path}" : Endpoint, UriKind.Absolute);

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (!string.IsNullOrWhiteSpace(Endpoint) && !(Uri.TryCreate(Endpoint, UriKind.Absolute, out var uri) && uri.Scheme is "http" or "https"))
            yield return new ValidationResult("must be an http or https address", [nameof(Endpoint)]);
    }
}
