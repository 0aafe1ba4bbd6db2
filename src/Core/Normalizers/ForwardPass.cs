using BnService.Core.Kernels;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>A forward pass over a tensor: where it reads and writes, and the parameters of the layer.</summary>
internal readonly unsafe struct ForwardPass(
    Layout plan, float* x, OutputInputs others, float* output, double[]? gamma, double[]? beta, double eps, ComputeSettings compute)
{
    private readonly bool _perPosition = plan.Reduction == Reduction.Rows && (gamma is not null || beta is not null);

    /// <summary>The statistics of x, and the output with them.</summary>
    public Moments Run<TRule>()
        where TRule : struct, IOutputRule
    {
        var moments = Moments.Unset(plan.Count, plan.Statistics);
        if (_perPosition)
        {
            using var constants = new ChannelConstants(plan.View.Channels, MapTarget.KindsOf(splitsScale: true));
            using var parameters = new PositionParameters(gamma, beta);
            if (parameters.NeedDouble) constants.RequireDouble();
            FusedPass.Run(new MomentTerms(x), Finish(moments, PositionTarget(constants)), PositionOperator<TRule>(parameters), 1, plan.View, constants, compute);
        }
        else Slices.Run(plan, new FusedSlice<TRule>(this, moments), compute);
        return moments;
    }

    /// <summary>The output with given statistics.</summary>
    public void Apply<TRule>(Moments moments)
        where TRule : struct, IOutputRule
    {
        if (_perPosition)
        {
            using var constants = new ChannelConstants(plan.View.Channels, MapTarget.KindsOf(splitsScale: true));
            using var parameters = new PositionParameters(gamma, beta);
            if (parameters.NeedDouble) constants.RequireDouble();
            MapsOfStatistics.Set(moments, 0, 1, PositionTarget(constants), plan.View.Channels);
            ElementwisePass.Run(PositionOperator<TRule>(parameters), plan.View, constants, compute);
        }
        else Slices.Run(plan, new AppliedSlice<TRule>(this, moments), compute);
    }

    private ByVectors<MomentsFinish> Finish(Moments moments, MapTarget target) =>
        new(new MomentsFinish(new FirstValues(x, plan.View), moments, 0, plan.HasMean, target));

    private MapTarget PositionTarget(ChannelConstants constants) => new(constants, null, null, eps, plan.View.Channels, SplitsScale: true);

    private PositionAffine<TRule> PositionOperator<TRule>(PositionParameters parameters)
        where TRule : struct, IOutputRule => new(x, parameters.Gamma, parameters.Beta, others, output);

    private MapTarget Target(ChannelConstants constants) =>
        plan.Reduction == Reduction.Rows ? new(constants, null, null, eps, plan.View.Channels) : new(constants, gamma, beta, eps, plan.Parameters);

    private Affine<TRule> Operator<TRule>(int start)
        where TRule : struct, IOutputRule => new(x + start, others.From(start), output + start);

    private readonly struct FusedSlice<TRule>(ForwardPass pass, Moments moments) : ISliceWork
        where TRule : struct, IOutputRule
    {
        public void Run(int start, ChannelView view, int statistic, ComputeSettings compute)
        {
            using var constants = new ChannelConstants(view.Channels, MapTarget.KindsOf(splitsScale: false));
            var (firstValues, target) = (new FirstValues(pass.Input + start, view), pass.Target(constants));
            var terms = new MomentTerms(pass.Input + start);
            if (pass.ChannelsPerStatistic == 1)
            {
                var finish = new ByVectors<MomentsFinish>(new(firstValues, moments, statistic, pass.HasMean, target));
                FusedPass.Run(terms, finish, pass.Operator<TRule>(start), 1, view, constants, compute);
            }
            else
            {
                var finish = new GroupMomentsFinish(firstValues, moments, statistic, pass.ChannelsPerStatistic, target);
                FusedPass.Run(terms, finish, pass.Operator<TRule>(start), 1, view, constants, compute);
            }
        }
    }

    private readonly struct AppliedSlice<TRule>(ForwardPass pass, Moments moments) : ISliceWork
        where TRule : struct, IOutputRule
    {
        public void Run(int start, ChannelView view, int statistic, ComputeSettings compute)
        {
            using var constants = new ChannelConstants(view.Channels, MapTarget.KindsOf(splitsScale: false));
            MapsOfStatistics.Set(moments, statistic, pass.ChannelsPerStatistic, pass.Target(constants), view.Channels);
            ElementwisePass.Run(pass.Operator<TRule>(start), view, constants, compute);
        }
    }

    private float* Input => x;

    private int ChannelsPerStatistic => plan.ChannelsPerStatistic;

    private bool HasMean => plan.HasMean;
}
