using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.OpenApi;

namespace BnService.Api.Endpoints;

/// <summary>Whether the process lives, and whether it takes requests.</summary>
internal static class HealthEndpoints
{
    /// <summary>Maps the calls.</summary>
    public static void MapHealth(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/health").WithTags("Health").NeedsNoKey();
        group.MapGet("/live", Live).Answers<HealthResponse>()
            .Describe("GetLive", "Is the process alive", "Answers as long as the process can answer at all. Restart it if this fails.");
        group.MapGet("/ready", Ready).Answers<HealthResponse>().Fails(ProblemCode.Overloaded)
            .Describe("GetReady", "Does the service take requests", "Answers 200 from the end of start-up until the service is told to stop. Send it no requests while this fails.");
    }

    private static Answer<HealthResponse> Live() => Healthy();

    private static Answer<HealthResponse> Ready(Readiness readiness) =>
        readiness.IsReady ? Healthy() : throw new ProblemException(ProblemCode.Overloaded, "the service is starting or stopping");

    private static Answer<HealthResponse> Healthy() => new(new HealthResponse { Status = "healthy" });
}
