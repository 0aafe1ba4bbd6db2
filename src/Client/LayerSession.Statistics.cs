using BnService.Client.Sending;
using BnService.Client.Wire;

namespace BnService.Client;

/// <content>Snapshots, and exact statistics of a data set.</content>
public sealed partial class LayerSession
{
    /// <summary>Freezes the newest state under its version, which inference, fold and state can ask for from then on.</summary>
    /// <param name="description">What is to be said of it, in at most 256 characters.</param>
    /// <param name="ifMatch">The version that the session must have; null for any.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<Snapshot> CreateSnapshotAsync(string? description = null, long? ifMatch = null, CancellationToken cancellationToken = default) =>
        SendAsync("create snapshot", HttpMethod.Post, "/snapshots", new NewSnapshot(description), ClientJson.Default.NewSnapshot, ifMatch,
            ClientJson.Default.Snapshot, cancellationToken);

    /// <summary>The snapshots, newest first.</summary>
    /// <param name="cancellationToken">Ends the call.</param>
    public async Task<IReadOnlyList<Snapshot>> ListSnapshotsAsync(CancellationToken cancellationToken = default) =>
        (await _connection.SendAsync(Call("list snapshots", HttpMethod.Get, "/snapshots"), ClientJson.Default.SnapshotList, cancellationToken)
            .ConfigureAwait(false)).Snapshots;

    /// <summary>A snapshot with its numbers.</summary>
    /// <param name="version">Its version.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<SnapshotDetails> GetSnapshotAsync(long version, CancellationToken cancellationToken = default) =>
        _connection.SendAsync(Call("get snapshot", HttpMethod.Get, $"/snapshots/{Text(version)}"), ClientJson.Default.SnapshotDetails, cancellationToken);

    /// <summary>Deletes a snapshot; the session stays as it is.</summary>
    /// <param name="version">Its version.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task DeleteSnapshotAsync(long version, CancellationToken cancellationToken = default) =>
        GoneAsync(Call("delete snapshot", HttpMethod.Delete, $"/snapshots/{Text(version)}"), ProblemCodes.VersionNotFound, cancellationToken);

    /// <summary>Makes a frozen state, its options included, the newest one again, under a new version.</summary>
    /// <param name="version">Version of the snapshot.</param>
    /// <param name="ifMatch">The version that the session must have; null for any.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<LayerState> RestoreSnapshotAsync(long version, long? ifMatch = null, CancellationToken cancellationToken = default) =>
        _connection.SendAsync(Call("restore snapshot", HttpMethod.Post, $"/snapshots/{Text(version)}/restore") with { IfMatch = ifMatch },
            ClientJson.Default.LayerState, cancellationToken);

    /// <summary>
    /// Applies gradients that were summed elsewhere, over several calls or machines, to gamma and beta. Counts once, however often it has to
    /// be sent.
    /// </summary>
    /// <param name="dgamma">Gradient of the loss by gamma; null leaves gamma as it is.</param>
    /// <param name="dbeta">Gradient of the loss by beta; null leaves beta as it is.</param>
    /// <param name="update">How they change the parameters.</param>
    /// <param name="ifMatch">The version that the session must have; null for any.</param>
    /// <param name="idempotencyKey">Names the update, so that it is made once even across this program's own end; null for a key of the client's.</param>
    /// <param name="cancellationToken">Ends the call; the update may have been made.</param>
    public Task<Parameters> UpdateAsync(IReadOnlyList<double>? dgamma, IReadOnlyList<double>? dbeta, ParameterUpdate update, long? ifMatch = null,
        string? idempotencyKey = null, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(update);
        var call = Keyed("update", HttpMethod.Post, "/update", ifMatch);
        return _connection.SendAsync(call with
        {
            Key = LayerCalls.KeyOf(idempotencyKey) ?? call.Key,
            Body = ServiceCall.JsonBody(new GradientUpdate(dgamma, dbeta, update), ClientJson.Default.GradientUpdate),
        }, ClientJson.Default.Parameters, cancellationToken);
    }

    /// <summary>
    /// Adds a batch to the exact statistics of a data set; the running ones stay until <see cref="CommitCalibrationAsync"/>. Counts once,
    /// however often it has to be sent.
    /// </summary>
    /// <param name="x">The batch.</param>
    /// <param name="shape">Its dimensions.</param>
    /// <param name="ifMatch">The version that the session must have; null for any.</param>
    /// <param name="mask">One value per sample, or per position: what has false does not count. Empty for all.</param>
    /// <param name="maskShape">Dimensions of the mask where it has a value per position; null for one value per sample.</param>
    /// <param name="cancellationToken">Ends the call; the batch may have been added.</param>
    public Task<PopulationStatistics> AddCalibrationBatchAsync(ReadOnlyMemory<float> x, IReadOnlyList<int> shape, long? ifMatch = null,
        ReadOnlyMemory<bool> mask = default, IReadOnlyList<int>? maskShape = null, CancellationToken cancellationToken = default) =>
        AddBatchAsync(x, shape, ifMatch, mask, maskShape, cancellationToken);

    private Task<PopulationStatistics> AddBatchAsync(
        InputTensor x, IReadOnlyList<int> shape, long? ifMatch, ReadOnlyMemory<bool> mask, IReadOnlyList<int>? maskShape, CancellationToken cancellationToken)
    {
        var message = new SafetensorsMessage().Add("x", x, LayerCalls.Checked(x, shape)).AddMask(mask, maskShape);
        var call = Keyed("add calibration batch", HttpMethod.Post, "/calibration/batches", ifMatch) with { Body = message.ToContent };
        return _connection.SendAsync(call, ClientJson.Default.PopulationStatistics, cancellationToken);
    }

    /// <summary>Replaces the running statistics by what was gathered.</summary>
    /// <param name="ifMatch">The version that the session must have; null for any.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<RunningStatistics> CommitCalibrationAsync(long? ifMatch = null, CancellationToken cancellationToken = default) =>
        _connection.SendAsync(Keyed("commit calibration", HttpMethod.Post, "/calibration/commit", ifMatch), ClientJson.Default.RunningStatistics, cancellationToken);

    /// <summary>Forgets what was gathered and not committed.</summary>
    /// <param name="ifMatch">The version that the session must have; null for any.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task DropCalibrationAsync(long? ifMatch = null, CancellationToken cancellationToken = default) =>
        _connection.SendAsync(Keyed("drop calibration", HttpMethod.Delete, "/calibration", ifMatch), cancellationToken);

    /// <summary>Adds statistics gathered elsewhere to what this session gathers, all or none. Counts once, however often it has to be sent.</summary>
    /// <param name="moments">Statistics that another service has computed; null for none.</param>
    /// <param name="sessions">Other sessions by name or id; null for none.</param>
    /// <param name="ifMatch">The version that the session must have; null for any.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<PopulationStatistics> MergeAsync(
        IReadOnlyList<Moments>? moments, IReadOnlyList<string>? sessions = null, long? ifMatch = null, CancellationToken cancellationToken = default)
    {
        var body = ServiceCall.JsonBody(new MergeRequest(moments, sessions), ClientJson.Default.MergeRequest);
        return _connection.SendAsync(Keyed("merge", HttpMethod.Post, "/merge", ifMatch) with { Body = body }, ClientJson.Default.PopulationStatistics, cancellationToken);
    }

    private ServiceCall Keyed(string name, HttpMethod method, string path, long? ifMatch) =>
        Call(name, method, path) with { Key = ServiceCall.NewKey(), IfMatch = ifMatch };
}
