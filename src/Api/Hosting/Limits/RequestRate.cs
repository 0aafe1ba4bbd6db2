using System.Globalization;
using System.Net;
using System.Runtime.InteropServices;
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

    /// <summary>
    /// Who is counted as one: the key that the request was sent with, or else the address that it came from, of which there is a bounded
    /// number.
    /// </summary>
    public static string CallerOf(HttpContext context) =>
        RequestContext.Of(context).Scope?.KeyId is { } key ? $"key {key}"
            : $"address {WrongKeys.SlotOf(context.Connection.RemoteIpAddress)}";

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
            $"one caller may send {limits.RequestsPerSecond} requests per second (Limits:RequestsPerSecond) and " +
                $"{limits.RequestBurst ?? limits.RequestsPerSecond} at once (Limits:RequestBurst), got more");
    }
}

/// <summary>
/// How often an address may send what no key lets in (Limits:WrongKeysPerSecond, and Limits:RequestsPerSecond where that is less). Who has
/// a right key is never asked: many callers may come from one address, as through a load balancer.
/// </summary>
internal sealed partial class WrongKeys(IOptions<LimitOptions> options, TimeProvider time, ILogger<WrongKeys> logger)
{
    // Seconds that an address may have saved up.
    private const int Saved = 10;

    // Nobody without a key fills a disk with the log.
    private const int LoggedPerSecond = 100;

    // Addresses are spread over as many places by a hash that nobody outside knows: so much memory, however many there are.
    private const int Slots = 1 << 14;

    private static readonly TimeSpan BetweenWarnings = TimeSpan.FromMinutes(1);

    private readonly (int Rate, int Burst) _most = MostOf(options.Value);

    // Of each place, when it will have had as many as its rate allows: what lies further ahead than the burst is too much.
    private readonly long[] _even = new long[Slots];
    private long _refused, _warnedAt = long.MinValue;

    // The same of their log events, of all addresses together.
    private long _evenLog, _unlogged, _saidAt = long.MinValue;

    /// <summary>Counts a request that no key lets in.</summary>
    /// <param name="address">Where it has come from.</param>
    /// <returns>Whole seconds after which the next one may come, where this is one too many; null where it is none.</returns>
    public int? SecondsUntilAllowed(IPAddress? address)
    {
        if (_most.Rate == 0) return null;
        var now = time.GetTimestamp();
        if (TicksUntilAllowed(ref _even[SlotOf(address)], now, _most.Rate, _most.Burst) is not { } ticks) return null;
        if (IsTimeToSay(ref _refused, ref _warnedAt, now) is { } count) LogTooMany(
            logger, address?.ToString() ?? "an unknown address", _most.Rate, count);
        return (int)Math.Max(1, ticks / time.TimestampFrequency);
    }

    /// <summary>Whether a request on a connection on which no key has let one in has a log event of its own.</summary>
    public bool IsLogged()
    {
        var now = time.GetTimestamp();
        if (TicksUntilAllowed(ref _evenLog, now, LoggedPerSecond, LoggedPerSecond * Saved) is null) return true;
        if (IsTimeToSay(ref _unlogged, ref _saidAt, now) is { } count) LogUnlogged(logger, LoggedPerSecond, count);
        return false;
    }

    /// <summary>What is said to one that comes too soon.</summary>
    public string Refusal => $"requests that no key lets in may come {_most.Rate} times per second from one address "
        + "(Limits:WrongKeysPerSecond, Limits:RequestsPerSecond), got more";

    /// <summary>The place of an address among a bounded number; of IPv6, of the network that one customer is given.</summary>
    public static int SlotOf(IPAddress? address)
    {
        var network = CallerNetwork.Of(address);
        var hash = new HashCode();
        // Its bytes, and not the number, whose own hash everybody knows.
        hash.AddBytes(MemoryMarshal.AsBytes(new ReadOnlySpan<ulong>(in network)));
        return hash.ToHashCode() & (Slots - 1);
    }

    private long? TicksUntilAllowed(ref long even, long now, int rate, int burst)
    {
        var interval = Math.Max(1, time.TimestampFrequency / rate);
        while (true)
        {
            var known = Volatile.Read(ref even);
            var next = Math.Max(known, now) + interval;
            if (next - now > interval * burst) return next - now - (interval * burst);
            if (Interlocked.CompareExchange(ref even, next, known) == known) return null;
        }
    }

    // Not one by one: a flood of them must not be one of the log as well.
    private long? IsTimeToSay(ref long count, ref long saidAt, long now)
    {
        Interlocked.Increment(ref count);
        var before = Volatile.Read(ref saidAt);
        if (before != long.MinValue && time.GetElapsedTime(before, now) < BetweenWarnings) return null;
        return Interlocked.CompareExchange(ref saidAt, now, before) == before ? Interlocked.Exchange(ref count, 0) : null;
    }

    private static (int Rate, int Burst) MostOf(LimitOptions limits)
    {
        var (wrong, all) = (limits.WrongKeysPerSecond, limits.RequestsPerSecond);
        return all > 0 && (wrong == 0 || all <= wrong) ? (all, limits.RequestBurst ?? all) : (wrong, wrong * Saved);
    }

    [LoggerMessage(Level = LogLevel.Warning,
        Message = "Requests that no key lets in come more than {Rate} times per second from {Address}: they are answered 429 and not " +
            "logged one by one "
            + "({Count} of all addresses since the last time)")]
    private static partial void LogTooMany(ILogger logger, string address, int rate, long count);

    [LoggerMessage(Level = LogLevel.Warning,
        Message = "Requests on connections on which no key has let one in come more than {Rate} times per second: {Count} were not " +
            "logged one by one since the last time")]
    private static partial void LogUnlogged(ILogger logger, int rate, long count);
}
