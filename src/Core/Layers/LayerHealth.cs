namespace BnService.Core.Layers;

/// <summary>How a layer is, in one word.</summary>
public enum Health
{
    /// <summary>Nothing speaks against serving from it.</summary>
    Healthy,

    /// <summary>Its running statistics still hold something of where they started, or are not yet what all batches together say.</summary>
    Settling,

    /// <summary>Its batches are so small that their statistics, or the average of them, scatter.</summary>
    SmallBatches,

    /// <summary>What passes through it is not what its running statistics say.</summary>
    Drifting,

    /// <summary>Some of its channels pass on nothing of their input, or nothing that is a number.</summary>
    DeadChannels,
}

/// <summary>How a layer is, and why.</summary>
/// <param name="Mark">The word.</param>
/// <param name="Reason">What was seen.</param>
public sealed record LayerHealth(Health Mark, string Reason)
{
    // Worst first: what is wrong with a session is said by the first that it has.
    private static readonly (Health Mark, string[] Codes)[] BySeverity =
    [
        (Health.DeadChannels, ["non-finite-statistics", "dead-channels", "zero-running-variance", "constant-channels"]),
        (Health.Drifting, ["train-serve-skew", "inference-drift", "drift", "frozen-mean-mismatch"]),
        (Health.SmallBatches, ["small-batch", "noisy-running-mean"]),
        (Health.Settling, ["not-settled", "estimate-gap"]),
    ];

    /// <summary>The health of a layer by what was diagnosed.</summary>
    public static LayerHealth Of(Diagnosis diagnosis)
    {
        ArgumentNullException.ThrowIfNull(diagnosis);
        foreach (var (mark, codes) in BySeverity)
        {
            foreach (var code in codes)
            {
                foreach (var finding in diagnosis.Findings)
                {
                    if (finding.Code == code) return new LayerHealth(mark, finding.Detail);
                }
            }
        }
        return new LayerHealth(Health.Healthy, diagnosis.Unseen ?? (diagnosis.Convergence is null
            ? "normalizes by each batch alone: it keeps no running statistics that could drift"
            : "the running statistics have settled, and the last batch fits them"));
    }
}
