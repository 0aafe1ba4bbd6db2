using System.Globalization;
using System.Threading.RateLimiting;
using BnService.Api.Errors;
using Microsoft.AspNetCore.RateLimiting;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Limits;

/// <summary>
/// Requests per second of one caller (Limits:RequestsPerSecond), with bursts; the others of them are answered 429. Where any number is
/// allowed, no request passes here.
/// </summary>
internal static class RequestRate
{
    // A bucket is filled so often, or once for each request where they are fewer.
    private const int FillingsPerSecond = 10;

    /// <summary>Registers the limiter.</summary>
    public static void AddRequestRate(this IServiceCollection services)
    {
        services.AddRateLimiter(_ => { });
        services.AddOptions<RateLimiterOptions>().Configure<IOptions<LimitOptions>>((limiter, options) =>
        {
            var limits = options.Value;
            limiter.GlobalLimiter = PartitionedRateLimiter.Create<HttpContext, string>(context => IsHealth(context.Request.Path)
                ? RateLimitPartition.GetNoLimiter("")
                : RateLimitPartition.GetTokenBucketLimiter(CallerOf(context), _ => Bucket(limits)));
            limiter.OnRejected = (rejected, _) => RefuseAsync(rejected, limits);
        });
    }

    /// <summary>Who is counted as one: the key that the request was sent with, or else the address that it came from, of which there is a bounded number.</summary>
    public static string CallerOf(HttpContext context) =>
        RequestContext.Of(context).Scope?.KeyId is { } key ? $"key {key}" : $"address {WrongKeys.SlotOf(context.Connection.RemoteIpAddress)}";

    /// <summary>Whether a path is a probe's, which no limit is on: an orchestrator must not take a busy process for a broken one.</summary>
    public static bool IsHealth(PathString path) => path.StartsWithSegments("/health") || path.StartsWithSegments("/v2/health");

    private static TokenBucketRateLimiterOptions Bucket(LimitOptions limits)
    {
        var tokens = Math.Max(1, limits.RequestsPerSecond / FillingsPerSecond);
        return new()
        {
            TokenLimit = Math.Max(limits.RequestBurst ?? limits.RequestsPerSecond, tokens),
            TokensPerPeriod = tokens,
            ReplenishmentPeriod = TimeSpan.FromSeconds((double)tokens / limits.RequestsPerSecond),
            QueueLimit = 0,
        };
    }

    private static async ValueTask RefuseAsync(OnRejectedContext rejected, LimitOptions limits)
    {
        var context = rejected.HttpContext;
        var wait = rejected.Lease.TryGetMetadata(MetadataName.RetryAfter, out var time) ? (int)Math.Ceiling(time.TotalSeconds) : 1;
        context.Response.Headers.RetryAfter = Math.Max(1, wait).ToString(CultureInfo.InvariantCulture);
        await ProblemAnswers.RefuseAsync(context, ProblemCode.TooManyRequests,
            $"one caller may send {limits.RequestsPerSecond} requests per second (Limits:RequestsPerSecond) and {limits.RequestBurst ?? limits.RequestsPerSecond} at once (Limits:RequestBurst), got more");
    }
}
