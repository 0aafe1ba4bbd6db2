using BnService.Core.Kernels;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Layers;

// The gradients of a batch that is there as a whole; those of several ranks are in Batch.Joined.cs. dx may be the memory of dy: an element
// is read before it is written.
public sealed unsafe partial class Batch
{
    private const int GradientConstants = 4;

    /// <summary>The gradients of a batch.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="dy">The gradient by the output.</param>
    /// <param name="statistics">What normalized it; null for the running statistics.</param>
    /// <param name="residual">What was added before the activation; empty for nothing.</param>
    /// <param name="dx">Receives the gradient by x.</param>
    /// <param name="dresidual">Receives the gradient by the residual where there is one.</param>
    public ParameterGradients Gradients(
        Elements x, Elements dy, StepStatistics? statistics, Elements residual, Elements dx, Elements dresidual)
    {
        if (statistics is { AreJoint: true })
            throw new ArgumentException("joint statistics need the sums of all ranks", nameof(statistics));
        if (statistics is not null && _options.IsOverChannels) return GradientsOfRows(x, dy, statistics, residual, dx, dresidual);
        // dx may hold the gated gradient until it is overwritten, unless masked values still need that afterwards.
        using var scratch = IsRectified && residual.IsEmpty && statistics?.Mask is not null ? Tensor.Rent(_shape, dy.Precision) : null;
        var gated = !residual.IsEmpty ? dresidual : scratch is null ? dx : scratch;
        var gradient = dy;
        if (IsRectified)
        {
            Gate(x, dy, statistics, residual, gated);
            gradient = gated;
        }
        else if (!residual.IsEmpty) dy.CopyTo(dresidual);
        if (statistics is null) return As(RunningLayout).GradientsPast(x, gradient, Layer.Running!, dx);
        ParameterGradients? sum = null;
        foreach (var part in statistics.Parts)
        {
            var (start, length) = (part.Start, part.Layout.Elements);
            var gradients = As(part).GradientsThrough(part.Moments, x.Slice(start, length), gradient.Slice(start, length),
                dx.Slice(start, length), part.IsMasked);
            WriteMaskedGradient(part, statistics.Mask, gradient, dx);
            gradients = part.Correction?.Gradients(gradients) ?? gradients;
            sum = sum?.Plus(gradients) ?? gradients;
        }
        return sum!;
    }

    /// <summary>
    /// Gradients through the batch's own statistics: dx = s·[gγ − mean(gγ) − x̂·mean(gγ·x̂)], the means over what shares a statistic,
    /// without
    /// the first one for RMS (the papers of <see cref="NormalizerKind"/>).
    /// </summary>
    /// <param name="batch">The moments of x.</param>
    /// <param name="x">The batch.</param>
    /// <param name="dy">g, the gradient of the loss by the normalizer's output.</param>
    /// <param name="dx">Receives the gradient by x.</param>
    /// <param name="areOfPart">Whether the moments are those of a part of x, as with a mask; for layouts over channels.</param>
    internal ParameterGradients GradientsThrough(Moments batch, Elements x, Elements dy, Elements dx, bool areOfPart = false)
    {
        RequireGradients(batch.Channels, nameof(batch), x, dy, dx);
        if (Layout.Elements == 0) return ParameterGradients.OfLength(Layout.Parameters);
        if (x.AreDouble) return Float64Backward.Training(Layout, x.Doubles, dy.Doubles, batch, Float64, dx.Doubles, _compute);
        fixed (float* source = x.Singles, gradient = dy.Singles, destination = dx.Singles)
        {
            return Layout.Reduction switch
            {
                Reduction.Channels => ThroughChannels(source, gradient, destination, batch, areOfPart),
                Reduction.Groups => ThroughGroups(source, gradient, destination, batch),
                _ => ThroughRows(source, gradient, destination, batch),
            };
        }
    }

    /// <summary>
    /// Gradients of an inference or a frozen layer, whose statistics do not depend on x: dx = γ·s·g, dγ = Σg·(x − μ)·s, dβ = Σg. For
    /// layouts
    /// over channels.
    /// </summary>
    internal ParameterGradients GradientsPast(Elements x, Elements dy, RunningStatistics running, Elements dx)
    {
        RequireGradients(running.Mean.Length, nameof(running), x, dy, dx);
        if (x.AreDouble)
            return Float64Backward.Inference(Layout, x.Doubles, dy.Doubles, running.AsMoments(), Float64, dx.Doubles, _compute);
        var gradients = ParameterGradients.OfLength(Layout.Statistics);
        using var constants = new ChannelConstants(Layout.Statistics, 1);
        var finish = new ByVectors<InferenceGradientFinish>(new(running, gradients, GradientTarget(constants)));
        fixed (float* source = x.Singles, gradient = dy.Singles, destination = dx.Singles)
        {
            FusedPass.Run(
                new GradientTerms(source, gradient), finish, new InferenceInputGradient(gradient, destination), inputs: 2, Layout.View,
                constants, _compute);
        }
        return gradients;
    }

    /// <summary>dx = γ·s·g of each channel, the gradient by x of what is in no statistic. For layouts over channels.</summary>
    internal void WriteGradientPast(Moments batch, Elements dy, Elements dx)
    {
        RequireGradients(batch.Channels, nameof(batch), dy, dy, dx);
        if (Layout.Elements == 0) return;
        if (dy.AreDouble)
        {
            Float64Backward.PastStatistics(Layout, dy.Doubles, batch, Float64, dx.Doubles, _compute);
            return;
        }
        using var constants = new ChannelConstants(Layout.Statistics, MapTarget.KindsOf(splitsScale: false));
        MapsOfStatistics.Set(batch, 0, 1, GradientTarget(constants), Layout.Statistics);
        fixed (float* gradient = dy.Singles, destination = dx.Singles)
            ElementwisePass.Run(new ScaledGradient(gradient, destination), Layout.View, constants, _compute);
    }

    // dx of the values that do not count, in place of what it would be if they did.
    private void WriteMaskedGradient(BatchPart part, bool[]? mask, Elements dy, Elements dx)
    {
        if (!part.IsMasked) return;
        var positions = Of(mask, part.FirstSample, part.Samples);
        var layout = part.Layout.ForPositions(positions.Count(false));
        var runs = new MaskedRuns(part.Layout.View, positions, kept: false);
        using var gradient = Tensor.Rent(new Shape(layout.Elements), dy.Precision);
        runs.Gather(dy.Slice(part.Start, part.Layout.Elements), gradient);
        As(part with { Layout = layout }).WriteGradientPast(part.Moments, gradient, gradient);
        runs.Scatter(gradient, dx.Slice(part.Start, part.Layout.Elements));
    }

    private void Gate(Elements x, Elements dy, StepStatistics? statistics, Elements residual, Elements gated)
    {
        if (statistics is null)
        {
            As(RunningLayout).WriteByRunning(x, residual, dy, gated);
            return;
        }
        foreach (var part in statistics.Parts)
        {
            var (start, length) = (part.Start, part.Layout.Elements);
            As(part).WriteBy(
                part.Moments, x.Slice(start, length), residual.Slice(start, length), dy.Slice(start, length), gated.Slice(start, length));
        }
    }

    private ParameterGradients GradientsOfRows(
        Elements x, Elements dy, StepStatistics statistics, Elements residual, Elements dx, Elements dresidual)
    {
        using var rows = Rows.Gathered(x);
        using var gradient = Rows.Gathered(dy);
        using var added = Rows.Gathered(residual);
        using var gated = added is null ? null : Tensor.Rent(Rows.Shape, dy.Precision);
        var gradients = OverRows.Gradients(rows, gradient, statistics, added, gradient, gated);
        Rows.Scatter(gradient, dx);
        if (gated is not null) Rows.Scatter(gated, dresidual);
        return gradients;
    }

    private ParameterGradients ThroughChannels(float* x, float* dy, float* dx, Moments moments, bool areOfPart)
    {
        var gradients = ParameterGradients.OfLength(Layout.Statistics);
        using var constants = new ChannelConstants(Layout.Statistics, GradientConstants);
        var finish = new ByVectors<TrainingGradientFinish>(
            new(moments, 0, Layout.HasMean, gradients, GradientTarget(constants), isExact: areOfPart));
        FusedPass.Run(new GradientTerms(x, dy), finish, new TrainingInputGradient(x, dy, dx), inputs: 2, Layout.View, constants, _compute);
        return gradients;
    }

    // The gradients by gamma and beta are first summed per sample and channel.
    private ParameterGradients ThroughGroups(float* x, float* dy, float* dx, Moments moments)
    {
        var perSample = ParameterGradients.OfLength(Layout.Statistics * Layout.ChannelsPerStatistic);
        Slices.Run(Layout, new GradientsOfSlice(this, x, dy, dx, moments, perSample), _compute);
        var gradients = ParameterGradients.OfLength(Layout.Parameters);
        for (var i = 0; i < perSample.DBeta.Length; i++)
        {
            gradients.DGamma[i % Layout.Parameters] += perSample.DGamma[i];
            gradients.DBeta[i % Layout.Parameters] += perSample.DBeta[i];
        }
        return gradients;
    }

    // Down the columns for gamma and beta, then along the rows for dx, which may overwrite dy.
    private ParameterGradients ThroughRows(float* x, float* dy, float* dx, Moments moments)
    {
        var (rows, view) = (Layout.View.Channels, Layout.View);
        var perRow = ParameterGradients.OfLength(rows);
        using var constants = new ChannelConstants(rows, GradientConstants);
        var finish = new ByVectors<TrainingGradientFinish>(
            new(moments, 0, Layout.HasMean, perRow, new(constants, null, null, _options.Eps, rows)));
        var gradients = GradientsByPosition(x, dy, moments);
        if (Layer.Gamma is null)
        {
            FusedPass.Run(new GradientTerms(x, dy), finish, new TrainingInputGradient(x, dy, dx), inputs: 2, view, constants, _compute);
            return gradients;
        }
        using var parameters = new PositionParameters(Layer.EffectiveGamma, null);
        if (parameters.NeedDouble) constants.RequireDouble();
        FusedPass.Run(new WeightedGradientTerms(x, dy, parameters.Gamma.Doubles), finish,
            new PositionInputGradient(x, dy, parameters.Gamma, dx), inputs: 2, view, constants, _compute);
        return gradients;
    }

    private ParameterGradients GradientsByPosition(float* x, float* dy, Moments moments)
    {
        var view = Layout.View;
        using var maps = new ChannelConstants(view.Channels, MapTarget.KindsOf(splitsScale: false));
        MapsOfStatistics.Set(moments, 0, 1, new(maps, null, null, _options.Eps, view.Channels), view.Channels);
        var gradients = ParameterGradients.OfLength(Layout.Parameters);
        var terms = new NormalizedGradientTerms(
            x, dy, maps.Row<double>(MapTarget.Center), maps.Row<double>(MapTarget.Scale), maps.Row<double>(MapTarget.Offset));
        ChannelSums.Run(terms, new ByVectors<PositionGradientFinish>(new(gradients)), new ChannelView(view.Channels, view.Inner, 1),
            _compute);
        return gradients;
    }

    private MapTarget GradientTarget(ChannelConstants constants) =>
        new(constants, Layer.EffectiveGamma, null, _options.Eps, Layout.Parameters);

    private void RequireGradients(int statistics, string name, Elements x, Elements dy, Elements dx)
    {
        Layout.RequireLength(x.Length, nameof(x));
        Layout.RequireLength(dy.Length, nameof(dy));
        Layout.RequireLength(dx.Length, nameof(dx));
        Layout.RequireStatistics(statistics, name);
        Layout.RequireParameters(Layer.Gamma?.Length, "gamma");
    }

    private readonly struct GradientsOfSlice(Batch batch, float* x, float* dy, float* dx, Moments moments, ParameterGradients perSample)
        : ISliceWork
    {
        public void Run(int start, ChannelView view, int statistic, ComputeSettings compute)
        {
            using var constants = new ChannelConstants(view.Channels, GradientConstants);
            var (layout, target) = (batch.Layout, batch.GradientTarget(constants));
            var (terms, op) = (new GradientTerms(x + start, dy + start), new TrainingInputGradient(x + start, dy + start, dx + start));
            if (layout.ChannelsPerStatistic == 1)
            {
                var finish = new ByVectors<TrainingGradientFinish>(new(moments, statistic, layout.HasMean, perSample, target));
                FusedPass.Run(terms, finish, op, inputs: 2, view, constants, compute);
            }
            else
            {
                var finish = new GroupGradientFinish(
                    moments, statistic, layout.ChannelsPerStatistic, perSample, statistic * layout.ChannelsPerStatistic, target);
                FusedPass.Run(terms, finish, op, inputs: 2, view, constants, compute);
            }
        }
    }
}
