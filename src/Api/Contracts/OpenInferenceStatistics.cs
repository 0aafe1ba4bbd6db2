namespace BnService.Api.Contracts;

/// <summary>Statistics of models (Triton's docs/protocol/extension_statistics.md), cumulative since the service has started.</summary>
public sealed record ModelStatisticsList
{
    /// <summary>One entry for each model; written as they come.</summary>
    public required IAsyncEnumerable<ModelStatistics> ModelStats { get; init; }
}

/// <summary>Statistics of one model's infer requests.</summary>
public sealed record ModelStatistics
{
    /// <summary>Name of the model.</summary>
    public required string Name { get; init; }

    /// <summary>Its version; empty for the live state.</summary>
    public required string Version { get; init; }

    /// <summary>When the last inference ended, in milliseconds since the epoch; 0 where there was none.</summary>
    public required long LastInference { get; init; }

    /// <summary>Samples that were inferred: the sum of the batches' sizes.</summary>
    public required long InferenceCount { get; init; }

    /// <summary>Batches that were inferred.</summary>
    public required long ExecutionCount { get; init; }

    /// <summary>Where the time went.</summary>
    public required InferenceStatistics InferenceStats { get; init; }

    /// <summary>Statistics of answers that come in parts, which none does.</summary>
    public NoStatistics ResponseStats { get; init; } = new();

    /// <summary>Statistics by batch size, which are not kept.</summary>
    public DurationStatistic[] BatchStats { get; init; } = [];

    /// <summary>Memory on devices, of which none is used.</summary>
    public NoStatistics[] MemoryUsage { get; init; } = [];
}

/// <summary>An object without members.</summary>
public sealed record NoStatistics;

/// <summary>Where the time of a model's infer requests went.</summary>
public sealed record InferenceStatistics
{
    /// <summary>Requests that were answered with 200, from their arrival to the answer.</summary>
    public required DurationStatistic Success { get; init; }

    /// <summary>Requests that were refused or given up.</summary>
    public required DurationStatistic Fail { get; init; }

    /// <summary>Every request, waiting for its body.</summary>
    public required DurationStatistic Queue { get; init; }

    /// <summary>Bytes to tensors.</summary>
    public required DurationStatistic ComputeInput { get; init; }

    /// <summary>Normalizing.</summary>
    public required DurationStatistic ComputeInfer { get; init; }

    /// <summary>Tensors to bytes.</summary>
    public required DurationStatistic ComputeOutput { get; init; }

    /// <summary>Answers from a cache, which there is none.</summary>
    public DurationStatistic CacheHit { get; init; }

    /// <summary>Requests that a cache could not answer.</summary>
    public DurationStatistic CacheMiss { get; init; }
}

/// <summary>How often something happened, and how long it took altogether.</summary>
/// <param name="Count">How often.</param>
/// <param name="Ns">Nanoseconds.</param>
public readonly record struct DurationStatistic(long Count, long Ns);
