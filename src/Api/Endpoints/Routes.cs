namespace BnService.Api.Endpoints;

/// <summary>Every route of the service.</summary>
internal static class Routes
{
    public static void MapService(this IEndpointRouteBuilder routes)
    {
        var api = routes.MapGroup("/v1");
        api.MapSessions();
        api.MapLayer();
        api.MapStatistics();
        api.MapState();
        api.MapSnapshots();
        api.MapFold();
        api.MapNormalize();
        api.MapCalibration();
        api.MapSync();
        api.MapDiagnostics();
        api.MapEvents();
        api.MapKeys();
        routes.MapOpenInference();
        routes.MapHealth();
        routes.MapMetrics();
        routes.MapProblems();
        routes.MapDashboard();
    }
}
