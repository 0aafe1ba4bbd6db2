using BnService.Api.Hosting.Telemetry;
using BnService.Api.Wire;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>
/// A training batch that is still arriving: refused as soon as its shape does not fit, and summed while the rest of it is on its way.
/// </summary>
internal sealed class ArrivingBatch(SessionCatalog catalog, LayerSession session, PassMeter passes, ComputeSettings compute) : IArrivals, IDisposable
{
    private const string Input = "x";
    private ArrivingMoments? _moments;
    private PassMeter.DividedPass? _pass;
    private int _arrived;
    private LostPrecision? _lost;
    private NormalizationPlan? _plan;

    /// <inheritdoc/>
    public void Begin(string field, Tensor tensor)
    {
        if (field != Input) return;
        var (plan, layer) = catalog.PlanFor(tensor.Shape, session.Current.Layer);
        if (tensor.Precision == Precision.Float64) return;
        _plan = layer.NormalizesWithBatch ? plan : NormalizationPlan.ForRunningStatistics(tensor.Shape, layer.Options);
        if (layer.NormalizesWithBatch && ArrivingMoments.Fits(plan) && new LayerPass(layer, tensor.Shape, compute).GathersWhole)
            (_moments, _pass) = (new ArrivingMoments(plan, tensor, compute), passes.Divided(PassKind.Moments, tensor.Shape));
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
    public void Rounded(string field, ReadOnlySpan<double> sent)
    {
        if (field == Input && _plan is { HasMean: true }) (_lost ??= new(_plan)).Look(sent);
    }

    /// <summary>Reads the batch again as it was sent, in float64, where it came as JSON; the caller's to dispose.</summary>
    public Func<Tensor?>? Sent { private get; init; }

    /// <summary>Called when the batch as it was sent is not looked at any more.</summary>
    public Action? Forget { private get; init; }

    /// <summary>The statistics that rounding to float32 has spoilt; null for none.</summary>
    /// <param name="plan">How the batch is laid out.</param>
    /// <param name="mean">The mean of each statistic that normalizes it; null where none is subtracted.</param>
    /// <param name="variance">Their variance.</param>
    public LostPrecision? LostFrom(NormalizationPlan plan, double[]? mean, double[] variance)
    {
        if (_lost is null && Sent is null) return null;
        var (some, found) = (false, _lost);
        for (var i = 0; i < mean?.Length && plan.Elements > 0 && !some; i++) some = LostPrecision.MayBeLost(mean[i], variance[i]);
        if (some && found is null)
        {
            using var sent = Sent?.Invoke();
            if (sent is not null)
            {
                _lost = found = new LostPrecision(plan);
                found.Look(sent.Doubles);
            }
        }
        Forget?.Invoke();
        return some ? found : null;
    }

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
