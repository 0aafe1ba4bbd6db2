using System.Diagnostics.Metrics;

namespace BnService.Api.Hosting.Telemetry;

/// <summary>What all instruments of one service belong to: several services of a process, as tests have them, do not count together.</summary>
internal sealed class ServiceMeter : IDisposable
{
    /// <summary>Name of the meter and of the source of spans.</summary>
    public const string Name = "BnService";

    /// <summary>Bounds of what takes as long as a request, in seconds.</summary>
    public static IReadOnlyList<double> RequestBounds { get; } =
        [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

    /// <summary>Bounds of what takes as long as a pass over a batch, in seconds.</summary>
    public static IReadOnlyList<double> PassBounds { get; } =
        [0.000001, 0.0000025, 0.000005, 0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1];

    /// <summary>Bounds of how many are done together.</summary>
    public static IReadOnlyList<double> GroupBounds { get; } = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

    /// <summary>The meter.</summary>
    public Meter Meter { get; } = new(Name);

    /// <summary>A histogram of seconds.</summary>
    public Histogram<double> Seconds(string name, string description, IReadOnlyList<double> bounds) =>
        Meter.CreateHistogram(name, "s", description, tags: null, new InstrumentAdvice<double> { HistogramBucketBoundaries = bounds });

    /// <summary>A histogram of numbers.</summary>
    public Histogram<int> Numbers(string name, string description, IReadOnlyList<double> bounds) =>
        Meter.CreateHistogram(name, null, description, tags: null, new InstrumentAdvice<int> { HistogramBucketBoundaries = [.. bounds.Select(bound => (int)bound)] });

    /// <summary>A count that is there from the start, and costs one addition where it counts.</summary>
    public Tally Count(string name, string unit, string description)
    {
        var tally = new Tally();
        Meter.CreateObservableCounter(name, () => tally.Value, unit, description);
        return tally;
    }

    /// <summary>A number that goes up and down.</summary>
    public Tally Level(string name, string unit, string description)
    {
        var tally = new Tally();
        Meter.CreateObservableUpDownCounter(name, () => tally.Value, unit, description);
        return tally;
    }

    /// <inheritdoc/>
    public void Dispose() => Meter.Dispose();
}

/// <summary>A number that many change.</summary>
internal sealed class Tally
{
    private long _value;

    /// <summary>What it has come to.</summary>
    public long Value => Interlocked.Read(ref _value);

    /// <summary>Adds to it.</summary>
    public void Add(long value) => Interlocked.Add(ref _value, value);
}
