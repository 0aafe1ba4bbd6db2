namespace BnService.Api.Tests.Synchronized;

/// <summary>A session's options, the shape of a sample, and how many samples each rank has.</summary>
/// <param name="Options">Options of the session.</param>
/// <param name="Sample">Shape of a sample.</param>
/// <param name="Sizes">Samples of each rank.</param>
public sealed record SyncCase(string Options, int[] Sample, int[] Sizes)
{
    private const double Eps = 1e-5;

    public int Channels { get; init; } = Sample[0];

    public int Axis { get; init; } = 1;

    public bool PerActivation { get; init; }

    public bool Relu { get; init; }

    public bool HasResidual { get; init; }

    public bool HasGamma { get; init; } = true;

    public bool HasBeta { get; init; } = true;

    public bool Tracks { get; init; } = true;

    /// <summary>Weight of a new batch; null for the average of all.</summary>
    public double? Momentum { get; init; } = 0.1;

    public bool IsUnbiased { get; init; } = true;

    /// <summary>Limits of renormalization; null for none.</summary>
    public (double R, double D)? Renorm { get; init; }

    /// <summary>Which samples count, over all ranks; null for all.</summary>
    public int[]? Mask { get; init; }

    public int Statistics => PerActivation ? Sample.Aggregate(1, (product, dimension) => product * dimension) : Channels;

    public double[]? Gamma => HasGamma ? [.. Enumerable.Range(0, Statistics).Select(c => c % 7 == 1 ? 0 : 0.25 + (c % 5 * (c % 2 == 0 ? 0.375 : -0.5)))] : null;

    public double[]? Beta => HasBeta ? [.. Enumerable.Range(0, Statistics).Select(c => 0.125 * ((c % 9) - 3))] : null;

    private int[] Shape => [Sizes.Sum(), .. Sample];

    /// <summary>A batch of all ranks together.</summary>
    public Batch Whole(int seed) => Batch.Random(seed, Shape);

    /// <summary>What each rank has of a batch of all.</summary>
    public Batch[] Parts(Batch whole) => [.. Sizes.Select((size, rank) => whole.Rows(First(rank), size))];

    /// <summary>The session, with its parameters.</summary>
    public async Task<SessionClient> CreateAsync(Service service)
    {
        var session = await service.CreateAsync(Options);
        string[] fields = [.. Field("gamma", Gamma), .. Field("beta", Beta)];
        if (fields.Length > 0) (await session.PutParametersAsync($"{{{string.Join(',', fields)}}}")).Expect(200);
        return session;
    }

    /// <summary>What stands beside x in the body of the whole batch, or of one rank's part.</summary>
    public string Beside(Batch? residual, int? rank = null)
    {
        var mask = rank is { } part ? Mask?.Skip(First(part)).Take(Sizes[part]) : Mask;
        var own = residual is null || rank is null ? residual : Parts(residual)[rank.Value];
        return (mask is null ? "" : $",\"mask\":[{string.Join(',', mask)}]") + (own is null ? "" : $",\"residual\":{own.Json}");
    }

    /// <summary>The definition, for a batch of all ranks and a session with these running statistics.</summary>
    public ReferenceKind Reference(ReferenceStatistics running, Batch x)
    {
        var width = Sample.Aggregate(1, (product, dimension) => product * dimension);
        int[] position = [.. Enumerable.Range(0, x.Data.Length).Select(i => i % width)];
        var kind = (PerActivation ? new ReferenceKind(position, position) : ReferenceKind.Of("batch_norm", Shape, Channels, axis: Axis)) with
        {
            Gamma = Gamma,
            Beta = Beta,
            Relu = Relu,
            Valid = Mask is null ? null : [.. Enumerable.Range(0, x.Data.Length).Select(i => Mask[i / width] == 1)],
        };
        return Renorm is not { } limits ? kind : kind with
        {
            Correction = [.. kind.StatisticsOf(x).Mean.Zip(kind.StatisticsOf(x).Variance).Select((batch, c) =>
            {
                var (ofBatch, ofRunning) = (Math.Sqrt(batch.Second + Eps), Math.Sqrt(running.Variance[c] + Eps));
                return (Math.Clamp(ofBatch / ofRunning, 1 / limits.R, limits.R), Math.Clamp((batch.First - running.Mean[c]) / ofRunning, -limits.D, limits.D));
            })],
        };
    }

    /// <summary>The running statistics at the start.</summary>
    public ReferenceStatistics Initial => new(new double[Statistics], [.. Enumerable.Repeat(1.0, Statistics)], 0);

    /// <summary>The running statistics after a batch.</summary>
    /// <param name="running">Those before it.</param>
    /// <param name="batch">The batch's.</param>
    /// <param name="step">Number of the batch, from 1.</param>
    public ReferenceStatistics Moved(ReferenceStatistics running, ReferenceStatistics batch, int step)
    {
        var alpha = Momentum ?? 1.0 / step;
        double[] Move(double[] from, double[] to) => [.. from.Zip(to, (r, b) => ((1 - alpha) * r) + (alpha * b))];
        return new(Move(running.Mean, batch.Mean), Move(running.Variance, IsUnbiased ? batch.Unbiased : batch.Variance), 0);
    }

    private int First(int rank) => Sizes.Take(rank).Sum();

    private static string[] Field(string name, double[]? values) => values is null ? [] : [$"\"{name}\":{Batch.Array(values)}"];
}

/// <summary>Every layout, option and division of a batch that changes a number.</summary>
public static class SyncCases
{
    private static readonly Dictionary<string, SyncCase> All = new()
    {
        ["two ranks"] = Of("", [3], 5, 11),
        ["one rank"] = Of("", [3], 9),
        ["three ranks, one of them empty"] = Of("", [3], 4, 0, 7),
        ["the first rank empty"] = Of("", [4], 0, 6),
        ["the last rank empty"] = Of("", [4], 6, 0),
        ["all but one empty"] = Of("", [4], 0, 0, 6, 0),
        ["eight ranks"] = Of("", [5], 1, 2, 3, 1, 5, 0, 1, 9),
        ["ranks of one row"] = Of("", [5], 1, 1, 1, 1),
        ["two rows on two ranks"] = Of("", [5], 1, 1),
        ["very unequal"] = Of("", [3], 1, 400),
        ["many channels"] = Of("", [67], 4, 9),
        ["one channel"] = Of("", [1, 3, 3], 2, 1, 3),
        ["NCHW"] = Of("", [4, 5, 6], 2, 3, 1),
        ["NCHW, one of them empty"] = Of("", [4, 5, 6], 2, 0, 3),
        ["5D"] = Of("", [3, 4, 3, 5], 1, 2),
        ["channels last, 2D"] = Of(",\"channel_axis\":-1", [3], 5, 4),
        ["channels last"] = new("""{"num_features":4,"channel_axis":-1}""", [5, 6, 4], [2, 3, 1]) { Channels = 4, Axis = -1 },
        ["channels last, one of them empty"] = new("""{"num_features":4,"channel_axis":-1}""", [5, 6, 4], [0, 3, 1]) { Channels = 4, Axis = -1 },
        ["per activation"] = Activations("", [3, 2, 4], 2, 1, 3),
        ["per activation, the first rank empty"] = Activations("", [3, 2, 4], 0, 2, 3),
        ["per activation, channels last"] = new("""{"num_features":4,"granularity":"per_activation","channel_axis":-1}""", [3, 4], [2, 5]) { PerActivation = true },
        ["per activation, relu"] = Activations(",\"activation\":\"relu\"", [3, 2, 4], 2, 1, 3) with { Relu = true },
        ["relu"] = Of(",\"activation\":\"relu\"", [5], 3, 8) with { Relu = true },
        ["relu, NCHW, one of them empty"] = Of(",\"activation\":\"relu\"", [4, 5, 6], 2, 0, 3) with { Relu = true },
        ["residual"] = Of("", [3], 5, 11) with { HasResidual = true },
        ["residual and relu"] = Of(",\"activation\":\"relu\"", [3, 4], 5, 0, 3) with { HasResidual = true, Relu = true },
        ["mask"] = Of("", [3, 4], 4, 3) with { Mask = [1, 0, 1, 1, 0, 1, 0] },
        ["mask, per row"] = Of("", [3], 4, 3) with { Mask = [1, 0, 1, 1, 0, 1, 0] },
        ["a rank of which nothing counts"] = Of("", [3], 4, 3, 2) with { Mask = [1, 0, 1, 1, 0, 0, 0, 1, 1] },
        ["a rank of which nothing counts comes last"] = Of("", [3, 2], 3, 2) with { Mask = [1, 1, 1, 0, 0] },
        ["mask and relu"] = Of(",\"activation\":\"relu\"", [3, 4], 4, 3, 0) with { Mask = [1, 0, 1, 1, 0, 1, 0], Relu = true },
        ["mask, relu and residual"] = Of(",\"activation\":\"relu\"", [3, 4], 4, 3) with { Mask = [1, 0, 1, 1, 0, 1, 0], Relu = true, HasResidual = true },
        ["mask, per activation"] = Activations("", [3, 2], 4, 3) with { Mask = [1, 0, 1, 1, 0, 1, 0] },
        ["mask, channels last"] = new("""{"num_features":4,"channel_axis":-1}""", [5, 4], [2, 3]) { Channels = 4, Axis = -1, Mask = [1, 0, 1, 1, 0] },
        ["without gamma and beta"] = Of(",\"affine\":false", [4, 5], 3, 4) with { HasGamma = false, HasBeta = false },
        ["without beta"] = Of(",\"bias\":false", [4, 5], 3, 4) with { HasBeta = false },
        ["cumulative average"] = Of(",\"momentum\":null", [4], 6, 3) with { Momentum = null },
        ["momentum 0.75, biased"] = Of(",\"momentum\":0.75,\"unbiased_running_var\":false", [4], 6, 3) with { Momentum = 0.75, IsUnbiased = false },
        ["no running statistics"] = Of(",\"track_running_stats\":false", [4], 6, 3) with { Tracks = false },
        ["renorm"] = Renormalized("", 8, 10, [3, 4], 3, 5),
        ["renorm with narrow limits"] = Renormalized("", 1.25, 0.125, [5], 6, 0, 5),
        ["renorm and relu"] = Renormalized(",\"activation\":\"relu\"", 8, 0.25, [3, 4], 3, 5) with { Relu = true },
        ["renorm, mask and residual"] = Renormalized("", 1.25, 10, [3, 4], 4, 3) with { Mask = [1, 0, 1, 1, 0, 1, 0], HasResidual = true },
    };

    public static TheoryData<string> Names => new(All.Keys);

    public static SyncCase Named(string name) => All[name];

    private static SyncCase Of(string options, int[] sample, params int[] sizes) => new($"{{\"num_features\":{sample[0]}{options}}}", sample, sizes);

    private static SyncCase Activations(string options, int[] sample, params int[] sizes) =>
        Of($",\"granularity\":\"per_activation\"{options}", sample, sizes) with { PerActivation = true };

    private static SyncCase Renormalized(string options, double r, double d, int[] sample, params int[] sizes)
    {
        var limits = FormattableString.Invariant($"\"renorm\":{{\"r_max\":{r},\"d_max\":{d},\"warmup_steps\":0}}");
        return Of($",\"kind\":\"batch_renorm\",\"momentum\":0.5,{limits}{options}", sample, sizes) with { Renorm = (r, d), Momentum = 0.5 };
    }
}
