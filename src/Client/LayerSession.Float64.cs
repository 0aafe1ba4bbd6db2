namespace BnService.Client;

// Tensors of float64, for sessions that compute in it: what is answered has the names that end in Float64.
public sealed partial class LayerSession
{
    /// <summary>Trains on a batch of float64; see <see cref="TrainStepAsync(ReadOnlyMemory{float}, IReadOnlyList{int}, TrainStepOptions?, CancellationToken)"/>.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="shape">Its dimensions: [N, C], [N, C, …], or with the channels last.</param>
    /// <param name="options">What else is asked for; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call; the step may have been made.</param>
    public Task<TrainStep> TrainStepAsync(
        ReadOnlyMemory<double> x, IReadOnlyList<int> shape, TrainStepOptions? options = null, CancellationToken cancellationToken = default) =>
        _calls.TrainStepAsync(x, shape, null, options, cancellationToken);

    /// <summary>Infers a batch of float64 with the running statistics; changes nothing.</summary>
    /// <param name="x">The input.</param>
    /// <param name="shape">Its dimensions.</param>
    /// <param name="options">What else is asked for; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<InferredBatch> InferAsync(
        ReadOnlyMemory<double> x, IReadOnlyList<int> shape, InferOptions? options = null, CancellationToken cancellationToken = default) =>
        InferAsync(x, shape, (Memory<float>?)null, options, cancellationToken);

    /// <summary>Takes a gradient of float64 back through a train-step, and may apply it to gamma and beta.</summary>
    /// <param name="step">The train-step; it may have been disposed, its x must be as it was.</param>
    /// <param name="dy">Gradient of the loss by y, in the shape of x.</param>
    /// <param name="options">What else is asked for; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call; the update may have been made.</param>
    public Task<Gradients> BackwardAsync(TrainStep step, ReadOnlyMemory<double> dy, BackwardOptions? options = null, CancellationToken cancellationToken = default) =>
        _calls.BackwardAsync(step, dy, null, options, cancellationToken);

    /// <summary>Takes a gradient of float64 back through an input of which the service has kept nothing.</summary>
    /// <param name="x">The input of the forward pass.</param>
    /// <param name="shape">Its dimensions.</param>
    /// <param name="dy">Gradient of the loss by y, in the shape of x.</param>
    /// <param name="options">What else is asked for; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call; the update may have been made.</param>
    public Task<Gradients> BackwardAsync(ReadOnlyMemory<double> x, IReadOnlyList<int> shape, ReadOnlyMemory<double> dy, InputBackwardOptions? options = null,
        CancellationToken cancellationToken = default) => _calls.BackwardAsync(x, shape, dy, null, options, cancellationToken);

    /// <summary>Adds a batch of float64 to the exact statistics of a data set, once.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="shape">Its dimensions.</param>
    /// <param name="ifMatch">The version that the session must have; null for any.</param>
    /// <param name="mask">One value per sample, or per position: what has false does not count. Empty for all.</param>
    /// <param name="maskShape">Dimensions of the mask where it has a value per position; null for one value per sample.</param>
    /// <param name="cancellationToken">Ends the call; the batch may have been added.</param>
    public Task<PopulationStatistics> AddCalibrationBatchAsync(ReadOnlyMemory<double> x, IReadOnlyList<int> shape, long? ifMatch = null,
        ReadOnlyMemory<bool> mask = default, IReadOnlyList<int>? maskShape = null, CancellationToken cancellationToken = default) =>
        AddBatchAsync(x, shape, ifMatch, mask, maskShape, cancellationToken);
}
