using BnService.Core.Kernels;
using BnService.Core.Simd;

namespace BnService.Core.Normalizers;

/// <summary>
/// y = activation(map(x) + residual), stretch by stretch: for outputs that are written, or inputs that arrive, a piece at a time. The bits
/// are those of <see cref="Forward"/> on the whole. For plans over channels. Stretches may be computed by several threads at once.
/// </summary>
public sealed unsafe class ForwardStretches : IDisposable
{
    private readonly Layout _plan;
    private readonly AffineMap _map;
    private readonly Activation _activation;
    private readonly ComputeSettings _compute;
    private readonly ChannelConstants _constants;

    /// <param name="plan">How the whole is laid out; over channels.</param>
    /// <param name="map">The affine map per channel, which is taken over.</param>
    /// <param name="activation">What follows it.</param>
    /// <param name="compute">With what to compute.</param>
    public ForwardStretches(Layout plan, AffineMap map, Activation activation, ComputeSettings compute)
    {
        ArgumentNullException.ThrowIfNull(plan);
        ArgumentNullException.ThrowIfNull(map);
        if (plan.Reduction != Reduction.Channels) throw new ArgumentException("expected a plan over channels", nameof(plan));
        Forward.RequireStatistics(plan, map.Constants.Channels, nameof(map));
        (_plan, _map, _activation, _compute) = (plan, map, activation, compute);
        var repeats = plan.View.IsColumns ? new ColumnBlocks(plan.View).Repeats : 1;
        _constants = repeats > 1 ? map.Constants.Repeated(repeats) : map.Constants;
    }

    /// <summary>Computes one stretch, on this thread.</summary>
    /// <param name="start">The stretch's first element in the whole.</param>
    /// <param name="x">The input of the stretch.</param>
    /// <param name="residual">What is added before the activation; empty for nothing, else as long as x.</param>
    /// <param name="y">Receives the output; as long as x, and perhaps its memory.</param>
    /// <exception cref="ArgumentException">The stretch does not lie in the whole, or lengths differ.</exception>
    public void Apply(int start, ReadOnlySpan<float> x, ReadOnlySpan<float> residual, Span<float> y)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(start);
        if (x.Length > _plan.Elements - start) throw new ArgumentException($"expected at most {_plan.Elements - start} elements, got {x.Length}", nameof(x));
        if (y.Length != x.Length || (!residual.IsEmpty && residual.Length != x.Length)) throw new ArgumentException("expected spans of one length", nameof(y));
        if (x.IsEmpty) return;
        fixed (float* source = x, added = residual, destination = y)
        {
            switch (_activation, residual.IsEmpty)
            {
                case (Activation.None, true): Run<PlainOutput>(start, x.Length, source, added, destination); break;
                case (Activation.None, false): Run<WithResidual<PlainOutput>>(start, x.Length, source, added, destination); break;
                case (_, true): Run<RectifiedOutput>(start, x.Length, source, added, destination); break;
                default: Run<WithResidual<RectifiedOutput>>(start, x.Length, source, added, destination); break;
            }
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!ReferenceEquals(_constants, _map.Constants)) _constants.Dispose();
        _map.Dispose();
    }

    // The kernel counts elements from the beginning of the whole, where nothing is read or written.
    private void Run<TRule>(int start, int length, float* x, float* residual, float* y)
        where TRule : struct, IOutputRule
    {
        var op = new Affine<TRule>(x - start, new OutputInputs(residual, null).From(-start), y - start);
        VectorWidths.Run(_compute.Width, new ElementwiseStretch<Affine<TRule>>(op, _plan.View, _constants, start, start + length), 0);
    }
}
