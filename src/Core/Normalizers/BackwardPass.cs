using BnService.Core.Kernels;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>A backward pass through the statistics of a batch: where it reads and writes, and what normalized the batch.</summary>
internal readonly unsafe struct BackwardPass(
    Layout plan, float* x, float* dy, float* dx, Moments batch, double[]? gamma, double eps, ComputeSettings compute)
{
    private const int Constants = 4;

    public ParameterGradients ThroughChannels(bool statisticsAreOfPart)
    {
        var gradients = ParameterGradients.OfLength(plan.Statistics);
        using var constants = new ChannelConstants(plan.Statistics, Constants);
        var finish = new ByVectors<TrainingGradientFinish>(
            new(batch, 0, plan.HasMean, gradients, new(constants, gamma, null, eps, plan.Parameters), isExact: statisticsAreOfPart));
        FusedPass.Run(new GradientTerms(x, dy), finish, new TrainingInputGradient(x, dy, dx), inputs: 2, plan.View, constants, compute);
        return gradients;
    }

    /// <summary>The gradients by gamma and beta are first summed per sample and channel.</summary>
    public ParameterGradients ThroughGroups()
    {
        var perSample = ParameterGradients.OfLength(plan.Statistics * plan.ChannelsPerStatistic);
        Slices.Run(plan, new GradientsOfSlice(this, perSample), compute);
        var gradients = ParameterGradients.OfLength(plan.Parameters);
        for (var i = 0; i < perSample.DBeta.Length; i++)
        {
            gradients.DGamma[i % plan.Parameters] += perSample.DGamma[i];
            gradients.DBeta[i % plan.Parameters] += perSample.DBeta[i];
        }
        return gradients;
    }

    /// <summary>Down the columns for gamma and beta, then along the rows for dx, which may overwrite dy.</summary>
    public ParameterGradients ThroughRows()
    {
        var rows = plan.View.Channels;
        var perRow = ParameterGradients.OfLength(rows);
        using var constants = new ChannelConstants(rows, Constants);
        var finish = new ByVectors<TrainingGradientFinish>(new(batch, 0, plan.HasMean, perRow, new(constants, null, null, eps, rows)));
        var gradients = GradientsByPosition();
        if (gamma is null)
        {
            FusedPass.Run(new GradientTerms(x, dy), finish, new TrainingInputGradient(x, dy, dx), inputs: 2, plan.View, constants, compute);
            return gradients;
        }
        using var parameters = new PositionParameters(gamma, null);
        if (parameters.NeedDouble) constants.RequireDouble();
        FusedPass.Run(new WeightedGradientTerms(x, dy, parameters.Gamma.Doubles), finish, new PositionInputGradient(x, dy, parameters.Gamma, dx),
            inputs: 2, plan.View, constants, compute);
        return gradients;
    }

    private ParameterGradients GradientsByPosition()
    {
        using var maps = new ChannelConstants(plan.View.Channels, MapTarget.KindsOf(splitsScale: false));
        MapsOfStatistics.Set(batch, 0, 1, new(maps, null, null, eps, plan.View.Channels), plan.View.Channels);
        var gradients = ParameterGradients.OfLength(plan.Parameters);
        var terms = new NormalizedGradientTerms(
            x, dy, maps.Row<double>(MapTarget.Center), maps.Row<double>(MapTarget.Scale), maps.Row<double>(MapTarget.Offset));
        var columns = new ChannelView(plan.View.Channels, plan.View.Inner, 1);
        ChannelSums.Run(terms, new ByVectors<PositionGradientFinish>(new(gradients)), columns, compute);
        return gradients;
    }

    private readonly struct GradientsOfSlice(BackwardPass pass, ParameterGradients perSample) : ISliceWork
    {
        public void Run(int start, ChannelView view, int statistic, ComputeSettings compute)
        {
            using var constants = new ChannelConstants(view.Channels, Constants);
            var terms = pass.Terms(start);
            var op = pass.Operator(start);
            if (pass.ChannelsPerStatistic == 1)
            {
                var finish = new ByVectors<TrainingGradientFinish>(new(pass.Batch, statistic, pass.HasMean, perSample, pass.Target(constants)));
                FusedPass.Run(terms, finish, op, inputs: 2, view, constants, compute);
            }
            else
            {
                var finish = new GroupGradientFinish(
                    pass.Batch, statistic, pass.ChannelsPerStatistic, perSample, statistic * pass.ChannelsPerStatistic, pass.Target(constants));
                FusedPass.Run(terms, finish, op, inputs: 2, view, constants, compute);
            }
        }
    }

    private Moments Batch => batch;

    private int ChannelsPerStatistic => plan.ChannelsPerStatistic;

    private bool HasMean => plan.HasMean;

    private GradientTerms Terms(int start) => new(x + start, dy + start);

    private TrainingInputGradient Operator(int start) => new(x + start, dy + start, dx + start);

    private MapTarget Target(ChannelConstants constants) => new(constants, gamma, null, eps, plan.Parameters);
}
