using BnService.Api.Hosting.Problems;
using BnService.Api.Wire;

namespace BnService.Api.Endpoints;

/// <summary>Every route of the service.</summary>
internal static class Routes
{
    /// <summary>Maps all of them.</summary>
    public static void MapService(this IEndpointRouteBuilder routes)
    {
        var api = routes.MapGroup("/v1").AddEndpointFilter(RequireAcceptable);
        api.MapSessions();
        api.MapLayer();
        api.MapStatistics();
        api.MapState();
        api.MapFold();
        api.MapNormalize();
        api.MapCalibration();
        api.MapDiagnostics();
        routes.MapOpenInference();
        routes.MapHealth();
        routes.MapProblems();
    }

    private static ValueTask<object?> RequireAcceptable(EndpointFilterInvocationContext context, EndpointFilterDelegate next)
    {
        var request = context.HttpContext.Request;
        if (MediaTypes.Accepts(request)) return next(context);
        throw new ProblemException(ProblemCode.NotAcceptable,
            $"Accept must allow one of {string.Join(", ", MediaTypes.Writable)}, got '{request.Headers.Accept}'");
    }
}
