using BnService.Client;

namespace BnService.Experiments.Networks;

/// <summary>One worker's end of a normalization layer that several workers share: each has a part of the batch, and is normalized with the statistics of all.</summary>
public sealed class SynchronizedNormalization(SyncRank rank, CancellationToken cancellationToken) : ILayer
{
    private TrainStep? _step;

    /// <inheritdoc/>
    public async ValueTask<Tensor> ForwardAsync(Tensor x, bool training)
    {
        if (!training) throw new NotSupportedException("inference is no matter of ranks: it reads the session");
        _step = await rank.TrainStepAsync(x.Values, x.Shape, cancellationToken: cancellationToken);
        using (_step) return new(x.Shape, _step.Y.ToArray());
    }

    /// <inheritdoc/>
    public async ValueTask<Tensor> BackwardAsync(Tensor dy, Sgd? update)
    {
        var step = _step ?? throw new InvalidOperationException("backward without forward");
        using var gradients = await rank.BackwardAsync(step, dy.Values, new BackwardOptions { Update = update?.OnService() }, cancellationToken);
        return new(dy.Shape, gradients.Dx.ToArray());
    }
}
