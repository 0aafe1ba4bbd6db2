using System.Globalization;
using BnService.Client.Sending;

namespace BnService.Client;

/// <summary>
/// One of several ranks, each of which has a part of a batch: their calls wait for each other, and are normalized with the statistics of
/// all. A rank that does not come ends the step for all (<see cref="ProblemCodes.SyncTimeout"/>), and nothing has changed.
/// </summary>
public sealed class SyncRank
{
    private readonly LayerCalls _calls;

    internal SyncRank(ServiceConnection connection, string session, string group, int rank, int worldSize)
    {
        ArgumentException.ThrowIfNullOrEmpty(group);
        ArgumentOutOfRangeException.ThrowIfLessThan(worldSize, 1);
        ArgumentOutOfRangeException.ThrowIfNegative(rank);
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual(rank, worldSize);
        (Group, Rank, WorldSize) = (group, rank, worldSize);
        var query = string.Create(CultureInfo.InvariantCulture, $"?rank={rank}&world_size={worldSize}");
        _calls = new LayerCalls(connection, session, $"v1/sessions/{session}/sync/{Uri.EscapeDataString(group)}", query, isJoint: true);
    }

    /// <summary>Name of the group.</summary>
    public string Group { get; }

    /// <summary>Number of this rank, from 0.</summary>
    public int Rank { get; }

    /// <summary>Number of ranks.</summary>
    public int WorldSize { get; }

    /// <summary>Trains on this rank's part of a batch.</summary>
    /// <param name="x">The part; it may be empty.</param>
    /// <param name="shape">Its dimensions.</param>
    /// <param name="options">What else is asked for; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call; the step may have been made.</param>
    public Task<TrainStep> TrainStepAsync(
        ReadOnlyMemory<float> x, IReadOnlyList<int> shape, TrainStepOptions? options = null, CancellationToken cancellationToken = default) =>
        _calls.TrainStepAsync(x, shape, null, options, cancellationToken);

    /// <summary>
    /// Takes a gradient back through a step of all ranks. Where the service has this rank's part no more, its x is sent again; the ranks
    /// must go the same way, so that a step that only some have lost ends for all after a while.
    /// </summary>
    /// <param name="step">This rank's train-step.</param>
    /// <param name="dy">Gradient of the loss by y, in the shape of x.</param>
    /// <param name="options">What else is asked for, the same for all ranks; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call; the update may have been made.</param>
    public Task<Gradients> BackwardAsync(TrainStep step, ReadOnlyMemory<float> dy, BackwardOptions? options = null, CancellationToken cancellationToken = default) =>
        _calls.BackwardAsync(step, dy, null, options, cancellationToken);

    /// <summary>Trains on this rank's part of a batch of float64.</summary>
    /// <param name="x">The part; it may be empty.</param>
    /// <param name="shape">Its dimensions.</param>
    /// <param name="options">What else is asked for; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call; the step may have been made.</param>
    public Task<TrainStep> TrainStepAsync(
        ReadOnlyMemory<double> x, IReadOnlyList<int> shape, TrainStepOptions? options = null, CancellationToken cancellationToken = default) =>
        _calls.TrainStepAsync(x, shape, null, options, cancellationToken);

    /// <summary>Takes a gradient of float64 back through a step of all ranks.</summary>
    /// <param name="step">This rank's train-step.</param>
    /// <param name="dy">Gradient of the loss by y, in the shape of x.</param>
    /// <param name="options">What else is asked for, the same for all ranks; null for nothing.</param>
    /// <param name="cancellationToken">Ends the call; the update may have been made.</param>
    public Task<Gradients> BackwardAsync(TrainStep step, ReadOnlyMemory<double> dy, BackwardOptions? options = null, CancellationToken cancellationToken = default) =>
        _calls.BackwardAsync(step, dy, null, options, cancellationToken);
}
