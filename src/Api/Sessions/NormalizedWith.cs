using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Api.Sessions;

/// <summary>
/// What a batch was normalized with beside itself, gamma and beta. It is remembered with the answer, since it will have moved when the
/// question comes again: eps, the running statistics where they normalized the batch, and r and d of batch renormalization.
/// </summary>
internal static class NormalizedWith
{
    private const string Mean = "running_mean", Variance = "running_var", CorrectionR = "r", CorrectionD = "d";

    /// <summary>An answer that remembers it.</summary>
    /// <param name="answer">The answer.</param>
    /// <param name="layer">The layer that normalized the batch.</param>
    /// <param name="statistics">The batch's statistics; null where the running ones normalized it.</param>
    public static RememberedAnswer Remembering(RememberedAnswer answer, LayerState layer, StepStatistics? statistics)
    {
        var arrays = new Dictionary<string, double[]>(answer.Arrays);
        if (statistics is null) (arrays[Mean], arrays[Variance]) = (layer.Running!.Mean, layer.Running.Variance);
        for (var i = 0; i < statistics?.Parts.Count; i++)
        {
            if (statistics.Parts[i].Correction is { } correction) (arrays[$"{CorrectionR}{i}"], arrays[$"{CorrectionD}{i}"]) = (correction.R, correction.D);
        }
        return answer with { Eps = layer.Options.Eps, Arrays = arrays };
    }

    /// <summary>A layer and a batch's statistics as they were when the question was answered first; null where they are the same.</summary>
    /// <param name="earlier">The first answer.</param>
    /// <param name="layer">The layer of this moment.</param>
    /// <param name="statistics">The batch's statistics; null where the running ones would normalize it at this moment.</param>
    /// <param name="ofBatch">Gathers the batch's statistics where they are needed and not known.</param>
    public static (LayerState Layer, StepStatistics? Statistics)? Then(
        RememberedAnswer earlier, LayerState layer, StepStatistics? statistics, Func<StepStatistics> ofBatch)
    {
        var then = layer.Options.Eps == earlier.Eps ? layer : layer with { Options = layer.Options with { Eps = earlier.Eps } };
        if (earlier.Arrays.GetValueOrDefault(Mean) is { } mean)
            return (then with { Running = new RunningStatistics(mean, earlier.Arrays[Variance], earlier.BatchesTracked, isInitial: false) }, null);
        if (!earlier.Arrays.ContainsKey($"{CorrectionR}0"))
            return ReferenceEquals(then, layer) && statistics is not null ? null : (then, statistics ?? ofBatch());
        statistics ??= ofBatch();
        return (then, statistics with { Parts = [.. statistics.Parts.Select(Corrected)] });

        BatchPart Corrected(BatchPart part, int i) => part with { Correction = new Renormalization(earlier.Arrays[$"{CorrectionR}{i}"], earlier.Arrays[$"{CorrectionD}{i}"]) };
    }
}
