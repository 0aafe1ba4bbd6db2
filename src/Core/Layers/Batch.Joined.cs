using BnService.Core.Kernels;
using BnService.Core.Normalizers;
using BnService.Core.Simd;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Layers;

// Synchronized batch normalization: several ranks each hold a part of one batch. What must be known of the other parts is the moments, for
// the forward pass, and the gradient sums, for the backward pass; both are merged in the order of the ranks, so that all get the same bits:
//
//   forward    OwnMoments → Moments.Merge over the ranks → Join → Write or Output; one LayerState.Advance for all
//   backward   SumGradients → GradientSums.Plus over the ranks → JoinedGradients
public sealed unsafe partial class Batch
{
    /// <summary>The moments of this rank's part: what is merged into those of the whole batch. For kinds over the batch.</summary>
    /// <remarks>
    /// A part without a valid value has moments of count 0, and one value per channel is enough: the joint count decides. A part that is
    /// not finite has moments that are not.
    /// </remarks>
    /// <param name="x">The part; may be empty.</param>
    /// <param name="mask">What of it counts; null for all.</param>
    /// <param name="gathered">The moments of the part where they are known already; see <see cref="GathersWhole"/>.</param>
    /// <exception cref="LayerException">
    /// <see cref="LayerError.InvalidOption"/> where the statistics are not those of one batch, or a mask that does not fit.
    /// </exception>
    public Moments OwnMoments(Elements x, BatchMask? mask, Moments? gathered = null)
    {
        RequireOneBatch();
        if (gathered is null) return MomentsOf(x, mask);
        RequireMask(mask);
        return gathered;
    }

    /// <summary>
    /// The statistics of this rank's part: the moments of all parts together. The layer advances by them once for all ranks.
    /// </summary>
    /// <param name="joint">The moments of all ranks' parts, merged in their order.</param>
    /// <param name="mask">What of this part counts; null for all.</param>
    /// <exception cref="LayerException">
    /// <see cref="LayerError.BatchTooSmall"/> where all parts together have too few values; <see cref="LayerError.ShapeMismatch"/> where
    /// they
    /// have another number of statistics than this one; otherwise as <see cref="OwnMoments"/>.
    /// </exception>
    public StepStatistics Join(Moments joint, BatchMask? mask)
    {
        ArgumentNullException.ThrowIfNull(joint);
        RequireOneBatch();
        var positions = Positions(mask);
        if (joint.Channels != Layout.Statistics)
        {
            throw new LayerException(LayerError.ShapeMismatch,
                $"the parts of a batch must have the same number of statistics, got {joint.Channels} and {Layout.Statistics} for a part " +
                    $"of shape {_shape}");
        }
        if (joint.Count < 2 && (positions is not null || (joint.Count == 0 && Layout.Elements > 0)))
        {
            throw new LayerException(LayerError.BatchTooSmall,
                $"mask leaves {joint.Count} of the values per channel in the parts of all ranks together: a variance needs 2 or more");
        }
        Layout.RequireVariance(_shape, _options.Kind, joint.Count);
        return new([new(Layout, 0, 0, _shape[0], joint, positions is not null, Correction(joint))], positions) { AreJoint = true };
    }

    /// <summary>
    /// The first half of the backward pass: the gradient before the activation, and the sums of it that must be added over the ranks.
    /// Gradients of masked samples are in the sums, since γ and β act on them.
    /// </summary>
    /// <param name="x">This rank's part.</param>
    /// <param name="dy">The gradient by its output.</param>
    /// <param name="statistics">What normalized it, of <see cref="Join"/>.</param>
    /// <param name="residual">What was added before the activation; empty for nothing.</param>
    /// <param name="gradient">
    /// Receives the gradient before the activation, which the second half takes and which is also the gradient by the residual; as long as
    /// dy, and perhaps its memory, which saves a copy.
    /// </param>
    /// <exception cref="ArgumentException">Statistics that are not joint, or a length that does not fit.</exception>
    public GradientSums SumGradients(Elements x, Elements dy, StepStatistics statistics, Elements residual, Elements gradient)
    {
        var part = JointPart(statistics);
        if (IsRectified) Gate(x, dy, statistics, residual, gradient);
        else if (!dy.AreSame(gradient)) dy.CopyTo(gradient);
        return As(part).SumGradients(part.Moments, x, gradient);
    }

    /// <summary>What a part of a batch contributes to the gradient by x: Σg and Σg·(x − μ). For layouts over channels.</summary>
    internal GradientSums SumGradients(Moments joint, Elements x, Elements dy)
    {
        RequireJoint(joint.Channels, x, dy, dy);
        var own = GradientSums.Empty(Layout.Statistics);
        if (Layout.Elements == 0) return own;
        if (x.AreDouble) return Float64Backward.Sums(Layout, x.Doubles, dy.Doubles, joint, _compute);
        fixed (float* source = x.Singles, gradient = dy.Singles)
            ChannelSums.Run(new GradientTerms(source, gradient), new ByVectors<GradientSumsFinish>(new(joint, own)), Layout.View, _compute);
        return own;
    }

    /// <summary>
    /// The second half of the backward pass: the gradient by this rank's part, and the part's own contribution to those by gamma and beta,
    /// whose sum over the ranks is the whole batch's.
    /// </summary>
    /// <param name="x">This rank's part.</param>
    /// <param name="gradient">The gradient before the activation, from the first half.</param>
    /// <param name="statistics">What normalized it, of <see cref="Join"/>.</param>
    /// <param name="own">What the first half returned.</param>
    /// <param name="total">The sums of all ranks, added in their order.</param>
    /// <param name="dx">Receives the gradient by x; without a mask perhaps the memory of the gradient.</param>
    /// <exception cref="ArgumentException">Statistics that are not joint, a length that does not fit, or dx in the gradient's memory with a
    /// mask.</exception>
    public ParameterGradients JoinedGradients(
        Elements x, Elements gradient, StepStatistics statistics, GradientSums own, GradientSums total, Elements dx)
    {
        var part = JointPart(statistics);
        if (part.IsMasked && dx.Overlap(gradient))
            throw new ArgumentException("masked samples need their gradient after dx has been written", nameof(dx));
        As(part).WriteJoinedGradient(part.Moments, total, x, gradient, dx);
        WriteMaskedGradient(part, statistics.Mask, gradient, dx);
        return ParametersOf(statistics, own);
    }

    /// <summary>dx of a part: γ·s·[g − Σg/m − x̂·Σg·x̂/m], the sums and m those of all parts together. For layouts over channels.</summary>
    /// <remarks>It is computed in double: how far g cancels in one part, the sums of all parts do not tell.</remarks>
    internal void WriteJoinedGradient(Moments joint, GradientSums total, Elements x, Elements dy, Elements dx)
    {
        ArgumentNullException.ThrowIfNull(total);
        RequireJoint(joint.Channels, x, dy, dx);
        Layout.RequireStatistics(total.Statistics, nameof(total));
        if (Layout.Elements == 0) return;
        if (x.AreDouble)
        {
            Float64Backward.Joint(Layout, x.Doubles, dy.Doubles, joint, total, Float64, dx.Doubles, _compute);
            return;
        }
        using var constants = new ChannelConstants(Layout.Statistics, TrainingInputGradient.Constants);
        constants.RequireDouble();
        var finish = new ByVectors<JointGradientFinish>(new(joint, total, GradientTarget(constants)));
        Finishing<ByVectors<JointGradientFinish>>.Run(
            finish, Layout.Statistics, new(default, Blocks: 1, Repeats: 1, ArePlain: false), shifts: null, isLast: true, _compute);
        fixed (float* source = x.Singles, gradient = dy.Singles, destination = dx.Singles)
            ElementwisePass.Run(new TrainingInputGradient(source, gradient, destination), Layout.View, constants, _compute);
    }

    /// <summary>The gradients by gamma and beta that belong to gradient sums: of a part, or of all parts together.</summary>
    /// <param name="statistics">What normalized the batch, of <see cref="Join"/>.</param>
    /// <param name="sums">The sums.</param>
    /// <exception cref="ArgumentException">Statistics that are not joint.</exception>
    public ParameterGradients ParametersOf(StepStatistics statistics, GradientSums sums)
    {
        var part = JointPart(statistics);
        var parameters = ParametersOf(sums, part.Moments, _options.Eps);
        return part.Correction?.Gradients(parameters) ?? parameters;
    }

    /// <summary>The gradients by gamma and beta of a part: dγ = s·Σg·(x − μ) = Σg·x̂, dβ = Σg.</summary>
    internal static ParameterGradients ParametersOf(GradientSums own, Moments joint, double eps)
    {
        ArgumentNullException.ThrowIfNull(own);
        if (own.Statistics != joint.Channels)
            throw new ArgumentException($"expected sums of {joint.Channels} statistics, got {own.Statistics}", nameof(own));
        var variance = joint.Variance(unbiased: false);
        return new([.. own.SumDyXmu.Select((sum, c) => MapTarget.InverseDeviation<Lanes1<double>>(new(variance[c]), eps).Sum() * sum)],
            own.SumDy);
    }

    private void RequireJoint(int statistics, Elements x, Elements dy, Elements dx)
    {
        RequireGradients(statistics, "joint", x, dy, dx);
        if (Layout.Reduction != Reduction.Channels) throw new InvalidOperationException("expected a layout over channels");
    }

    private static BatchPart JointPart(StepStatistics statistics)
    {
        ArgumentNullException.ThrowIfNull(statistics);
        return statistics.AreJoint ? statistics.Parts[0] : throw new ArgumentException("expected joint statistics", nameof(statistics));
    }

    private void RequireOneBatch()
    {
        if (!_options.Kind.IsOverBatch)
        {
            throw new LayerException(LayerError.InvalidOption,
                $"synchronized statistics belong to batch_norm and batch_renorm; {_options.Kind.WireName} normalizes each sample by " +
                    "itself");
        }
        if (_options.GhostBatchSize is { } size)
        {
            throw new LayerException(LayerError.InvalidOption,
                "ghost batches and synchronized statistics exclude each other: the one cuts a batch, the other joins its parts; got " +
                    $"ghost_batch_size {size}");
        }
    }
}
