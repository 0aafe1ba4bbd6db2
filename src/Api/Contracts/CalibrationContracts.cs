using System.ComponentModel.DataAnnotations;
using System.Text.Json.Serialization;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Contracts;

/// <summary>A batch of the data set whose statistics are gathered.</summary>
public sealed class CalibrationBatchRequest : IDisposable
{
    /// <summary>The batch: [N, C] to [N, C, D, H, W], or with the channels last; finite. A single example is fine.</summary>
    [Required, JsonConverter(typeof(TensorPlaceholder))]
    public Tensor X { get; set; } = null!;

    /// <summary>
    /// What counts in the statistics: one value (1 or 0, true or false) per sample, or one per position in the shape of x without its
    /// channel axis.
    /// </summary>
    public BatchMask? Mask { get; set; }

    /// <inheritdoc/>
    public void Dispose() => X?.Dispose();
}

/// <summary>Statistics gathered elsewhere: moments, other sessions, or both.</summary>
public sealed class MergeRequest
{
    /// <summary>Statistics that another service has computed, each of values of its own.</summary>
    [MaxLength(1024)]
    public MomentsEntry[]? Moments { get; set; }

    /// <summary>
    /// Names or ids of other sessions: what they have gathered and not committed, where there is that, or else all batches that have
    /// moved their running statistics.
    /// </summary>
    [MaxLength(1024)]
    public string[]? Sessions { get; set; }

    /// <summary>With mean and m2: one more entry of moments, for forms in which an array stands by itself.</summary>
    public long? Count { get; set; }

    /// <summary>See count.</summary>
    public double[]? Mean { get; set; }

    /// <summary>See count.</summary>
    public double[]? M2 { get; set; }

    /// <summary>All entries that were sent.</summary>
    /// <exception cref="LayerException">One of count, mean and m2 came without the others.</exception>
    public MomentsEntry[] AllMoments()
    {
        if (Count is null && Mean is null && M2 is null) return Moments ?? [];
        if (Count is not { } count || Mean is null || M2 is null)
        {
            throw new LayerException(LayerError.InvalidOption,
                $"count, mean and m2 must come together, got no {(Count is null ? "count" : Mean is null ? "mean" : "m2")}");
        }
        return [.. Moments ?? [], new MomentsEntry { Count = count, Mean = Mean, M2 = M2 }];
    }
}

/// <summary>Count, mean and sum of squared deviations of each statistic.</summary>
public sealed class MomentsEntry
{
    /// <summary>Number of values per statistic, 1 or more.</summary>
    [Required]
    public long Count { get; set; }

    /// <summary>Mean, one finite value per statistic.</summary>
    [Required]
    public double[] Mean { get; set; } = null!;

    /// <summary>Sum of the squared deviations from the mean, one finite value of 0 or more per statistic.</summary>
    [Required]
    public double[] M2 { get; set; } = null!;
}

/// <summary>What has been gathered and not committed yet.</summary>
public sealed class PopulationResponse
{
    /// <summary>
    /// Number of batches. Moments sent to merge count as one batch each, another session with as many as it has gathered.
    /// </summary>
    public required long Batches { get; init; }

    /// <summary>Number of values per statistic.</summary>
    public required long Count { get; init; }

    /// <summary>Mean, one value per statistic; null without values.</summary>
    public required double[]? Mean { get; init; }

    /// <summary>
    /// Variance as commit would take it over, one value per statistic: M2/(count-1), or M2/count where unbiased_running_var is false; \
    /// null below 2 values.
    /// </summary>
    public required double[]? Var { get; init; }

    /// <summary>Version of the state.</summary>
    public required long Version { get; init; }

    /// <summary>
    /// precision-lost where float32 could not tell the values of x apart, also in the header Bn-Warnings; absent without a warning.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<FindingReport>? Warnings { get; init; }
}

/// <summary>Statistics from outside as the core's.</summary>
internal static class MomentsMapping
{
    /// <summary>The moments of an entry, checked.</summary>
    /// <param name="entry">The entry.</param>
    /// <param name="name">Where it lies in the body, for messages.</param>
    /// <param name="features">Number of statistics that it must have.</param>
    /// <exception cref="LayerException">A count below 1, a wrong length, or a value that is not finite or negative where it cannot
    /// be.</exception>
    public static Moments ToMoments(this MomentsEntry entry, string name, int features)
    {
        if (entry.Count < 1) throw Invalid($"{name}.count must be a whole number of 1 or more, got {entry.Count}");
        foreach (var (field, values) in new[] { ($"{name}.mean", entry.Mean), ($"{name}.m2", entry.M2) })
        {
            StateValues.RequireLength(field, values, features);
            StateValues.RequireFinite(field, values);
        }
        StateValues.RequireNonNegative($"{name}.m2", entry.M2);
        return new Moments(entry.Count, entry.Mean, new double[features], entry.M2);
    }

    private static LayerException Invalid(string message) => new(LayerError.InvalidOption, message);
}
