using BnService.Api.Hosting.Telemetry;
using BnService.Api.Wire;
using BnService.Core;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>
/// A training batch that is still arriving: refused as soon as its shape does not fit, and summed while the rest of it is on its way.
/// </summary>
/// <param name="catalog">Knows how batches are laid out.</param>
/// <param name="session">The session.</param>
/// <param name="digits">What the numbers were before they were rounded; null where float32 has all of their digits.</param>
/// <param name="passes">Measures.</param>
/// <param name="compute">With what to compute.</param>
internal sealed class ArrivingBatch(SessionCatalog catalog, LayerSession session, SentDigits? digits, PassMeter passes, ComputeSettings compute)
    : IArrivals, IDisposable
{
    private const string Input = SentDigits.Input;
    private ArrivingMoments? _moments;
    private PassMeter.DividedPass? _pass;
    private int _arrived;

    /// <inheritdoc/>
    public void Begin(string field, Tensor tensor)
    {
        if (field != Input) return;
        var batch = catalog.BatchOf(session.Current.Layer, tensor.Shape, compute);
        if (tensor.Precision == Precision.Float64) return;
        digits?.Begin(field, tensor);
        _moments = batch.Arriving(tensor);
        if (_moments is not null) _pass = passes.Divided(PassKind.Moments, tensor.Shape);
    }

    /// <inheritdoc/>
    public void Arrived(string field, int count)
    {
        if (field != Input || _moments is null) return;
        var begun = _pass!.Begin();
        _moments.Advance(count);
        _pass.End(begun, count - _arrived);
        _arrived = count;
    }

    /// <inheritdoc/>
    public void Rounded(string field, ReadOnlySpan<double> sent) => digits?.Rounded(field, sent);

    /// <summary>Whether there may be digits that float32 has not.</summary>
    public bool MayHaveMoreDigits => digits is not null;

    /// <inheritdoc cref="SentDigits.LostFrom"/>
    public LostPrecision? LostFrom(double[]? mean, double[] variance) => digits?.LostFrom(mean, variance);

    /// <summary>The moments of the whole batch; null where they have not been gathered.</summary>
    public Moments? Finish()
    {
        if (_moments is null) return null;
        var begun = _pass!.Begin();
        var moments = _moments.Finish();
        _pass.End(begun, 0);
        _pass.Dispose();
        _moments.Dispose();
        _moments = null;
        return moments;
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _moments?.Dispose();
        _pass?.Dispose();
    }
}
