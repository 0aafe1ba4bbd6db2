using BnService.Api.Hosting;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Limits;
using BnService.Api.Hosting.Telemetry;

namespace BnService.Api.Endpoints;

/// <summary>What the service measures, for Prometheus. Not in the document, which is about calls that programs make of it.</summary>
internal static class MetricsEndpoints
{
    /// <summary>Maps the calls.</summary>
    public static void MapMetrics(this IEndpointRouteBuilder routes)
    {
        routes.MapGet("/metrics", Metrics).Needs(Role.Reader).Takes(Place.Metrics).ExcludeFromDescription().WithMetadata(new CompressedAnswerAttribute());
        routes.MapGet("/metrics/triton", Inferences).Needs(Role.Reader).Takes(Place.Metrics).ExcludeFromDescription().WithMetadata(new CompressedAnswerAttribute());
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
