using BnService.Api.Hosting.Telemetry;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>Inference: the affine map of the running statistics, or of the batch's own where none are tracked. Changes nothing.</summary>
internal sealed class Inference(Computing computing)
{
    /// <summary>
    /// The output, the caller's to dispose while the batch still lives, and what rounding the batch to float32 has spoilt.
    /// </summary>
    public async ValueTask<(TensorSource Y, Finding? Rounding)> RunAsync(
        LayerState state, BatchInput input, SentDigits? digits, CancellationToken cancellationToken)
    {
        input.RequireFit();
        var batch = input.On(BatchOf(state, input.X.Shape));
        var layer = batch.Layer;
        var isWide = input.X.Precision == Precision.Float64;
        if (layer.Running is not null && !isWide)
            return (new ComputedOutput(input, computing.Metered(batch.Output(null), input.X.Shape)), digits?.FindingFrom(layer, null));
        var y = Tensor.Rent(input.X.Shape, input.X.Precision);
        try
        {
            using var turn = await computing.EnterAsync(input.X.Shape, cancellationToken);
            using var timed = computing.Begin(PassKind.Normalize, input.X.Shape);
            StepStatistics? statistics = null;
            if (layer.Running is not null) batch.Write(input.X, null, input.Residual, y);
            else statistics = batch.MeasureAndWrite(input.X, input.Residual, y, isTraining: false);
            if (statistics is not null) statistics.RequireRange(input.X);
            return (y, digits?.FindingFrom(layer, statistics));
        }
        catch
        {
            y.Dispose();
            throw;
        }
    }

    /// <summary>
    /// The output of a batch that is still arriving, a stretch at a time; null where no element has an output before all of them are there.
    /// </summary>
    public LayerOutput? RunArriving(LayerState state, Shape shape, OwnParameters? own = null)
    {
        var batch = BatchOf(state, shape);
        if (own is not null) batch = batch.On(own.On(batch.Layer));
        var layer = batch.Layer;
        if (layer.Options.Precision == Precision.Float64 || (layer.Running is null && batch.IsOverBatch)) return null;
        var output = batch.Output(null);
        // A few large samples have nearly all to be there before the first output is.
        return layer.Running is null && output.Unit > shape.Count / 4 ? null : computing.Metered(output, shape);
    }

    private Batch BatchOf(LayerState state, Shape shape)
    {
        var batch = computing.BatchOf(state, shape);
        if (batch.Layer.Running is not null) batch.Layer.RequireStatistics();
        return batch;
    }
}

/// <summary>What a one-shot normalization gave.</summary>
internal sealed record OneShotResult(
    Tensor Y, StepStatistics Statistics, (Tensor Dx, Tensor? Dresidual, ParameterGradients Gradients)? Backward);

/// <summary>A normalization without a session: a layer that lives for one call.</summary>
internal sealed class OneShot(Computing computing)
{
    /// <summary>Normalizes, and takes a gradient back where one is given.</summary>
    public async Task<OneShotResult> RunAsync(
        LayerState layer, Func<LayerState, LayerState> parameters, BatchInput input, Tensor? dy, CancellationToken cancellationToken)
    {
        input.RequireFit();
        if (dy is not null) input.RequireGradient(dy, "backward.dy");
        var batch = computing.BatchOf(layer, input.X.Shape);
        batch = batch.On(parameters(batch.Layer));
        var rented = new List<Tensor>();
        try
        {
            var y = Rent(input.X, rented);
            using var turn = await computing.EnterAsync(input.X.Shape, cancellationToken);
            StepStatistics statistics;
            using (computing.Begin(PassKind.Moments, input.X.Shape))
                statistics = batch.Measure(input.X, input.Mask, isTraining: dy is not null);
            statistics.RequireFinite(input.X, batch.Layer.Options);
            statistics.RequireRange(input.X);
            using (computing.Begin(PassKind.Normalize, input.X.Shape)) batch.Write(input.X, statistics, input.Residual, y);
            if (dy is null) return new(y, statistics, null);
            var dx = Rent(input.X, rented);
            var dresidual = input.Residual is null ? null : Rent(input.X, rented);
            using var timed = computing.Begin(PassKind.Gradients, input.X.Shape);
            var gradients = batch.Gradients(input.X, dy, statistics, input.Residual, dx, dresidual);
            return new(y, statistics, (dx, dresidual, gradients));
        }
        catch
        {
            rented.ForEach(tensor => tensor.Dispose());
            throw;
        }
    }

    private static Tensor Rent(Tensor like, List<Tensor> rented)
    {
        rented.Add(Tensor.Rent(like.Shape, like.Precision));
        return rented[^1];
    }
}

/// <summary>
/// A session's normalization, folded into a layer. Only inference by running statistics, one per channel, is a map of channels.
/// </summary>
internal static class FoldedSession
{
    /// <summary>The folded layer; the caller's to dispose.</summary>
    /// <exception cref="LayerException">The session's normalization is no map of channels, or the layer does not fit it.</exception>
    public static FoldedLayer Of(LayerState layer, LayerToFold toFold)
    {
        var options = layer.Options;
        if (!options.Kind.CanTrack)
        {
            throw Invalid($"{options.Kind.WireName} cannot be folded: it normalizes each sample with statistics of its own, "
                + "also in inference");
        }
        if (layer.Running is not { } running)
        {
            throw new LayerException(LayerError.NoRunningStatistics,
                "folding needs running statistics, and the session keeps none (track_running_stats is false): it normalizes each batch "
                + "with the batch's own");
        }
        if (options.Granularity == Granularity.PerActivation || layer.Features != options.NumFeatures)
        {
            throw Invalid("granularity must be per_channel to be folded, got per_activation: with a map for each position no weight "
                + "that is shared by positions can hold it");
        }
        if (options.Activation != Activation.None && toFold.Position == FoldPosition.Before)
        {
            throw Invalid($"activation must be none with position before, got {options.Activation.ToString().ToLowerInvariant()}: " +
                "it stands between the normalization and the layer, so that the two are not one affine map");
        }
        layer.RequireStatistics();
        return Folding.Fold(toFold, new FoldedChannels(running, layer.EffectiveGamma, layer.Beta, options.Eps));
    }

    private static LayerException Invalid(string message) => new(LayerError.InvalidOption, message);
}
