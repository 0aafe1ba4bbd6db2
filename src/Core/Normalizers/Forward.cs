using BnService.Core.Kernels;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>The forward pass: the moments of a batch, and the affine map over its elements.</summary>
public static unsafe class Forward
{
    // Σd² with d = x − K exceeds M2 by m·(mean − K)²: beyond this ratio the difference loses too many digits and K is replaced by the mean.
    private const double LargestCancellation = 36;

    /// <summary>Count, mean and M2 of every statistic, in double: relative error ≤ 1e-12 at any size and layout.</summary>
    /// <param name="plan">How x is laid out.</param>
    /// <param name="x">The batch.</param>
    /// <param name="compute">With what to compute.</param>
    /// <returns>Moments that are finite if and only if x is.</returns>
    public static Moments BatchMoments(NormalizationPlan plan, ReadOnlySpan<float> x, ComputeSettings compute)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(compute);
        RequireLength(plan, x.Length, nameof(x));
        if (plan.Count == 0) return Moments.Empty(plan.Statistics);
        var channels = plan.Statistics;
        var moments = new Moments(plan.Count, new double[channels], new double[channels], new double[channels]);
        using var shifts = NativeBuffer.Rent((long)channels * sizeof(double));
        using var sums = NativeBuffer.Rent((long)channels * sizeof(PairSum));
        fixed (float* source = x)
        {
            var shiftOfChannel = shifts.Span<double>(channels);
            FirstValuesMean(plan.View, x, shiftOfChannel);
            for (var pass = 0; pass < 2; pass++)
            {
                ChannelSums.Of(new MomentTerms(source), plan.View, (double*)shifts.Pointer, (PairSum*)sums.Pointer, compute);
                if (Finish(moments, shiftOfChannel, sums.Span<PairSum>(channels))) break;
            }
        }
        return moments;
    }

    /// <summary>y = map(x), followed by the activation; <paramref name="y"/> may be <paramref name="x"/> itself.</summary>
    /// <param name="plan">How x is laid out.</param>
    /// <param name="x">The input.</param>
    /// <param name="map">The affine map per channel.</param>
    /// <param name="activation">What follows it.</param>
    /// <param name="y">Where the output goes; as long as x.</param>
    /// <param name="compute">With what to compute.</param>
    public static void Apply(
        NormalizationPlan plan, ReadOnlySpan<float> x, AffineMap map, Activation activation, Span<float> y, ComputeSettings compute)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(map);
        ArgumentNullException.ThrowIfNull(compute);
        RequireLength(plan, x.Length, nameof(x));
        RequireLength(plan, y.Length, nameof(y));
        fixed (float* source = x)
        fixed (float* destination = y)
        {
            if (activation == Activation.Relu)
                Run(plan, new Affine<RectifiedOutput>(source, null, destination), map.Constants, compute);
            else
                Run(plan, new Affine<PlainOutput>(source, null, destination), map.Constants, compute);
        }
    }

    internal static void Run<TOperator>(NormalizationPlan plan, TOperator op, ChannelConstants constants, ComputeSettings compute)
        where TOperator : struct, IElementwiseOperator
    {
        if (plan.View.Count == 0) return;
        var kernel = new Elementwise<TOperator>(op, plan.View, constants);
        Partition.Run(kernel, kernel.Items, plan.View.Count, compute);
    }

    internal static void RequireLength(NormalizationPlan plan, int length, string name)
    {
        if (length != plan.View.Count) throw new ArgumentException($"expected {plan.View.Count} elements, got {length}", name);
    }

    // K: the mean of the channel's first 8, 4, 2 values or its first one. A power of two, so that K is exact where they are all equal
    // and a constant channel has deviations of exactly 0. A float, so that x − K is exact in double for all but very unequal magnitudes.
    private static void FirstValuesMean(ChannelView view, ReadOnlySpan<float> x, Span<double> shifts)
    {
        var adjacent = view.IsColumns ? view.Outer : view.Inner;
        var (count, stride) = (adjacent >= 8 ? 8 : adjacent >= 4 ? 4 : adjacent >= 2 ? 2 : 1, view.IsColumns ? view.Channels : 1);
        for (var c = 0; c < shifts.Length; c++)
        {
            var sum = 0.0;
            for (var i = 0; i < count; i++) sum += x[(c * view.Inner) + (i * stride)];
            shifts[c] = double.IsFinite(sum) ? (float)(sum / count) : 0;
        }
    }

    // Fills in the moments. Where K was too far from the mean, puts the mean in its place and answers false: sum once more.
    private static bool Finish(Moments moments, Span<double> shifts, ReadOnlySpan<PairSum> sums)
    {
        var goodShifts = true;
        for (var c = 0; c < shifts.Length; c++)
        {
            var (sum, sumOfSquares) = (sums[c].U, sums[c].UV);
            var difference = sum / moments.Count;
            var mean = shifts[c] + difference;
            var isFinite = double.IsFinite(sumOfSquares);
            moments.Mean[c] = mean;
            // The mean is K + difference + what the quotient left over: a value next to it has an output of that size.
            var left = (Math.FusedMultiplyAdd(-difference, moments.Count, sum) + sums[c].UResidual) / moments.Count;
            moments.MeanResidual[c] = isFinite ? Moments.SumResidual(shifts[c], difference, mean) + left : 0;
            moments.M2[c] = isFinite ? Math.Max(sumOfSquares - (sum * difference), 0) : double.NaN;
            if (!(sum * difference > LargestCancellation * moments.M2[c])) continue;
            shifts[c] = (float)mean;
            goodShifts = false;
        }
        return goodShifts;
    }
}
