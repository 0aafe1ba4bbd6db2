using System.Globalization;

namespace BnService.EndToEnd.Endurance;

/// <summary>What the service's own figures say of its memory, while it runs.</summary>
internal sealed class MemoryRecord
{
    private static readonly (string Name, Func<Exposition, double> Value)[] Figures =
    [
        ("resident", page => page.Value("dotnet_process_memory_working_set_bytes")),
        ("managed", page => page.Value("bnservice_gc_heap_bytes")),
        ("tensors", page => page.Value("bnservice_tensor_memory_bytes")),
        ("transport", page => page.Value("bnservice_transport_memory_bytes")),
    ];

    private readonly List<double[]> _samples = [];

    public void Add(Exposition page) => _samples.Add([.. Figures.Select(figure => figure.Value(page))]);

    /// <summary>Requires that nothing grows: the median of the last quarter of the time is about that of the second.</summary>
    /// <param name="share">How much more it may be, as a share of it.</param>
    /// <param name="bytes">And beside that.</param>
    /// <returns>The figures.</returns>
    public string RequireFlat(double share, long bytes)
    {
        Assert.True(_samples.Count >= 8, $"only {_samples.Count} samples");
        var lines = Figures.Select((figure, i) =>
        {
            var quarter = _samples.Count / 4;
            var (early, late) = (Median(_samples[quarter..(2 * quarter)], i), Median(_samples[^quarter..], i));
            var line = string.Create(CultureInfo.InvariantCulture, $"{figure.Name} {early / (1 << 20):F0} MiB, then {late / (1 << 20):F0} MiB");
            Assert.True(late <= (early * (1 + share)) + bytes, $"memory grows: {line}");
            return line;
        });
        return string.Join("; ", lines);
    }

    private static double Median(List<double[]> samples, int figure)
    {
        var values = samples.Select(sample => sample[figure]).Order().ToList();
        return values[values.Count / 2];
    }
}
