using BnService.Core.Kernels;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Layers;

// y = activation(γ·x̂ + β + residual). No residual is an empty one; y may be the memory of x.
public sealed unsafe partial class Batch
{
    private bool IsRectified => _options.Activation == Activation.Relu;

    // Gamma and beta belong to the position within a row.
    private bool IsPerPosition => Layout.Reduction == Reduction.Rows && (Layer.Gamma is not null || Layer.Beta is not null);

    /// <summary>
    /// y of a batch a part at a time, with its own statistics, with the running ones, or where there are none of either with those of each
    /// sample or row, whole ones at a time.
    /// </summary>
    /// <param name="statistics">The batch's statistics; null for the running ones, or those of each sample.</param>
    public LayerOutput Output(StepStatistics? statistics)
    {
        if (statistics is null && Layer.Running is null)
        {
            return new SampleOutput(
                Layer, _options is { NormalizedShape: { } row, IsOverChannels: false } ? [.. row] : [.. _shape.Dimensions.Skip(1)],
                _compute);
        }
        if (statistics is null) return new MappedOutput(RunningLayout, Layer.InferenceMap, _options.Activation, _compute);
        return new PartsOutput([.. statistics.Parts.Select(part => (part.Start, As(part).OutputBy(part.Moments)))]);
    }

    /// <summary>y of a batch, with its own statistics or with the running ones.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="statistics">Its statistics; null for the running ones.</param>
    /// <param name="residual">Added before the activation; empty for nothing.</param>
    /// <param name="y">Receives the output.</param>
    public void Write(Elements x, StepStatistics? statistics, Elements residual, Elements y)
    {
        if (statistics is null) As(RunningLayout).WriteByRunning(x, residual, default, y);
        else if (_options.IsOverChannels)
        {
            using var rows = Rows.Gathered(x);
            using var added = Rows.Gathered(residual);
            OverRows.Write(rows, statistics, added, rows);
            Rows.Scatter(rows, y);
        }
        else
        {
            foreach (var part in statistics.Parts)
            {
                var (start, length) = (part.Start, part.Layout.Elements);
                As(part).WriteBy(part.Moments, x.Slice(start, length), residual.Slice(start, length), default, y.Slice(start, length));
            }
        }
    }

    /// <summary>The statistics of a batch and y, in one sweep where that is possible. For kinds whose statistics move nothing.</summary>
    /// <remarks>
    /// Inference of one value per statistic is x̂ = 0 and y = β where each sample is normalized by itself, as in PyTorch's GroupNorm and in
    /// ONNX. Statistics over a batch of one value are refused in inference too, as PyTorch does where it tracks none.
    /// </remarks>
    /// <param name="x">The batch.</param>
    /// <param name="residual">Added before the activation; empty for nothing.</param>
    /// <param name="y">Receives the output.</param>
    /// <param name="isTraining">Whether one value per statistic is refused for kinds that normalize each sample by itself, too.</param>
    public StepStatistics MeasureAndWrite(Elements x, Elements residual, Elements y, bool isTraining = true)
    {
        if (_options.IsOverChannels)
        {
            using var rows = Rows.Gathered(x);
            using var added = Rows.Gathered(residual);
            var ofRows = OverRows.MeasureAndWrite(rows, added, rows);
            Rows.Scatter(rows, y);
            return ofRows;
        }
        if (_options.Kind.IsOverBatch)
        {
            var statistics = Measure(x, null);
            Write(x, statistics, residual, y);
            return statistics;
        }
        if (isTraining) Layout.RequireVariance(_shape, _options.Kind);
        return AsOnePart(SumAndWrite(x, residual, y));
    }

    /// <summary>
    /// The moments of a batch, and y with them: the bits are those of <see cref="Sum"/> and then <see cref="WriteBy"/>; memory is read once
    /// instead of twice where what shares a statistic fits into the cache.
    /// </summary>
    internal Moments SumAndWrite(Elements x, Elements residual, Elements y)
    {
        RequireFit(x, residual, y);
        if (Layout.Elements == 0) return Moments.Empty(Layout.Statistics);
        var moments = x.AreDouble ? Sum(x) : Moments.Unset(Layout.Count, Layout.Statistics);
        if (x.AreDouble) WriteBy(moments, x, residual, default, y);
        else
        {
            fixed (float* source = x.Singles, added = residual.Singles, destination = y.Singles)
            {
                var others = new OutputInputs(added, null);
                OutputRules.Run(others, IsRectified, new Normalization(this, moments, source, others, destination, measures: true));
            }
        }
        return moments;
    }

    /// <summary>
    /// y with given moments; or, given the gradient by y, that before the activation: dy if relu let the value through, else 0.
    /// </summary>
    internal void WriteBy(Moments moments, Elements x, Elements residual, Elements dy, Elements y)
    {
        RequireFit(x, residual, y);
        if (!dy.IsEmpty) Layout.RequireLength(dy.Length, nameof(dy));
        Layout.RequireStatistics(moments.Channels, nameof(moments));
        if (Layout.Elements == 0) return;
        if (x.AreDouble)
        {
            if (dy.IsEmpty) Float64Forward.Apply(Layout, x.Doubles, moments, Float64, IsRectified, y.Doubles, residual.Doubles, _compute);
            else Float64Backward.ThroughRelu(Layout, x.Doubles, dy.Doubles, moments, Float64, y.Doubles, residual.Doubles, _compute);
            return;
        }
        fixed (float* source = x.Singles, added = residual.Singles, gradient = dy.Singles, destination = y.Singles)
        {
            var others = new OutputInputs(added, gradient);
            OutputRules.Run(others, IsRectified, new Normalization(this, moments, source, others, destination, measures: false));
        }
    }

    /// <summary>The same with the affine map of each channel, for layouts over channels.</summary>
    internal void WriteMapped(AffineMap map, Elements x, Elements residual, Elements dy, Elements y)
    {
        RequireFit(x, residual, y);
        Layout.RequireStatistics(map.Constants.Channels, nameof(map));
        fixed (float* source = x.Singles, added = residual.Singles, gradient = dy.Singles, destination = y.Singles)
        {
            var others = new OutputInputs(added, gradient);
            OutputRules.Run(others, IsRectified, new Mapping(Layout.View, map, source, others, destination, _compute));
        }
        GC.KeepAlive(map);
    }

    private void WriteByRunning(Elements x, Elements residual, Elements dy, Elements y)
    {
        if (x.AreDouble) WriteBy(Layer.Running!.AsMoments(), x, residual, dy, y);
        else WriteMapped(Layer.InferenceMap, x, residual, dy, y);
    }

    private LayerOutput OutputBy(Moments moments) =>
        new MappedOutput(Layout, AffineMap.Of(moments, Layer.EffectiveGamma, Layer.Beta, _options.Eps), _options.Activation, _compute);

    private Float64Parameters Float64 => new(Layer.EffectiveGamma, Layer.Beta, _options.Eps);

    private void RequireFit(Elements x, Elements residual, Elements y)
    {
        Layout.RequireLength(x.Length, nameof(x));
        Layout.RequireLength(y.Length, nameof(y));
        if (!residual.IsEmpty) Layout.RequireLength(residual.Length, nameof(residual));
        Layout.RequireParameters(Layer.Gamma?.Length, "gamma");
        Layout.RequireParameters(Layer.Beta?.Length, "beta");
    }

    private readonly struct Mapping(ChannelView view, AffineMap map, float* x, OutputInputs others, float* y, ComputeSettings compute)
        : IRuleWork
    {
        public void Run<TRule>()
            where TRule : struct, IOutputRule => ElementwisePass.Run(new Affine<TRule>(x, others, y), view, map.Constants, compute);
    }

    // The whole batch, or each slice of it, is summed first if it measures; its moments are known if not.
    private readonly struct Normalization(Batch batch, Moments moments, float* x, OutputInputs others, float* y, bool measures) : IRuleWork
    {
        private Layout Layout => batch.Layout;

        public void Run<TRule>()
            where TRule : struct, IOutputRule
        {
            if (batch.IsPerPosition) RunPerPosition<TRule>();
            else Slices.Run(Layout, new Slice<TRule>(this), batch._compute);
        }

        private void RunPerPosition<TRule>()
            where TRule : struct, IOutputRule
        {
            using var constants = new ChannelConstants(Layout.View.Channels, MapTarget.KindsOf(splitsScale: true));
            using var parameters = new PositionParameters(batch.Layer.EffectiveGamma, batch.Layer.Beta);
            if (parameters.NeedDouble) constants.RequireDouble();
            var target = new MapTarget(constants, null, null, batch._options.Eps, Layout.View.Channels, SplitsScale: true);
            var op = new PositionAffine<TRule>(x, parameters.Gamma, parameters.Beta, others, y);
            if (measures)
            {
                var finish = new ByVectors<MomentsFinish>(new(new FirstValues(x, Layout.View), moments, 0, Layout.HasMean, target));
                FusedPass.Run(new MomentTerms(x), finish, op, 1, Layout.View, constants, batch._compute);
                return;
            }
            MapsOfStatistics.Set(moments, 0, 1, target, Layout.View.Channels);
            ElementwisePass.Run(op, Layout.View, constants, batch._compute);
        }

        private void RunSlice<TRule>(int start, ChannelView view, int statistic, ComputeSettings compute)
            where TRule : struct, IOutputRule
        {
            using var constants = new ChannelConstants(view.Channels, MapTarget.KindsOf(splitsScale: false));
            var (layer, perStatistic) = (batch.Layer, Layout.ChannelsPerStatistic);
            var target = Layout.Reduction == Reduction.Rows
                ? new MapTarget(constants, null, null, batch._options.Eps, view.Channels)
                : new MapTarget(constants, layer.EffectiveGamma, layer.Beta, batch._options.Eps, Layout.Parameters);
            var op = new Affine<TRule>(x + start, others.From(start), y + start);
            if (!measures)
            {
                MapsOfStatistics.Set(moments, statistic, perStatistic, target, view.Channels);
                ElementwisePass.Run(op, view, constants, compute);
                return;
            }
            var (terms, firstValues) = (new MomentTerms(x + start), new FirstValues(x + start, view));
            if (perStatistic == 1)
            {
                var finish = new ByVectors<MomentsFinish>(new(firstValues, moments, statistic, Layout.HasMean, target));
                FusedPass.Run(terms, finish, op, 1, view, constants, compute);
            }
            else
            {
                FusedPass.Run(terms, new GroupMomentsFinish(firstValues, moments, statistic, perStatistic, target), op, 1, view, constants,
                    compute);
            }
        }

        private readonly struct Slice<TRule>(Normalization whole) : ISliceWork
            where TRule : struct, IOutputRule
        {
            public void Run(int start, ChannelView view, int statistic, ComputeSettings compute) =>
                whole.RunSlice<TRule>(start, view, statistic, compute);
        }
    }
}
