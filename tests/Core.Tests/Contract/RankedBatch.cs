using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;
using BnService.Core.Tests.Expected;

namespace BnService.Core.Tests.Contract;

/// <summary>A batch whose samples lie on several ranks, and what passes between them.</summary>
internal sealed class RankedBatch
{
    private readonly BatchCase _batch;
    private readonly Rank[] _ranks;

    /// <param name="batch">The whole.</param>
    /// <param name="samples">How many samples each rank has; may be none.</param>
    /// <param name="compute">With what to compute.</param>
    /// <param name="options">What the layer does besides what the batch's layout says.</param>
    /// <param name="isValid">Whether a sample is valid; null for no mask.</param>
    /// <param name="running">The layer's running statistics; null for those of a new one.</param>
    public RankedBatch(
        BatchCase batch, int[] samples, ComputeSettings compute, Func<NormalizerOptions, NormalizerOptions>? options = null,
        Func<int, bool>? isValid = null, RunningStatistics? running = null)
    {
        Assert.Equal(batch.Layout.Shape[0], samples.Sum());
        _batch = batch;
        var layer = LayerOf(batch, options ?? (plain => plain), running);
        var (first, perSample) = (0, batch.X.Length / batch.Layout.Shape[0]);
        _ranks = Array.ConvertAll(samples, count =>
        {
            var mask = isValid is null ? null : BatchMask.OfSamples([.. Enumerable.Range(first, count).Select(isValid)]);
            var pass = Batch.Of(layer, new Shape([count, .. batch.Layout.Shape[1..]]), compute);
            first += count;
            return new Rank(pass, (first - count) * perSample, count * perSample, mask);
        });
        Own = Array.ConvertAll(_ranks, rank => rank.Pass.OwnMoments(rank.Of(batch.X), rank.Mask));
        Joint = Own.Aggregate(Moments.Merge);
        Statistics = Array.ConvertAll(_ranks, rank => rank.Pass.Join(Joint, rank.Mask));
    }

    /// <summary>Each rank's own moments, and those of all.</summary>
    public Moments[] Own { get; }

    public Moments Joint { get; }

    public StepStatistics[] Statistics { get; }

    /// <summary>The elements of each rank.</summary>
    public IEnumerable<Range> Elements => _ranks.Select(rank => new Range(rank.Start, rank.Start + rank.Length));

    /// <summary>A cut of so many samples: a rank with one, ranks without any, and unequal ones.</summary>
    public static int[] Cut(int samples)
    {
        var rest = Math.Max(samples - 1, 0);
        return [Math.Min(samples, 1), 0, rest / 3, rest - (rest / 3), 0];
    }

    /// <summary>y of all ranks, one behind the other.</summary>
    public float[] Normalized(float[]? residual = null)
    {
        var y = Unset();
        for (var r = 0; r < _ranks.Length; r++)
            _ranks[r].Pass.Write(_ranks[r].Of(_batch.X), Statistics[r], _ranks[r].Of(residual), _ranks[r].Of(y));
        return y;
    }

    /// <summary>The same, each rank's in pieces.</summary>
    public float[] InPieces()
    {
        var y = Unset();
        for (var r = 0; r < _ranks.Length; r++)
        {
            using var output = _ranks[r].Pass.Output(Statistics[r]);
            for (var start = 0; start < _ranks[r].Length; start += 1001)
            {
                var length = Math.Min(1001, _ranks[r].Length - start);
                output.Apply(start, _ranks[r].Of(_batch.X).Slice(start, length), [], _ranks[r].Of(y).Slice(start, length));
            }
        }
        return y;
    }

    /// <summary>The gradients: dx and the gradient before the activation one rank behind the other, and dγ and dβ of each rank.</summary>
    /// <param name="dy">The gradient by y.</param>
    /// <param name="residual">What was added before the activation.</param>
    /// <param name="isInPlace">Whether each rank works in the memory of dy alone.</param>
    /// <param name="sent">What becomes of sums on their way between ranks.</param>
    public (float[] Dx, float[] Gradient, ParameterGradients[] Parameters) Gradients(
        float[] dy, float[]? residual = null, bool isInPlace = false, Func<GradientSums, GradientSums>? sent = null)
    {
        var gradient = isInPlace ? (float[])dy.Clone() : Unset();
        var dx = isInPlace ? gradient : Unset();
        var own = _ranks.Select((rank, r) => rank.Pass.SumGradients(
            rank.Of(_batch.X), rank.Of(isInPlace ? gradient : dy), Statistics[r], rank.Of(residual), rank.Of(gradient))).ToArray();
        var total = own.Select(sent ?? (sums => sums)).Aggregate((a, b) => a.Plus(b));
        var parameters = _ranks.Select((rank, r) => rank.Pass.JoinedGradients(
            rank.Of(_batch.X), rank.Of(gradient), Statistics[r], own[r], total, rank.Of(dx))).ToArray();
        return (dx, gradient, parameters);
    }

    private static LayerState LayerOf(BatchCase batch, Func<NormalizerOptions, NormalizerOptions> options, RunningStatistics? running)
    {
        var layout = batch.Layout;
        var layer = LayerState.Create(options(new NormalizerOptions
        {
            NumFeatures = layout.Shape[layout.ChannelAxis == 1 ? 1 : ^1],
            ChannelAxis = layout.ChannelAxis,
            Granularity = layout.Granularity,
            Eps = batch.Eps,
        }).Validated()).SizedFor(batch.Plan);
        return layer with { Gamma = batch.Gamma, Beta = batch.Beta, Running = running ?? layer.Running };
    }

    // An element that nobody writes is no number.
    private float[] Unset()
    {
        var values = new float[_batch.X.Length];
        Array.Fill(values, float.NaN);
        return values;
    }

    private sealed record Rank(Batch Pass, int Start, int Length, BatchMask? Mask)
    {
        public Span<float> Of(float[]? whole) => whole is null ? [] : whole.AsSpan(Start, Length);
    }
}
