using BnService.Api.Contracts;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Limits;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Errors;
using BnService.Api.Hosting.Telemetry;

namespace BnService.Api.Endpoints;

/// <summary>Whether the process lives, and whether it takes requests.</summary>
internal static class HealthEndpoints
{
    public static void MapHealth(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/health").WithTags("Health").NeedsNoKey();
        group.MapGet("/live", Live).WithName("GetLive").Answers<HealthResponse>();
        group.MapGet("/ready", Ready).WithName("GetReady").Answers<HealthResponse>().Fails(ProblemCode.Overloaded);
    }

    /// <summary>Is the process alive</summary>
    /// <remarks>Answers as long as the process can answer at all. Restart it if this fails.</remarks>
    internal static Answer<HealthResponse> Live() => Healthy();

    /// <summary>Does the service take requests</summary>
    /// <remarks>Answers 200 from the end of start-up until the service is told to stop. Send it no requests while this fails.</remarks>
    internal static Answer<HealthResponse> Ready(Readiness readiness) =>
        readiness.IsReady ? Healthy() : throw new ProblemException(ProblemCode.Overloaded, "the service is starting or stopping");

    private static Answer<HealthResponse> Healthy() => new(new HealthResponse { Status = "healthy" });
}

/// <summary>What the service measures, for Prometheus. Not in the document, which is about calls that programs make of it.</summary>
internal static class MetricsEndpoints
{
    public static void MapMetrics(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/metrics", Metrics).Needs(Role.Reader).Takes(Place.Metrics).ExcludeFromDescription()
            .WithMetadata(new CompressedAnswerAttribute());
        routes.MapGet("/metrics/triton", Inferences).Needs(Role.Reader).Takes(Place.Metrics).ExcludeFromDescription()
            .WithMetadata(new CompressedAnswerAttribute());
    }

    private static async Task Metrics(MetricsPage page, HttpResponse response, CancellationToken cancellationToken) =>
        await AnswerAsync(response, await page.ReadAsync(cancellationToken), cancellationToken);

    private static async Task Inferences(MetricsPage page, HttpResponse response, CancellationToken cancellationToken) =>
        await AnswerAsync(response, await page.ReadInferencesAsync(cancellationToken), cancellationToken);

    private static async Task AnswerAsync(HttpResponse response, byte[] page, CancellationToken cancellationToken)
    {
        response.ContentType = PrometheusText.MediaType;
        await response.BodyWriter.WriteAsync(page, cancellationToken);
    }
}
