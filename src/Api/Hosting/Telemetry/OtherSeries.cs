using System.Runtime.CompilerServices;

namespace BnService.Api.Hosting.Telemetry;

/// <summary>
/// Counters of which only some are listed and the others are one series. Whatever is counted is in exactly one of them and stays there:
/// whoever is listed shows what it has counted since, and leaves it to the others when it is listed no longer or is gone. So no series
/// goes back as long as it is listed, and the sum is the sum of all. Not for several threads.
/// </summary>
/// <param name="width">Number of counters of each.</param>
internal sealed class OtherSeries(int width)
{
    // What of each is with the others already.
    private readonly ConditionalWeakTable<object, long[]> _left = [];
    private Dictionary<object, long[]> _listedBefore = [], _listed = [];

    /// <summary>The counters of all that are not listed.</summary>
    public long[] Others { get; } = new long[width];

    /// <summary>What one that is listed shows.</summary>
    /// <param name="key">The one.</param>
    /// <param name="counters">What it has counted altogether.</param>
    public long[] List(object key, long[] counters)
    {
        var shown = (long[])counters.Clone();
        if (_left.TryGetValue(key, out var left)) Add(shown, left, -1);
        return _listed[key] = shown;
    }

    /// <summary>Leaves one that is not listed to the others.</summary>
    /// <param name="key">The one.</param>
    /// <param name="counters">What it has counted altogether.</param>
    public void Leave(object key, long[] counters)
    {
        _listedBefore.Remove(key);
        Add(Others, counters, 1);
        if (_left.TryGetValue(key, out var left)) Add(Others, left, -1);
        _left.AddOrUpdate(key, (long[])counters.Clone());
    }

    /// <summary>All have been listed or left: what was listed before and is gone is left to the others as it was.</summary>
    public void End()
    {
        foreach (var (key, shown) in _listedBefore)
        {
            if (!_listed.ContainsKey(key)) Add(Others, shown, 1);
        }
        (_listedBefore, _listed) = (_listed, _listedBefore);
        _listed.Clear();
    }

    private static void Add(long[] sum, long[] more, int sign)
    {
        for (var i = 0; i < sum.Length; i++) sum[i] += sign * more[i];
    }
}
