using BnService.Client.Sending;
using BnService.Client.Wire;

namespace BnService.Client;

/// <summary>
/// A session of the service: a normalization layer with its state. Tensors are row-major, float32 or of sessions with <see cref="Precision.Float64"/> float64, with dimensions outermost first. What
/// is sent is not copied: it must stay as it is until the call has ended, x of a train-step until its backward has.
/// </summary>
public sealed partial class LayerSession
{
    private readonly ServiceConnection _connection;
    private readonly LayerCalls _calls;
    private readonly string _path;

    internal LayerSession(ServiceConnection connection, string name)
    {
        (_connection, Name, _path) = (connection, name, $"v1/sessions/{name}");
        _calls = new LayerCalls(connection, name, _path, "", isJoint: false);
    }

    /// <summary>Name or id of the session.</summary>
    public string Name { get; }

    /// <summary>Trains on a batch: normalizes it with its own statistics and moves the running ones by one step. Counts once, however often it has to be sent.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="shape">Its dimensions: [N, C], [N, C, …], or with the channels last.</param>
    /// <param name="options">What else is asked for; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call; the step may have been made.</param>
    public Task<TrainStep> TrainStepAsync(
        ReadOnlyMemory<float> x, IReadOnlyList<int> shape, TrainStepOptions? options = null, CancellationToken cancellationToken = default) =>
        _calls.TrainStepAsync(x, shape, null, options, cancellationToken);

    /// <summary>Trains on a batch, with its output in the caller's memory.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="shape">Its dimensions: [N, C], [N, C, …], or with the channels last.</param>
    /// <param name="y">Receives the normalized batch; at least as long as x, and elsewhere.</param>
    /// <param name="options">What else is asked for; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call; the step may have been made.</param>
    public Task<TrainStep> TrainStepAsync(
        ReadOnlyMemory<float> x, IReadOnlyList<int> shape, Memory<float> y, TrainStepOptions? options = null, CancellationToken cancellationToken = default) =>
        _calls.TrainStepAsync(x, shape, y, options, cancellationToken);

    /// <summary>Infers a batch with the running statistics; changes nothing. A single example is fine.</summary>
    /// <param name="x">The input.</param>
    /// <param name="shape">Its dimensions.</param>
    /// <param name="options">What else is asked for; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<InferredBatch> InferAsync(
        ReadOnlyMemory<float> x, IReadOnlyList<int> shape, InferOptions? options = null, CancellationToken cancellationToken = default) =>
        InferAsync(x, shape, (Memory<float>?)null, options, cancellationToken);

    /// <summary>Infers a batch, with its output in the caller's memory.</summary>
    /// <param name="x">The input.</param>
    /// <param name="shape">Its dimensions.</param>
    /// <param name="y">Receives the output; at least as long as x, and elsewhere.</param>
    /// <param name="options">What else is asked for; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<InferredBatch> InferAsync(
        ReadOnlyMemory<float> x, IReadOnlyList<int> shape, Memory<float> y, InferOptions? options = null, CancellationToken cancellationToken = default) =>
        InferAsync(x, shape, (Memory<float>?)y, options, cancellationToken);

    /// <summary>
    /// Takes a gradient back through a train-step, and may apply it to gamma and beta. Where the service has the step no more, x is sent
    /// again by itself: then with the session's parameters as they are by now. An update is made once, however often it has to be sent.
    /// </summary>
    /// <param name="step">The train-step; it may have been disposed, its x must be as it was.</param>
    /// <param name="dy">Gradient of the loss by y, in the shape of x.</param>
    /// <param name="options">What else is asked for; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call; the update may have been made.</param>
    public Task<Gradients> BackwardAsync(TrainStep step, ReadOnlyMemory<float> dy, BackwardOptions? options = null, CancellationToken cancellationToken = default) =>
        _calls.BackwardAsync(step, dy, null, options, cancellationToken);

    /// <summary>Takes a gradient back through a train-step, with the gradient by x in the caller's memory.</summary>
    /// <param name="step">The train-step; it may have been disposed, its x must be as it was.</param>
    /// <param name="dy">Gradient of the loss by y, in the shape of x.</param>
    /// <param name="dx">Receives the gradient by x; at least as long as x, and elsewhere.</param>
    /// <param name="options">What else is asked for; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call; the update may have been made.</param>
    public Task<Gradients> BackwardAsync(
        TrainStep step, ReadOnlyMemory<float> dy, Memory<float> dx, BackwardOptions? options = null, CancellationToken cancellationToken = default) =>
        _calls.BackwardAsync(step, dy, dx, options, cancellationToken);

    /// <summary>Takes a gradient back through an input of which the service has kept nothing.</summary>
    /// <param name="x">The input of the forward pass.</param>
    /// <param name="shape">Its dimensions.</param>
    /// <param name="dy">Gradient of the loss by y, in the shape of x.</param>
    /// <param name="options">What else is asked for; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call; the update may have been made.</param>
    public Task<Gradients> BackwardAsync(ReadOnlyMemory<float> x, IReadOnlyList<int> shape, ReadOnlyMemory<float> dy, InputBackwardOptions? options = null,
        CancellationToken cancellationToken = default) => _calls.BackwardAsync(x, shape, dy, null, options, cancellationToken);

    /// <summary>This caller as one of several ranks, each with a part of a batch, whose calls are joined.</summary>
    /// <param name="group">Name of the group, the same for all ranks.</param>
    /// <param name="rank">Number of this rank, from 0.</param>
    /// <param name="worldSize">Number of ranks, 1 to 1,024.</param>
    public SyncRank Sync(string group, int rank, int worldSize) => new(_connection, Name, group, rank, worldSize);

    /// <summary>Folds the session into a layer before or after it; changes nothing.</summary>
    /// <param name="layer">What the layer is.</param>
    /// <param name="weight">Its weight, in the layout of the options; by default as PyTorch has it.</param>
    /// <param name="shape">Dimensions of the weight.</param>
    /// <param name="options">What else the layer is; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<FoldedLayer> FoldAsync(
        FoldableLayer layer, ReadOnlyMemory<float> weight, IReadOnlyList<int> shape, FoldOptions? options = null, CancellationToken cancellationToken = default)
    {
        options ??= FoldOptions.Default;
        var message = new SafetensorsMessage().Add("weight", weight, LayerCalls.Checked(weight, shape, "weight")).Add("layer", ClientJson.Name(layer))
            .Add("groups", Text(options.Groups)).Add("position", ClientJson.Name(options.Position)).Add("layout", ClientJson.Name(options.Layout));
        if (options.Bias is { } bias) message.Add("bias", bias);
        if (options.Padding is { } padding) message.Add("padding", $"[{string.Join(',', padding.Select(number => Text(number)))}]");
        if (options.Version is { } version) message.Add("version", Text(version));
        return _connection.SendAsync(Call("fold", HttpMethod.Post, "/fold").With(message), async (content, token) =>
            new FoldedLayer(await SafetensorsAnswer.ReadAsync(content, weight.Length, null, default, token).ConfigureAwait(false)), cancellationToken);
    }

    private Task<InferredBatch> InferAsync(
        InputTensor x, IReadOnlyList<int> shape, Memory<float>? y, InferOptions? options, CancellationToken cancellationToken)
    {
        options ??= InferOptions.Default;
        var dimensions = LayerCalls.Checked(x, shape);
        LayerCalls.RequireOutput(y, x.Length, "y", x.Singles, options.Residual);
        var message = new SafetensorsMessage().Add("x", x, dimensions);
        if (!options.Residual.IsEmpty) message.Add("residual", options.Residual, LayerCalls.Checked(options.Residual, dimensions, "residual"));
        message.AddOwn(options.Gamma, options.Beta);
        var query = options.Version is { } version ? $"?version={Text(version)}" : "";
        var call = Call("inference", HttpMethod.Post, $"/inference{query}") with { MinVersion = options.MinVersion };
        return _connection.SendAsync(call.With(message), async (content, token) =>
            new InferredBatch(await SafetensorsAnswer.ReadAsync(content, x.Length, y is null ? null : "y", y ?? default, token).ConfigureAwait(false)), cancellationToken);
    }

    private ServiceCall Call(string name, HttpMethod method, string path) => new(name, method, _path + path) { Session = Name };

    private static string Text(long number) => number.ToString(System.Globalization.CultureInfo.InvariantCulture);
}
