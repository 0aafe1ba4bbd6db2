namespace BnService.Client;

/// <summary>A session: its options, version and counters.</summary>
public sealed record SessionInfo
{
    /// <summary>Identifier that never changes and is never used again.</summary>
    public required string Id { get; init; }

    /// <summary>Name; the id where none was chosen.</summary>
    public required string Name { get; init; }

    /// <summary>Kind of the layer.</summary>
    public required LayerKind Kind { get; init; }

    /// <summary>Number of channels; for layer and RMS normalization the number of elements of a row.</summary>
    public required int NumFeatures { get; init; }

    /// <summary>Trailing dimensions of a row; null for kinds with channels.</summary>
    public IReadOnlyList<int>? NormalizedShape { get; init; }

    /// <summary>Number of groups of channels; null for other kinds than group normalization.</summary>
    public int? NumGroups { get; init; }

    /// <summary>Added to the variance.</summary>
    public required double Eps { get; init; }

    /// <summary>Weight of the new batch in the running statistics; null for the average over all batches.</summary>
    public double? Momentum { get; init; }

    /// <summary>Whether gamma and beta exist.</summary>
    public bool Affine { get; init; }

    /// <summary>Whether beta exists, where there are parameters.</summary>
    public bool Bias { get; init; }

    /// <summary>Whether gamma exists, where there are parameters.</summary>
    public bool Scale { get; init; }

    /// <summary>What is added to gamma: 1 where it is kept as its difference from 1.</summary>
    public double GammaOffset { get; init; }

    /// <summary>Whether running statistics are kept.</summary>
    public bool TrackRunningStats { get; init; }

    /// <summary>Whether the running variance takes M2/(m-1) or M2/m.</summary>
    public bool UnbiasedRunningVar { get; init; }

    /// <summary>Whether the moving average is divided by the weight of the batches in it.</summary>
    public bool ZeroDebias { get; init; }

    /// <summary>Axis of the channels: 1, or -1 for channels last.</summary>
    public int ChannelAxis { get; init; }

    /// <summary>What shares a statistic.</summary>
    public Granularity Granularity { get; init; }

    /// <summary>What a train-step normalizes with.</summary>
    public NormalizationMode Mode { get; init; }

    /// <summary>What follows the affine map.</summary>
    public Activation Activation { get; init; }

    /// <summary>Initial value of gamma.</summary>
    public double GammaInit { get; init; }

    /// <summary>Initial value of beta.</summary>
    public double BetaInit { get; init; }

    /// <summary>Samples of a ghost batch; null for statistics over the whole batch.</summary>
    public int? GhostBatchSize { get; init; }

    /// <summary>Limits of batch renormalization; null for other kinds.</summary>
    public RenormLimits? Renorm { get; init; }

    /// <summary>What becomes of NaN and infinity in a train-step.</summary>
    public NonFinitePolicy NonFinite { get; init; }

    /// <summary>What batches, outputs and gradients are, and are computed in.</summary>
    public Precision Precision { get; init; }

    /// <summary>Whether inference is refused until there are running statistics.</summary>
    public bool RequireStatistics { get; init; }

    /// <summary>Labels of the caller's choice.</summary>
    public IReadOnlyDictionary<string, string> Labels { get; init; } = new Dictionary<string, string>();

    /// <summary>The convention that the options were sent in, and what was converted then; null where none was named.</summary>
    public AppliedConvention? Convention { get; init; }

    /// <summary>Number of batches that moved the running statistics.</summary>
    public required long NumBatchesTracked { get; init; }

    /// <summary>Version of the state; grows by one with every change.</summary>
    public required long Version { get; init; }

    /// <summary>When the session was created.</summary>
    public required DateTimeOffset CreatedAt { get; init; }

    /// <summary>When its state last changed.</summary>
    public required DateTimeOffset UpdatedAt { get; init; }
}

/// <summary>The convention that a session's options were sent in.</summary>
/// <param name="Name">Whose convention it is.</param>
/// <param name="Converted">The options that it set or gave another value.</param>
public sealed record AppliedConvention(Convention Name, IReadOnlyList<ConvertedOption> Converted);

/// <summary>An option that a convention has set or given another value.</summary>
/// <param name="Option">Name of the option.</param>
/// <param name="Detail">Why it has another value than was sent.</param>
public sealed record ConvertedOption(string Option, string Detail);

/// <summary>A page of sessions.</summary>
internal sealed record SessionPage(IReadOnlyList<SessionInfo> Sessions, string? NextCursor);

/// <summary>A state that was frozen under its version.</summary>
/// <param name="Version">The version, by which inference, fold and state ask for it.</param>
/// <param name="CreatedAt">When it was frozen.</param>
/// <param name="Description">What was said of it; null where that was nothing.</param>
/// <param name="NumBatchesTracked">Number of batches that had moved the running statistics.</param>
public sealed record Snapshot(long Version, DateTimeOffset CreatedAt, string? Description, long NumBatchesTracked);

/// <summary>A state that was frozen, with its numbers.</summary>
/// <param name="Version">The version.</param>
/// <param name="CreatedAt">When it was frozen.</param>
/// <param name="Description">What was said of it; null where that was nothing.</param>
/// <param name="NumBatchesTracked">Number of batches that had moved the running statistics.</param>
/// <param name="State">The state.</param>
public sealed record SnapshotDetails(long Version, DateTimeOffset CreatedAt, string? Description, long NumBatchesTracked, LayerState State);

/// <summary>The snapshots of a session.</summary>
internal sealed record SnapshotList(IReadOnlyList<Snapshot> Snapshots);

/// <summary>Parameters and statistics of a session. The whole state, options and buffers of optimizers too, is what export answers.</summary>
public sealed record LayerState
{
    /// <summary>gamma; null where the session has none.</summary>
    public IReadOnlyList<double>? Gamma { get; init; }

    /// <summary>beta; null where the session has none.</summary>
    public IReadOnlyList<double>? Beta { get; init; }

    /// <summary>Running mean, one value per statistic; null where none is tracked.</summary>
    public IReadOnlyList<double>? RunningMean { get; init; }

    /// <summary>Running variance, one value per statistic; null where none is tracked.</summary>
    public IReadOnlyList<double>? RunningVar { get; init; }

    /// <summary>Number of batches that moved the running statistics; null where none are tracked.</summary>
    public long? NumBatchesTracked { get; init; }

    /// <summary>Version of the state.</summary>
    public required long Version { get; init; }
}
