using System.Diagnostics.Metrics;
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
/// <remarks>OpenTelemetry's package for hosts cannot be had where this project restores from; these lines are what it would do.</remarks>
internal static class TelemetrySetup
{
    private const string OwnService = "bnservice", Requests = "Microsoft.AspNetCore";

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
        services.AddSingleton(Metrics);
        services.AddSingleton(provider => new Traces(TracesTo(provider)));
        services.AddHostedService<Start>();
    }

    private static MeterProvider Metrics(IServiceProvider services)
    {
        var (own, otlp) = (services.GetRequiredService<ServiceMeter>().Meter, services.GetRequiredService<IOptions<OtlpOptions>>().Value);
        var builder = Sdk.CreateMeterProviderBuilder()
            .SetResourceBuilder(ResourceOf(services))
            .AddMeter(ServiceMeter.Name, ResourceMeter.Runtime)
            .AddView(instrument => IsShown(instrument, own) ? null : MetricStreamConfiguration.Drop)
            .AddReader(services.GetRequiredService<MetricsPage>().Reader);
        if (otlp.EndpointOf("v1/metrics") is { } endpoint)
        {
            builder.AddOtlpExporter((exporter, reader) =>
            {
                Direct(exporter, otlp, endpoint);
                reader.PeriodicExportingMetricReaderOptions.ExportIntervalMilliseconds = (int)otlp.Interval.TotalMilliseconds;
            });
        }
        return builder.Build();
    }

    private static TracerProvider? TracesTo(IServiceProvider services)
    {
        var otlp = services.GetRequiredService<IOptions<OtlpOptions>>().Value;
        if (otlp.EndpointOf("v1/traces") is not { } endpoint) return null;
        var ratio = services.GetRequiredService<IOptions<TelemetryOptions>>().Value.TraceRatio;
        return Sdk.CreateTracerProviderBuilder()
            .SetResourceBuilder(ResourceOf(services))
            .AddSource(ServiceMeter.Name, Requests)
            .SetSampler(new ParentBasedSampler(new TraceIdRatioBasedSampler(ratio)))
            .AddOtlpExporter(exporter => Direct(exporter, otlp, endpoint))
            .Build();
    }

    private static void Direct(OtlpExporterOptions exporter, OtlpOptions otlp, Uri endpoint)
    {
        exporter.Protocol = otlp.Protocol == "http" ? OtlpExportProtocol.HttpProtobuf : OtlpExportProtocol.Grpc;
        exporter.Endpoint = endpoint;
    }

    // Other services of this process, as tests have them, have meters of the same name.
    private static bool IsShown(Instrument instrument, Meter own) =>
        ReferenceEquals(instrument.Meter, own) || (instrument.Meter.Name == ResourceMeter.Runtime && ResourceMeter.OfRuntime.Contains(instrument.Name));

    private static ResourceBuilder ResourceOf(IServiceProvider services) => ResourceBuilder.CreateDefault().AddService(
        OwnService, serviceInstanceId: services.GetRequiredService<IOptions<NodeOptions>>().Value.Name);

    // What is not there cannot be registered by itself.
    private sealed record Traces(TracerProvider? Provider) : IDisposable
    {
        public void Dispose() => Provider?.Dispose();
    }

    // Gathering begins with the host, when all of the configuration is known to be valid, and before the server takes requests.
    private sealed class Start(IServiceProvider services) : IHostedService
    {
        public Task StartAsync(CancellationToken cancellationToken)
        {
            foreach (var part in (Type[])[typeof(CallMeter), typeof(PassMeter), typeof(CommitMeter), typeof(SyncMeter), typeof(ResourceMeter), typeof(MeterProvider), typeof(Traces)])
                services.GetRequiredService(part);
            return Task.CompletedTask;
        }

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
