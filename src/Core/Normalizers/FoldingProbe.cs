using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>
/// How far a folded layer is from the two that it stands for, on inputs made from the running statistics: all in double, but with the
/// folded weight and bias in the weight's precision, which is what a layer keeps of them.
/// </summary>
/// <remarks>
/// Each output is evaluated at inputs of its own, x = center + spread·u, with u = 0 and with three fixed pseudo-random u of mean 0 and
/// variance 1, so that every channel that is normalized has its running mean and its running variance.
/// After a layer: center = w·(r_mean − b)/|w|², spread = σ/|w| with w the weights of that output: what the layer puts out then lies at
/// r_mean ± σ.
/// Before a layer: center = r_mean, spread = σ of each input channel.
/// The difference is divided by max(|y|, the deviation of y over such inputs). Where σ is less than half a unit of that precision in what
/// is
/// normalized, that half unit stands for σ: nothing smaller gets there, and a difference of 1 then says that nothing but rounding is left.
/// </remarks>
internal sealed class FoldingProbe(
    FoldedView view, FoldedChannels channels, Tensor weight, double[] bias, Tensor foldedWeight, double[] foldedBias)
{
    private const int Directions = 3;
    private static readonly double Sqrt3 = Math.Sqrt(3);
    private readonly double _halfUnit = weight.Precision == Precision.Float64 ? 1.0 / (1L << 53) : 1.0 / (1 << 24);

    /// <summary>max |folded(x) − unfolded(x)| / max(|unfolded(x)|, deviation) over all outputs and inputs.</summary>
    public double MaxRelativeDifference()
    {
        var (center, spread, deviation) = view.IsAfter ? AtOutputs() : AtInputs();
        var largest = 0.0;
        for (var direction = 0; direction <= Directions; direction++)
        {
            var (unfolded, folded) = Evaluate(center, spread, direction);
            for (var o = 0; o < view.Outputs; o++)
            {
                var y = unfolded[o] + bias[o];
                if (view.IsAfter) y = ((y - channels.Mean[o]) * channels.Scale[o]) + channels.Beta[o];
                var difference = Math.Abs(folded[o] + (weight.Precision == Precision.Float64 ? foldedBias[o] : (float)foldedBias[o]) - y);
                if (difference != 0) largest = Math.Max(largest, difference / Math.Max(Math.Abs(y), deviation[o]));
            }
        }
        // Not finite only where double has run out of range as well: the largest number that JSON can hold.
        return double.IsFinite(largest) ? largest : double.MaxValue;
    }

    // Center as a multiple of the weight itself, spread per output.
    private (double[] Center, double[] Spread, double[] Deviation) AtOutputs()
    {
        var squares = new double[view.Outputs];
        Elements data = weight;
        for (var row = 0; row < view.Rows; row++)
        {
            for (var column = 0; column < view.Columns; column++)
            {
                var from = view.Offset(row, column);
                var output = view.Output(row, column);
                for (var (k, left) = (from, view.Kernel); left > 0; k += view.KernelStride, left--) squares[output] += data[k] * data[k];
            }
        }
        var (center, spread, deviation) = (new double[view.Outputs], new double[view.Outputs], new double[view.Outputs]);
        for (var o = 0; o < view.Outputs; o++)
        {
            center[o] = squares[o] == 0 ? 0 : (channels.Mean[o] - bias[o]) / squares[o];
            spread[o] = squares[o] == 0 ? 0 : channels.Deviation[o] / Math.Sqrt(squares[o]);
            deviation[o] = Math.Abs(channels.Scale[o]) * Smallest(channels.Deviation[o],
                Math.Max(Math.Abs(channels.Mean[o]), Math.Abs(bias[o])));
        }
        return (center, spread, deviation);
    }

    // Center and spread per input channel.
    private (double[] Center, double[] Spread, double[] Deviation) AtInputs()
    {
        var squares = new double[view.Outputs];
        Elements data = weight;
        for (var row = 0; row < view.Rows; row++)
        {
            for (var column = 0; column < view.Columns; column++)
            {
                var (from, c) = (view.Offset(row, column), view.Channel(row, column));
                var scale = channels.Scale[c] * Smallest(channels.Deviation[c], Math.Abs(channels.Mean[c]));
                for (var (k, left) = (from, view.Kernel); left > 0; k += view.KernelStride, left--)
                    squares[row] += data[k] * scale * (data[k] * scale);
            }
        }
        return (channels.Mean, channels.Deviation, Array.ConvertAll(squares, Math.Sqrt));
    }

    // Both sums of products at one input; a sum is taken in the order of the weight.
    private (double[] Unfolded, double[] Folded) Evaluate(double[] center, double[] spread, int direction)
    {
        var (unfolded, folded) = (new double[view.Outputs], new double[view.Outputs]);
        Elements plain = weight, scaled = foldedWeight;
        for (var row = 0; row < view.Rows; row++)
        {
            for (var column = 0; column < view.Columns; column++)
            {
                var (from, c, o) = (view.Offset(row, column), view.Channel(row, column), view.Output(row, column));
                // The same inputs in every layout, so that the difference is the same.
                var place = ((row * view.Columns) + column) * view.Kernel;
                for (var (k, left) = (from, view.Kernel); left > 0; k += view.KernelStride, left--)
                {
                    var u = direction == 0 ? 0 : Uniform(place++, direction);
                    var x = (view.IsAfter ? center[c] * plain[k] : center[c]) + (spread[c] * u);
                    unfolded[o] += plain[k] * (view.IsAfter ? x : ((x - channels.Mean[c]) * channels.Scale[c]) + channels.Beta[c]);
                    folded[o] += scaled[k] * x;
                }
            }
        }
        return (unfolded, folded);
    }

    private double Smallest(double deviation, double magnitude) => Math.Max(deviation, _halfUnit * magnitude);

    // Uniform over ±√3: mean 0 and variance 1. The finalizer of SplitMix64 (Steele et al. 2014) makes of each place its own number.
    private static double Uniform(int place, int direction)
    {
        var z = ((ulong)place * Directions + (ulong)direction) * 0x9E3779B97F4A7C15;
        z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
        z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
        z ^= z >> 31;
        return Sqrt3 * (((z >> 11) * (2.0 / (1UL << 53))) - 1);
    }
}
