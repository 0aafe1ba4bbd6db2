using BnService.Core.Layers;
using BnService.Core.Normalizers;

namespace BnService.Api.Sessions;

/// <summary>A train-step whose statistics are known and that has to be committed: O(features), whatever the batch was.</summary>
/// <param name="Batch">The batch, on the layer that normalizes it.</param>
/// <param name="Statistics">The batch's statistics; null where the running statistics normalize it.</param>
/// <param name="Id">Names the step where it is to be retained, or null.</param>
internal sealed record PreparedStep(Batch Batch, StepStatistics? Statistics, string? Id)
{
    /// <summary>The layer that normalizes it.</summary>
    public LayerState Layer => Batch.Layer;

    /// <summary>The batch's own statistics where the running ones normalize it and it was looked at.</summary>
    public LastBatch? Frozen { get; init; }

    /// <summary>gamma and beta of the call, where it has brought them; null for the session's.</summary>
    public OwnParameters? Own { get; init; }

    /// <summary>What rounding the batch to float32 has done to its statistics; null for nothing.</summary>
    public LostPrecision? Lost { get; init; }

    /// <summary>Whether the session's mode is another one than that for which the step was prepared: it was not made.</summary>
    public bool HasFlipped { get; private set; }

    /// <summary>The mean that normalizes; null for kinds that subtract none.</summary>
    public double[]? Mean => !Layer.Options.Kind.HasMean ? null : Statistics?.Moments.Mean ?? Layer.Running!.Mean;

    /// <summary>The variance that normalizes.</summary>
    public double[] Variance => Statistics?.Moments.Variance(unbiased: false) ?? Layer.Running!.Variance;

    /// <summary>Number of values per statistic.</summary>
    public long Count => Statistics?.Moments.Count ?? Batch.Layout.Count;

    /// <summary>The change of the session.</summary>
    public SessionChange Change(ChangeTerms terms) => new(record =>
    {
        terms.Check(record.Layer.Version);
        HasFlipped = record.Layer.NormalizesWithBatch != Layer.NormalizesWithBatch;
        if (HasFlipped || Statistics is null) return record;
        var sized = record.Layer.SizedFor(Batch.Layout);
        var next = sized.Advance(Statistics);
        return ReferenceEquals(next, sized) ? record : record with { Layer = next };
    })
    {
        Key = terms.Key,
        Remember = terms.Key is not { } key ? null : (before, after) => HasFlipped
            ? []
            : [(MovedTo(before.Layer) ?? this).Remembered(after.Layer) with { Key = key }],
    };

    /// <summary>How the step is answered.</summary>
    /// <param name="after">The layer after it.</param>
    public RememberedAnswer Answer(LayerState after) => new(after.Version, after.Running?.BatchesTracked ?? 0)
    {
        StepId = Id,
        Warnings = Lost is not null && Diagnosis.OfRounding(Lost, Mean, Variance) is { } rounding
            ? [rounding, .. Diagnosis.OfStep(after, BatchFor(after), Statistics is not null, Lost)]
            : Diagnosis.OfStep(after, BatchFor(after), Statistics is not null),
    };

    /// <summary>The batch as diagnostics see it; null where nothing is known of it.</summary>
    /// <remarks>What normalizes each sample by itself says nothing of the batch, but for the average that running statistics take.</remarks>
    /// <param name="after">The layer after the step.</param>
    public LastBatch? BatchFor(LayerState after) =>
        Statistics is null ? Frozen
        : !Layer.Options.Kind.IsOverBatch ? after.LastBatch
        : new LastBatch(Statistics.Moments.Mean, Variance, Count) { Samples = Statistics.Samples };

    /// <summary>The step with the layer that it was made on; null where that is the same to it.</summary>
    /// <param name="before">The layer before it, which other changes may have moved since it was prepared.</param>
    public PreparedStep? MovedTo(LayerState before)
    {
        var isCorrected = Layer.Options.Kind == NormalizerKind.BatchRenorm;
        if (ReferenceEquals(before, Layer)
            || (ReferenceEquals(Own?.Gamma ?? before.Gamma, Layer.Gamma) && ReferenceEquals(Own?.Beta ?? before.Beta, Layer.Beta) && before.Options == Layer.Options
                && ((Statistics is not null && !isCorrected) || ReferenceEquals(before.Running, Layer.Running))))
        {
            return null;
        }
        var batch = Batch.On(before);
        if (Own is not null) batch = batch.On(Own.On(batch.Layer));
        return this with { Batch = batch, Statistics = Statistics is null ? null : batch.Corrected(Statistics) };
    }

    /// <summary>The step as it was when it was answered first; null where that is the same.</summary>
    /// <param name="earlier">The first answer.</param>
    /// <param name="ofBatch">Gathers the batch's statistics.</param>
    public PreparedStep? Replayed(RememberedAnswer earlier, Func<StepStatistics> ofBatch) =>
        NormalizedWith.Then(earlier, Layer, Statistics, ofBatch) is { } then
            ? this with { Batch = Batch.On(then.Layer), Statistics = then.Statistics }
            : null;

    private RememberedAnswer Remembered(LayerState after) => NormalizedWith.Remembering(Answer(after), Layer, Statistics);
}
