using System.ComponentModel.DataAnnotations;
using BnService.Core;
using BnService.Core.Simd;

namespace BnService.Api.Sessions;

/// <summary>Section <c>Node</c>: this process among those that share a database.</summary>
public sealed record NodeOptions
{
    /// <summary>Its name, which is part of each <c>step_id</c>.</summary>
    // No pattern is held against what is empty.
    [Required(ErrorMessage = "must be 1 to 64 letters, digits, '.', '_' or '-'")]
    [RegularExpression("[A-Za-z0-9._-]{1,64}", ErrorMessage = "must be 1 to 64 letters, digits, '.', '_' or '-'")]
    public string Name { get; init; } = Environment.MachineName is { Length: <= 64 } machine
        && machine.All(c => char.IsAsciiLetterOrDigit(c) || c is '.' or '-' or '_') ? machine : "node";
}

/// <summary>Section <c>Sync</c>: synchronized batch normalization.</summary>
public sealed record SyncOptions
{
    /// <summary>How long the ranks of a step wait for each other.</summary>
    [Range(typeof(TimeSpan), "00:00:00.010", "01:00:00", ErrorMessage = "must be from 00:00:00.010 to 01:00:00")]
    public TimeSpan Timeout { get; init; } = TimeSpan.FromSeconds(30);
}

/// <summary>Section <c>Sessions</c>.</summary>
public sealed record ResidencyOptions
{
    /// <summary>
    /// The most bytes that sessions take in memory: beyond it those leave that were not used for the longest time, and come back when they
    /// are used. With <c>Storage:Engine</c> memory, where there is nothing to come back from, no more are taken in, and of
    /// one key no more than are left to all others. Without it, 1 GiB, and no more than a quarter of what the container or the machine has
    /// (or of DOTNET_GCHeapHardLimit).
    /// </summary>
    [Range(1L << 10, 1L << 50, ErrorMessage = "must be from 1024 to 2^50 bytes")]
    public long MaxResidentBytes { get; init; } = Math.Clamp(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes / 4, 1L << 20, 1L << 30);
}

/// <summary>Section <c>Retention</c>: the activations that train-steps leave behind for backward.</summary>
public sealed record RetentionOptions
{
    /// <summary>The most bytes over all sessions; the oldest step makes room first.</summary>
    [Range(0L, 1L << 50, ErrorMessage = "must be from 0 to 2^50 bytes")]
    public long MaxBytes { get; init; } = 1L << 30;

    /// <summary>How long a step is kept.</summary>
    [Range(typeof(TimeSpan), "00:00:00.001", "365.00:00:00", ErrorMessage = "must be from 00:00:00.001 to 365 days")]
    public TimeSpan TimeToLive { get; init; } = TimeSpan.FromMinutes(10);
}

/// <summary>Section <c>Compute</c>: with what batches are normalized.</summary>
public sealed record ComputeOptions : IValidatableObject
{
    /// <summary>The largest number of threads that work on one batch; without it, the cores that the process may use.</summary>
    [Range(1, 1024, ErrorMessage = "must be from 1 to 1024")]
    public int Threads { get; init; } = Environment.ProcessorCount;

    /// <summary>The most batches of 1 MiB or more that are computed at once; without it, all cores but one, or the only one.</summary>
    [Range(1, 1024, ErrorMessage = "must be from 1 to 1024")]
    public int LargeBatches { get; init; } = Math.Max(1, Environment.ProcessorCount - 1);

    /// <summary>Width of the vectors: <c>auto</c>, or <c>512</c>, <c>256</c>, <c>128</c>, <c>1</c>.</summary>
    [AllowedValues("auto", "512", "256", "128", "1", ErrorMessage = "must be auto, 512, 256, 128 or 1")]
    public string Width { get; init; } = "auto";

    /// <inheritdoc/>
    public IEnumerable<ValidationResult> Validate(ValidationContext validationContext)
    {
        if (Width != "auto" && !VectorWidths.IsSupported(Enum.Parse<VectorWidth>(Width)))
            yield return new ValidationResult($"must be auto or at most {(int)VectorWidths.Widest}: this machine has no wider vectors",
                [nameof(Width)]);
    }

    /// <summary>The settings of the normalization core.</summary>
    public ComputeSettings ToSettings() => new(Width == "auto" ? VectorWidths.Widest : Enum.Parse<VectorWidth>(Width), Threads);
}
