using System.ComponentModel.DataAnnotations;
using System.Diagnostics.Metrics;
using BnService.Api.Sessions;
using Microsoft.Extensions.Options;
using OpenTelemetry;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;

namespace BnService.Api.Hosting.Telemetry;

/// <summary>
/// Metrics and traces with OpenTelemetry: metrics for <c>/metrics</c> always, and both over OTLP where an endpoint is configured. Without
/// one nobody listens to spans, and none are made.
/// </summary>
internal static class TelemetrySetup
{
    private const string OwnService = "bnservice", Requests = "Microsoft.AspNetCore", Runtime = "System.Runtime";

    // What ASP.NET Core measures itself, which boards for it show.
    private static readonly string[] OfHost =
    [
        "Microsoft.AspNetCore.Hosting", "Microsoft.AspNetCore.Server.Kestrel", "Microsoft.AspNetCore.Routing",
            "Microsoft.AspNetCore.Diagnostics",
        "Microsoft.AspNetCore.RateLimiting",
    ];

    /// <summary>Registers everything.</summary>
    public static void AddTelemetry(this IServiceCollection services)
    {
        services.AddSingleton<ServiceMeter>();
        services.AddSingleton<CallMeter>();
        services.AddSingleton<PassMeter>();
        services.AddSingleton<WaitMeter>();
        services.AddSingleton<CommitMeter>();
        services.AddSingleton<SyncMeter>();
        services.AddSingleton<ResourceMeter>();
        services.AddSingleton<SessionSeries>();
        services.AddSingleton<MetricsPage>();
        services.AddHostedService<Start>();
        services.AddOpenTelemetry().WithMetrics().WithTracing();
        // Later than the others of its methods, when the configuration is known.
        services.ConfigureOpenTelemetryMeterProvider(Measure);
        services.ConfigureOpenTelemetryTracerProvider(Trace);
    }

    private static void Measure(IServiceProvider services, MeterProviderBuilder metrics)
    {
        var (own, hosts, otlp) = (services.GetRequiredService<ServiceMeter>().Meter, services.GetRequiredService<IMeterFactory>(),
            OtlpOf(services));
        metrics.SetResourceBuilder(ResourceOf(services))
            .AddMeter([ServiceMeter.Name, Runtime, .. OfHost])
            .AddView(instrument => IsShown(instrument.Meter, own, hosts) ? null : MetricStreamConfiguration.Drop)
            .AddReader(services.GetRequiredService<MetricsPage>().Reader);
        if (otlp.EndpointOf("v1/metrics") is { } endpoint)
            metrics.AddReader(new PeriodicExportingMetricReader(
                new OtlpMetricExporter(Directed(otlp, endpoint)), (int)otlp.Interval.TotalMilliseconds));
    }

    private static void Trace(IServiceProvider services, TracerProviderBuilder traces)
    {
        var otlp = OtlpOf(services);
        if (otlp.EndpointOf("v1/traces") is not { } endpoint) return;
        var ratio = services.GetRequiredService<IOptions<TelemetryOptions>>().Value.TraceRatio;
        traces.SetResourceBuilder(ResourceOf(services))
            .AddSource(ServiceMeter.Name, Requests)
            .SetSampler(new ParentBasedSampler(new TraceIdRatioBasedSampler(ratio)))
            .AddProcessor(new BatchActivityExportProcessor(new OtlpTraceExporter(Directed(otlp, endpoint))));
    }

    private static OtlpOptions OtlpOf(IServiceProvider services) => services.GetRequiredService<IOptions<OtlpOptions>>().Value;

    private static OtlpExporterOptions Directed(OtlpOptions otlp, Uri endpoint) =>
        new() { Protocol = otlp.Protocol == "http" ? OtlpExportProtocol.HttpProtobuf : OtlpExportProtocol.Grpc, Endpoint = endpoint };

    // Other services of this process, as tests have them, have meters of the same names.
    private static bool IsShown(Meter meter, Meter own, IMeterFactory hosts) =>
        ReferenceEquals(meter, own) || meter.Name == Runtime || (ReferenceEquals(meter.Scope, hosts) && OfHost.Contains(meter.Name));

    private static ResourceBuilder ResourceOf(IServiceProvider services) => ResourceBuilder.CreateDefault().AddService(
        OwnService, serviceInstanceId: services.GetRequiredService<IOptions<NodeOptions>>().Value.Name);

    // What is counted is there from the start, and before the server takes requests.
    private sealed class Start(IServiceProvider services) : IHostedService
    {
        public Task StartAsync(CancellationToken cancellationToken)
        {
            foreach (var part in (Type[])[typeof(CallMeter), typeof(PassMeter), typeof(CommitMeter), typeof(SyncMeter),
                typeof(ResourceMeter)])
                services.GetRequiredService(part);
            return Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}

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

    /// <summary>
    /// Its protocol: <c>grpc</c>, or <c>http</c> with protobuf, to <c>/v1/traces</c> and <c>/v1/metrics</c> below the endpoint.
    /// </summary>
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
        if (!string.IsNullOrWhiteSpace(Endpoint) && !(Uri.TryCreate(Endpoint, UriKind.Absolute, out var uri)
            && uri.Scheme is "http" or "https"))
            yield return new ValidationResult("must be an http or https address", [nameof(Endpoint)]);
    }
}
