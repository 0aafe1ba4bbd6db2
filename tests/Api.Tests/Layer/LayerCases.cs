namespace BnService.Api.Tests.Layer;

/// <summary>A session's options beside a reference with the same ones, and the shape of its batches.</summary>
/// <param name="Options">Options of the session.</param>
/// <param name="Shape">Shape of a batch.</param>
/// <param name="Statistics">Number of statistics.</param>
public sealed record LayerCase(string Options, int[] Shape, int Statistics)
{
    public bool HasGamma { get; init; } = true;

    public bool HasBeta { get; init; } = true;

    public Func<int, ReferenceLayer> Reference { get; init; } = statistics => new ReferenceLayer(statistics);

    /// <summary>The session and its reference, both with the same gamma and beta; one gamma is 0 and some are negative.</summary>
    public async Task<(SessionClient Session, ReferenceLayer Layer)> CreateAsync(Service service)
    {
        var session = await service.CreateAsync(Options);
        var layer = Reference(Statistics);
        var random = new Random(17);
        var fields = new List<string>();
        if (HasGamma)
        {
            layer.Gamma = [.. Enumerable.Range(0, Statistics).Select(c => c == 1 ? 0 : random.NextDouble() + (c % 3 == 2 ? -1.5 : 0.25))];
            fields.Add($"\"gamma\":{Batch.Array(layer.Gamma)}");
        }
        if (HasBeta)
        {
            layer.Beta = [.. Enumerable.Range(0, Statistics).Select(_ => random.NextDouble() - 0.5)];
            fields.Add($"\"beta\":{Batch.Array(layer.Beta)}");
        }
        if (fields.Count > 0) (await session.PutParametersAsync($"{{{string.Join(',', fields)}}}")).Expect(200);
        return (session, layer);
    }
}

/// <summary>Every layout and option that changes a number.</summary>
public static class LayerCases
{
    private static readonly Dictionary<string, LayerCase> All = new()
    {
        ["2D"] = Of("", [16, 3], 3),
        ["3D"] = Of("", [5, 4, 7], 4),
        ["4D"] = Of("", [3, 4, 5, 6], 4),
        ["5D"] = Of("", [2, 3, 4, 3, 5], 3),
        ["2D, many channels"] = Of("", [9, 67], 67),
        ["4D, one channel"] = Of("", [4, 1, 3, 3], 1),
        ["one sample of many positions"] = Of("", [1, 3, 4, 4], 3),
        ["two samples"] = Of("", [2, 5], 5),
        ["channels last, 2D"] = Last([16, 3], 3),
        ["channels last, 3D"] = Last([5, 7, 4], 4),
        ["channels last, 4D"] = Last([3, 5, 6, 4], 4),
        ["channels last, 5D"] = Last([2, 3, 4, 3, 5], 5),
        ["per activation, 2D"] = PerActivation(3, [6, 3], 3),
        ["per activation, 3D"] = PerActivation(2, [7, 2, 5], 10),
        ["per activation, 4D"] = PerActivation(3, [8, 3, 2, 4], 24),
        ["per activation, 5D"] = PerActivation(2, [4, 2, 2, 3, 2], 24),
        ["per activation, num_features counts positions"] = PerActivation(24, [8, 3, 2, 4], 24),
        ["per activation, channels last"] = new("""{"num_features":4,"granularity":"per_activation","channel_axis":-1}""", [5, 3, 4], 12)
        {
            Reference = statistics => new ReferenceLayer(statistics) { PerActivation = true },
        },
        ["relu"] = Of(",\"activation\":\"relu\"", [16, 5], 5) with { Reference = statistics => new ReferenceLayer(statistics) { Relu = true } },
        ["relu, 4D"] = Of(",\"activation\":\"relu\"", [3, 4, 5, 6], 4) with { Reference = statistics => new ReferenceLayer(statistics) { Relu = true } },
        ["without gamma and beta"] = Of(",\"affine\":false", [3, 4, 5], 4) with { HasGamma = false, HasBeta = false },
        ["without beta"] = Of(",\"bias\":false", [3, 4, 5], 4) with { HasBeta = false },
        ["large eps"] = Of(",\"eps\":0.5", [6, 4], 4) with { Reference = statistics => new ReferenceLayer(statistics) { Eps = 0.5 } },
        ["eps 0"] = Of(",\"eps\":0", [6, 4], 4) with { Reference = statistics => new ReferenceLayer(statistics) { Eps = 0 } },
        ["momentum 1"] = Of(",\"momentum\":1", [6, 4], 4) with { Reference = statistics => new ReferenceLayer(statistics) { Momentum = 1 } },
        ["momentum 0"] = Of(",\"momentum\":0", [6, 4], 4) with { Reference = statistics => new ReferenceLayer(statistics) { Momentum = 0 } },
        ["cumulative average"] = Of(",\"momentum\":null", [6, 4], 4) with { Reference = statistics => new ReferenceLayer(statistics) { Momentum = null } },
        ["biased running variance"] = Of(",\"unbiased_running_var\":false", [6, 4], 4) with
        {
            Reference = statistics => new ReferenceLayer(statistics) { UnbiasedRunningVar = false },
        },
    };

    public static TheoryData<string> Names => new(All.Keys);

    public static LayerCase Named(string name) => All[name];

    private static LayerCase Of(string options, int[] shape, int channels) =>
        new($"{{\"num_features\":{channels}{options}}}", shape, channels);

    private static LayerCase Last(int[] shape, int channels) => Of(",\"channel_axis\":-1", shape, channels) with
    {
        Reference = statistics => new ReferenceLayer(statistics) { ChannelsLast = true },
    };

    private static LayerCase PerActivation(int features, int[] shape, int statistics) =>
        new($"{{\"num_features\":{features},\"granularity\":\"per_activation\"}}", shape, statistics)
        {
            Reference = count => new ReferenceLayer(count) { PerActivation = true },
        };
}
