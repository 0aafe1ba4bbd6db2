using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>Limits of batch renormalization.</summary>
/// <param name="RMax">The largest r, and 1/r the smallest; 1 or more.</param>
/// <param name="DMax">The largest magnitude of d; 0 or more.</param>
/// <param name="WarmupSteps">Steps of plain batch normalization before the limits begin to open; 0 for open from the start.</param>
public sealed record RenormLimits(double RMax = 3, double DMax = 5, long WarmupSteps = 5000)
{
    private const double PaperWarmup = 5000;

    /// <summary>
    /// The limits at a step. The paper's schedule with its 5,000 steps of warm-up, scaled to <see cref="WarmupSteps"/>:
    /// r_max = clamp(2t/35000 + 25/35, 1, RMax), d_max = clamp(5t/20000 − 25/20, 0, DMax) (Ioffe 2017, section 4.1).
    /// </summary>
    /// <param name="step">t, the number of batches before this one.</param>
    public (double RMax, double DMax) At(long step)
    {
        if (WarmupSteps == 0) return (RMax, DMax);
        var t = step * (PaperWarmup / WarmupSteps);
        return (Math.Clamp((2 * t / 35000) + (25.0 / 35), 1, RMax), Math.Clamp((5 * t / 20000) - (25.0 / 20), 0, DMax));
    }
}

/// <summary>
/// r and d of each channel, constants for the gradient: x̂ = ((x − μ_B)/σ_B)·r + d with r = clip(σ_B/σ_r, 1/r_max, r_max) and
/// d = clip((μ_B − μ_r)/σ_r, ±d_max), σ = √(variance + ε) (Ioffe 2017). The forward pass is the plain one with gamma·r and beta + gamma·d,
/// and so is the gradient by x.
/// </summary>
/// <param name="R">r of each channel.</param>
/// <param name="D">d of each channel.</param>
public sealed record Renormalization(double[] R, double[] D)
{
    /// <summary>The correction of a batch towards running statistics.</summary>
    /// <param name="batch">The batch's moments.</param>
    /// <param name="running">The running statistics before the step.</param>
    /// <param name="options">ε and the limits.</param>
    public static Renormalization Of(Moments batch, RunningStatistics running, NormalizerOptions options)
    {
        ArgumentNullException.ThrowIfNull(batch);
        ArgumentNullException.ThrowIfNull(running);
        ArgumentNullException.ThrowIfNull(options);
        var (rMax, dMax) = (options.Renorm ?? new RenormLimits()).At(running.BatchesTracked);
        var (r, d) = (new double[batch.Channels], new double[batch.Channels]);
        for (var c = 0; c < r.Length; c++)
        {
            // An average of no batches is nothing to correct towards.
            if (running.Weight == 0)
            {
                r[c] = 1;
                continue;
            }
            var deviation = Math.Sqrt((batch.M2[c] / Math.Max(batch.Count, 1)) + options.Eps);
            var runningDeviation = Math.Sqrt(running.Variance[c] + options.Eps);
            // Both 0: a constant channel on its running value, where nothing is to be corrected.
            r[c] = runningDeviation == 0 && deviation == 0 ? 1 : Math.Clamp(deviation / runningDeviation, 1 / rMax, rMax);
            var distance = batch.Mean[c] - running.Mean[c];
            d[c] = distance == 0 ? 0 : Math.Clamp(distance / runningDeviation, -dMax, dMax);
        }
        return new(r, d);
    }

    /// <summary>γ·r; γ is 1 where the layer has none.</summary>
    public double[] Gamma(double[]? gamma) => gamma is null ? R : [.. R.Select((r, c) => gamma[c] * r)];

    /// <summary>β + γ·d; γ is 1 and β 0 where the layer has none.</summary>
    public double[] Beta(double[]? gamma, double[]? beta) => [.. D.Select((d, c) => (beta?[c] ?? 0) + ((gamma?[c] ?? 1) * d))];

    /// <summary>The gradients by the layer's gamma and beta from those of the plain pass: dγ = Σg·x̂ with r and d.</summary>
    public ParameterGradients Gradients(ParameterGradients plain)
    {
        ArgumentNullException.ThrowIfNull(plain);
        return plain with { DGamma = [.. plain.DGamma.Select((dGamma, c) => (R[c] * dGamma) + (D[c] * plain.DBeta[c]))] };
    }
}
