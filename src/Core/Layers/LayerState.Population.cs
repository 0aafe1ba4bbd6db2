using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Core.Layers;

// Exact statistics beside the moving average: what the layer has seen, and what is being gathered to replace the running statistics.
public sealed partial record LayerState
{
    /// <summary>
    /// The exact union of all batches that moved the running statistics; null before the first. Batches that are not finite are left
    /// out: they would poison it for ever.
    /// </summary>
    public Moments? Seen { get; init; }

    /// <summary>Number of batches in <see cref="Seen"/>.</summary>
    public long SeenBatches { get; init; }

    /// <summary>What calibration has gathered and not committed yet; null where that is nothing.</summary>
    public PopulationEstimate? Population { get; init; }

    /// <summary>Bytes of all arrays of this state, those that it shares with other versions included.</summary>
    public long ArrayBytes
    {
        get
        {
            long values = (Gamma?.Length ?? 0) + (Beta?.Length ?? 0) + (Running is null ? 0 : 2 * Running.Mean.Length)
                + (LastBatch is null ? 0 : 2 * LastBatch.Mean.Length);
            foreach (var moments in (ReadOnlySpan<OptimizerMoments?>)[Optimizer?.Gamma, Optimizer?.Beta])
                values += moments is null ? 0 : moments.First.Length + moments.Second.Length;
            foreach (var moments in (ReadOnlySpan<Moments?>)[Seen, Population?.Moments])
                values += moments is null ? 0 : 3 * moments.Mean.Length;
            return values * sizeof(double);
        }
    }

    /// <summary>
    /// Statistics that another layer can take over: the population estimate if there is one, else all that was seen; null without either.
    /// </summary>
    public PopulationEstimate? Gathered => Population ?? (Seen is null ? null : new PopulationEstimate(Seen, SeenBatches));

    /// <summary>The layer with more statistics in its population estimate; the running statistics stay.</summary>
    /// <param name="gathered">Finite moments of the layer's statistics.</param>
    /// <exception cref="LayerException">A layer without running statistics, another number of statistics, or a union beyond
    /// double.</exception>
    public LayerState Accumulate(PopulationEstimate gathered)
    {
        ArgumentNullException.ThrowIfNull(gathered);
        RequirePopulation();
        var moments = gathered.Moments;
        if (TakesSizeFrom(moments.Mean)) return Sized(moments.Channels).Accumulate(gathered);
        RequireLength(moments.Mean, "mean");
        return moments.Count == 0 ? this : Next() with { Population = PopulationEstimate.Union(Population, gathered) };
    }

    /// <summary>
    /// The variance of the population estimate, of the kind that the layer's running variance is: M2/(n − 1), or M2/n; null below 2 values.
    /// </summary>
    public double[]? PopulationVariance =>
        Population is { Moments: { Count: > 1 } moments } ? moments.Variance(Options.UnbiasedRunningVar) : null;

    /// <summary>The layer with the population estimate as its running statistics: the mean and <see cref="PopulationVariance"/>.</summary>
    /// <exception cref="LayerException">Nothing was gathered, or a single value, whose variance is undefined.</exception>
    public LayerState CommitPopulation()
    {
        RequirePopulation();
        if (Population is not { } population)
            throw new LayerException(LayerError.NoRunningStatistics,
                "nothing has been gathered: send calibration batches, or merge statistics, before commit");
        if (PopulationVariance is not { } variance)
        {
            throw new LayerException(LayerError.BatchTooSmall,
                $"the variance of {population.Moments.Count} value per channel is undefined: commit needs 2 or more, send more " +
                    "calibration batches");
        }
        return Next() with
        {
            Running = new RunningStatistics(population.Moments.Mean, variance, Math.Max(population.Batches, 1), isInitial: false)
            {
                AreGiven = true,
                Weight = Running!.Weight is null ? null : 1,
            },
            Population = null,
        };
    }

    /// <summary>The layer without its population estimate; the same layer where there is none.</summary>
    public LayerState DropPopulation() => Population is null ? this : Next() with { Population = null };

    /// <summary>Refuses to gather statistics that nothing could be done with.</summary>
    /// <exception cref="LayerException"><see cref="LayerError.InvalidOption"/>.</exception>
    public void RequirePopulation()
    {
        if (!Options.Kind.IsOverBatch)
        {
            throw new LayerException(LayerError.InvalidOption,
                "calibration and merge belong to batch_norm and batch_renorm, whose statistics are those of a population; the session " +
                    $"is {Options.Kind.WireName}");
        }
        if (Running is null)
        {
            throw new LayerException(LayerError.InvalidOption,
                "calibration and merge need running statistics, which they replace; this session keeps none (track_running_stats is " +
                    "false)");
        }
    }

    private LayerState HavingSeen(Moments batch) => Running is null || !Options.Kind.IsOverBatch || !batch.IsFinite
        ? this
        : this with { Seen = Seen is null ? batch : Moments.Merge(Seen, batch), SeenBatches = SeenBatches + 1 };
}
