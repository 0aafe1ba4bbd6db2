using System.Collections.Concurrent;
using System.Globalization;

namespace BnService.Api.Errors;

/// <summary>
/// Estimates after how many seconds a request that was refused is worth sending again. Nobody knows how long a shortage will last, but one
/// that has lasted long will mostly last longer: the estimate is a quarter of the time for which the same cause has refused requests so
/// far.
/// </summary>
internal sealed class RetryAfter(TimeProvider time)
{
    private const int Quarter = 4, Most = 30;

    private readonly ConcurrentDictionary<string, Shortage> _shortages = new();

    /// <summary>Tells the client of a request that is refused now.</summary>
    public static void Tell(HttpContext context, string cause) =>
        context.Response.Headers.RetryAfter =
            context.RequestServices.GetRequiredService<RetryAfter>().Seconds(cause).ToString(CultureInfo.InvariantCulture);

    /// <summary>The estimate for a request that is refused now, from 1 to 30 seconds.</summary>
    /// <param name="cause">Why it is refused: one of a few words, each of which is remembered.</param>
    public int Seconds(string cause)
    {
        var now = time.GetTimestamp();
        return Seconds(_shortages.AddOrUpdate(
            cause, _ => new(now, now), (_, last) => IsOver(last, now) ? new(now, now) : last with { Last = now }));
    }

    // Clients that wait as they were told come within twice that time.
    private bool IsOver(Shortage shortage, long now) => time.GetElapsedTime(shortage.Last, now).TotalSeconds > (2 * Seconds(shortage)) + 1;

    private int Seconds(Shortage shortage) =>
        (int)Math.Clamp(time.GetElapsedTime(shortage.First, shortage.Last).TotalSeconds / Quarter, 1, Most);

    // When its first and its last request were refused.
    private readonly record struct Shortage(long First, long Last);
}
