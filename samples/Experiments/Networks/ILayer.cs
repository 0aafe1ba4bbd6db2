namespace BnService.Experiments.Networks;

/// <summary>A layer of a network: it keeps what its backward pass needs from its last forward pass.</summary>
public interface ILayer
{
    /// <summary>The weights that the sample trains; those of normalization layers are trained on the service.</summary>
    IEnumerable<Parameter> Parameters => [];

    /// <summary>The layer's output for a batch.</summary>
    ValueTask<Tensor> ForwardAsync(Tensor x, bool training);

    /// <summary>
    /// The gradient by the layer's input, from the one by its output; the gradients by its parameters are left in them. A normalization
    /// layer applies <paramref name="update"/>, where there is one, to gamma and beta in the same call.
    /// </summary>
    ValueTask<Tensor> BackwardAsync(Tensor dy, Sgd? update);
}
