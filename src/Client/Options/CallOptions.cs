namespace BnService.Client;

/// <summary>What a train-step is asked for beside its batch.</summary>
public sealed record TrainStepOptions
{
    /// <summary>What a step is asked for by default.</summary>
    internal static TrainStepOptions Default { get; } = new();

    /// <summary>Whether the service keeps what backward needs; otherwise backward sends x again.</summary>
    public bool Retain { get; init; } = true;

    /// <summary>One value per sample, or per position: what has false is left out of the statistics and still normalized. Empty for all.</summary>
    public ReadOnlyMemory<bool> Mask { get; init; }

    /// <summary>Dimensions of the mask where it has a value per position: those of x without the channels. Null for one value per sample.</summary>
    public IReadOnlyList<int>? MaskShape { get; init; }

    /// <summary>Added to the normalized values before the activation, in the shape of x. Empty for nothing.</summary>
    public ReadOnlyMemory<float> Residual { get; init; }

    /// <summary>gamma for this call alone, in place of the session's, which stays; null for the session's.</summary>
    public IReadOnlyList<double>? Gamma { get; init; }

    /// <summary>beta for this call alone, in place of the session's, which stays; null for the session's.</summary>
    public IReadOnlyList<double>? Beta { get; init; }

    /// <summary>The version that the session must have, or the step is refused (<see cref="ProblemCodes.VersionConflict"/>); null for any.</summary>
    public long? IfMatch { get; init; }

    /// <summary>
    /// Names the step, so that it counts once even if this program has to ask again after its own end: 1 to 64 visible ASCII characters, one
    /// for each step. Null for a key that the client makes for this call and its repetitions.
    /// </summary>
    public string? IdempotencyKey { get; init; }
}

/// <summary>What an inference is asked for beside its input.</summary>
public sealed record InferOptions
{
    /// <summary>What an inference is asked for by default.</summary>
    internal static InferOptions Default { get; } = new();

    /// <summary>Version of the snapshot that is used; null for the newest state.</summary>
    public long? Version { get; init; }

    /// <summary>The version that the state must have at least, as a train-step has answered it on any node; null for any.</summary>
    public long? MinVersion { get; init; }

    /// <summary>Added to the normalized values before the activation, in the shape of x. Empty for nothing.</summary>
    public ReadOnlyMemory<float> Residual { get; init; }

    /// <summary>gamma for this call alone, in place of the session's, which stays; null for the session's.</summary>
    public IReadOnlyList<double>? Gamma { get; init; }

    /// <summary>beta for this call alone, in place of the session's, which stays; null for the session's.</summary>
    public IReadOnlyList<double>? Beta { get; init; }
}

/// <summary>What a backward is asked for beside its gradient.</summary>
public record BackwardOptions
{
    /// <summary>What a backward is asked for by default.</summary>
    internal static BackwardOptions Default { get; } = new();

    /// <summary>How the gradients change gamma and beta in the same call; null for not at all.</summary>
    public ParameterUpdate? Update { get; init; }

    /// <summary>The version that the session must have, or the call is refused (<see cref="ProblemCodes.VersionConflict"/>); null for any.</summary>
    public long? IfMatch { get; init; }

    /// <summary>
    /// Names the update, so that it is made once even if this program has to ask again after its own end: 1 to 64 visible ASCII characters,
    /// one for each backward. Null for a key that the client makes for this call and its repetitions.
    /// </summary>
    public string? IdempotencyKey { get; init; }
}

/// <summary>What a backward through an input is asked for, of which the service has kept nothing.</summary>
public sealed record InputBackwardOptions : BackwardOptions
{
    /// <summary>What a backward is asked for by default.</summary>
    internal static new InputBackwardOptions Default { get; } = new();

    /// <summary>Through which statistics the gradient flows.</summary>
    public BackwardMode Mode { get; init; }

    /// <summary>The mask of the forward pass. Empty for none.</summary>
    public ReadOnlyMemory<bool> Mask { get; init; }

    /// <summary>Dimensions of the mask where it has a value per position: those of x without the channels. Null for one value per sample.</summary>
    public IReadOnlyList<int>? MaskShape { get; init; }

    /// <summary>The residual of the forward pass. Empty for none.</summary>
    public ReadOnlyMemory<float> Residual { get; init; }

    /// <summary>gamma of the forward pass, where that was not the session's; null for the session's.</summary>
    public IReadOnlyList<double>? Gamma { get; init; }

    /// <summary>beta of the forward pass, where that was not the session's; null for the session's.</summary>
    public IReadOnlyList<double>? Beta { get; init; }
}

/// <summary>The layer that a session is folded into, beside its weight.</summary>
public sealed record FoldOptions
{
    /// <summary>What is folded by default.</summary>
    internal static FoldOptions Default { get; } = new();

    /// <summary>The layer's bias, one value per output channel; null for 0.</summary>
    public IReadOnlyList<double>? Bias { get; init; }

    /// <summary>Number of groups of a convolution.</summary>
    public int Groups { get; init; } = 1;

    /// <summary>Where the normalization stands.</summary>
    public FoldPosition Position { get; init; }

    /// <summary>How the weight lies in memory.</summary>
    public FoldLayout Layout { get; init; }

    /// <summary>The convolution's padding, where the normalization stands before it; null for none.</summary>
    public IReadOnlyList<int>? Padding { get; init; }

    /// <summary>Version of the snapshot that is folded; null for the newest state.</summary>
    public long? Version { get; init; }
}

/// <summary>Changes of a session's options; what is null stays.</summary>
public sealed record SessionChanges
{
    /// <summary>Weight of the new batch, or <see cref="Momentum.Cumulative"/>.</summary>
    public Momentum? Momentum { get; init; }

    /// <summary>Added to the variance.</summary>
    public double? Eps { get; init; }

    /// <summary>What a train-step normalizes with.</summary>
    public NormalizationMode? Mode { get; init; }

    /// <summary>Limits of batch renormalization.</summary>
    public RenormLimits? Renorm { get; init; }

    /// <summary>Replaces all labels.</summary>
    public IReadOnlyDictionary<string, string>? Labels { get; init; }
}
