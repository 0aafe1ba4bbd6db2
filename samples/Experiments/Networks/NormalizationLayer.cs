using BnService.Client;

namespace BnService.Experiments.Networks;

/// <summary>
/// A normalization layer that runs on the service: forward is a train-step or an inference of its session, backward goes through the
/// step and trains gamma and beta there. Disposing it deletes the session.
/// </summary>
public sealed class NormalizationLayer(LayerSession session, CancellationToken cancellationToken = default) : ILayer, IAsyncDisposable
{
    private TrainStep? _step;

    /// <summary>The session on the service.</summary>
    public LayerSession Session => session;

    /// <summary>The gradients by gamma and beta of the last backward pass.</summary>
    public (IReadOnlyList<double> Gamma, IReadOnlyList<double> Beta) ParameterGradients { get; private set; } = ([], []);

    /// <summary>A layer with a session of its own.</summary>
    public static async Task<NormalizationLayer> CreateAsync(BnClient client, LayerOptions options, CancellationToken cancellationToken) =>
        new(await client.CreateSessionAsync($"experiments-{Guid.NewGuid():N}", options, cancellationToken: cancellationToken), cancellationToken);

    /// <inheritdoc/>
    public async ValueTask<Tensor> ForwardAsync(Tensor x, bool training)
    {
        var y = new Tensor(x.Shape);
        if (training)
        {
            using var step = await session.TrainStepAsync(x.Values, x.Shape, y.Values, cancellationToken: cancellationToken);
            _step = step;
        }
        else
        {
            using var inferred = await session.InferAsync(x.Values, x.Shape, y.Values, cancellationToken: cancellationToken);
        }
        return y;
    }

    /// <inheritdoc/>
    public async ValueTask<Tensor> BackwardAsync(Tensor dy, Sgd? update)
    {
        var dx = new Tensor(dy.Shape);
        var step = _step ?? throw new InvalidOperationException("backward without forward in training");
        using var gradients = await session.BackwardAsync(step, dy.Values, dx.Values, new BackwardOptions { Update = update?.OnService() }, cancellationToken);
        ParameterGradients = (gradients.Dgamma ?? [], gradients.Dbeta ?? []);
        return dx;
    }

    /// <summary>Deletes the session, also where the run was given up.</summary>
    public async ValueTask DisposeAsync()
    {
        try
        {
            await session.DeleteAsync(cancellationToken: CancellationToken.None);
        }
        catch (BnServiceException)
        {
            // Nothing is lost with a session that cannot be deleted; what has gone wrong has been told by then.
        }
    }
}
