using BnService.Core.Kernels;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>
/// The moments of a batch whose elements are still arriving: what is there is summed while the rest is on its way. The bits are those of
/// a batch that is there as a whole. For plans over channels. Not thread-safe.
/// </summary>
public sealed unsafe class ArrivingMoments : IDisposable
{
    private readonly ComputeSettings _compute;
    private readonly Moments _moments;
    private readonly ChannelSums<MomentTerms, ByVectors<MomentsFinish>> _sums;
    private readonly nint _firstValuesEnd;
    private bool _hasBegun;
    private int _summed;

    /// <param name="plan">How x is laid out; see <see cref="Fits"/>.</param>
    /// <param name="x">The memory that the batch arrives in, which stays the caller's and must outlive this.</param>
    /// <param name="compute">With what to compute.</param>
    /// <exception cref="ArgumentException">The plan is not over channels, has no elements, or does not fit x.</exception>
    public ArrivingMoments(Layout plan, Tensor x, ComputeSettings compute)
    {
        ArgumentNullException.ThrowIfNull(x);
        if (!Fits(plan)) throw new ArgumentException("expected a plan over channels with elements", nameof(plan));
        plan.RequireLength(x.Shape.Count, nameof(x));
        _compute = compute;
        _moments = Moments.Unset(plan.Count, plan.Statistics);
        var firstValues = new FirstValues(x.Pointer, plan.View);
        _firstValuesEnd = firstValues.End;
        var finish = new MomentsFinish(firstValues, _moments, 0, plan.HasMean, new MapTarget(null, null, null, 0, int.MaxValue));
        _sums = new(new MomentTerms(x.Pointer), new(finish), plan.View);
    }

    /// <summary>Whether the moments of a plan can be gathered this way.</summary>
    public static bool Fits(Layout plan)
    {
        ArgumentNullException.ThrowIfNull(plan);
        return plan is { Reduction: Reduction.Channels, Elements: > 0 };
    }

    /// <summary>Sums what has arrived completely, on this thread.</summary>
    /// <param name="arrived">Number of elements that are there.</param>
    public void Advance(int arrived)
    {
        if (!_hasBegun && arrived < _firstValuesEnd) return;
        Begin();
        while (_summed < _sums.Parts && _sums.EndOf(_summed) <= arrived) _sums.Sum(_summed++, _compute);
    }

    /// <summary>The moments, once all elements are there; called once.</summary>
    /// <returns>Moments that are finite if and only if x is.</returns>
    public Moments Finish()
    {
        Begin();
        _sums.Finish(_summed, _compute);
        return _moments;
    }

    /// <inheritdoc/>
    public void Dispose() => _sums.Dispose();

    private void Begin()
    {
        if (!_hasBegun) _sums.Begin(_compute);
        _hasBegun = true;
    }
}
