using System.Globalization;
using BnService.Core.Statistics;

namespace BnService.Core.Normalizers;

/// <summary>Normalization by running statistics as a map of each channel, y = (x − mean)·scale + beta with scale = γ/√(r_var + ε).</summary>
public sealed class FoldedChannels
{
    /// <summary>The map of running statistics.</summary>
    /// <param name="running">The running statistics, one per channel.</param>
    /// <param name="gamma">γ of each channel; null for 1.</param>
    /// <param name="beta">β of each channel; null for 0.</param>
    /// <param name="eps">ε.</param>
    /// <exception cref="LayerException">A channel's map is not finite.</exception>
    public FoldedChannels(RunningStatistics running, double[]? gamma, double[]? beta, double eps)
    {
        ArgumentNullException.ThrowIfNull(running);
        Mean = running.Mean;
        Deviation = Array.ConvertAll(running.Variance, Math.Sqrt);
        Beta = beta ?? new double[Mean.Length];
        Scale = new double[Mean.Length];
        for (var c = 0; c < Scale.Length; c++)
        {
            // As in inference: where both are 0 the channel is constant and comes out as beta.
            var sum = running.Variance[c] + eps;
            Scale[c] = sum == 0 ? 0 : (gamma?[c] ?? 1) / Math.Sqrt(sum);
            if (double.IsFinite(Scale[c]) && double.IsFinite(Mean[c]) && double.IsFinite(Beta[c]) && double.IsFinite(Deviation[c])) continue;
            throw new LayerException(LayerError.InvalidOption, string.Create(CultureInfo.InvariantCulture,
                $"channel {c} cannot be folded: its running_mean {Mean[c]:R}, running_var {running.Variance[c]:R}, gamma {gamma?[c] ?? 1:R} and beta {Beta[c]:R} must be finite, and so must gamma/sqrt(running_var + eps)"));
        }
    }

    /// <summary>Number of channels.</summary>
    public int Count => Mean.Length;

    /// <summary>Running mean.</summary>
    public double[] Mean { get; }

    /// <summary>σ, the root of the running variance.</summary>
    public double[] Deviation { get; }

    /// <summary>a = γ/√(r_var + ε).</summary>
    public double[] Scale { get; }

    /// <summary>β.</summary>
    public double[] Beta { get; }
}
