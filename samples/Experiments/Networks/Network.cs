namespace BnService.Experiments.Networks;

/// <summary>Layers, one after another. Disposing it deletes the sessions of its normalization layers.</summary>
public sealed class Network(IReadOnlyList<ILayer> layers) : IAsyncDisposable
{
    /// <summary>The layers, first to last.</summary>
    public IReadOnlyList<ILayer> Layers => layers;

    /// <summary>The weights that the sample trains.</summary>
    public IEnumerable<Parameter> Parameters => layers.SelectMany(layer => layer.Parameters);

    /// <summary>The output for a batch; <paramref name="training"/> normalizes with the batch's own statistics.</summary>
    public async ValueTask<Tensor> ForwardAsync(Tensor x, bool training)
    {
        foreach (var layer in layers) x = await layer.ForwardAsync(x, training);
        return x;
    }

    /// <summary>The gradient by the input of the last forward pass; gamma and beta take <paramref name="update"/> on the way.</summary>
    public async ValueTask<Tensor> BackwardAsync(Tensor dy, Sgd? update)
    {
        for (var i = layers.Count - 1; i >= 0; i--) dy = await layers[i].BackwardAsync(dy, update);
        return dy;
    }

    /// <summary>One step of training; answers the batch's loss and how many of it were right before the step.</summary>
    public async ValueTask<(double Loss, int Correct)> TrainAsync(Tensor x, int[] labels, Sgd sgd)
    {
        var logits = await ForwardAsync(x, training: true);
        var (loss, gradient) = Networks.Loss.CrossEntropy(logits, labels);
        await BackwardAsync(gradient, sgd);
        foreach (var parameter in Parameters) sgd.Apply(parameter);
        return (loss, Networks.Loss.Correct(logits, labels));
    }

    /// <summary>The part of the samples that is recognized by inference.</summary>
    public async ValueTask<double> AccuracyAsync(Tensor x, int[] labels) =>
        Networks.Loss.Correct(await ForwardAsync(x, training: false), labels) / (double)labels.Length;

    /// <inheritdoc/>
    public async ValueTask DisposeAsync()
    {
        foreach (var layer in layers.OfType<IAsyncDisposable>()) await layer.DisposeAsync();
    }
}
