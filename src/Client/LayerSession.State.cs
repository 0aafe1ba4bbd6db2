using System.Text.Json.Serialization.Metadata;
using BnService.Client.Sending;
using BnService.Client.Wire;

namespace BnService.Client;

/// <content>What a session is and has: options, statistics, parameters, and its whole state.</content>
public sealed partial class LayerSession
{
    private static readonly (StatsParts Part, string Name)[] PartNames =
    [
        (StatsParts.NumBatchesTracked, "num_batches_tracked"), (StatsParts.RunningMean, "running_mean"), (StatsParts.RunningVar, "running_var"),
        (StatsParts.Gamma, "gamma"), (StatsParts.Beta, "beta"), (StatsParts.LastBatch, "last_batch"), (StatsParts.Diagnostics, "diagnostics"),
    ];

    /// <summary>Options, version and counters.</summary>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<SessionInfo> GetAsync(CancellationToken cancellationToken = default) =>
        _connection.SendAsync(Call("get session", HttpMethod.Get, ""), ClientJson.Default.SessionInfo, cancellationToken);

    /// <summary>Changes options; what is null stays.</summary>
    /// <param name="changes">The changes.</param>
    /// <param name="ifMatch">The version that the session must have; null for any.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<SessionInfo> ChangeAsync(SessionChanges changes, long? ifMatch = null, CancellationToken cancellationToken = default) =>
        SendAsync("change session", HttpMethod.Patch, "", changes, ClientJson.Default.SessionChanges, ifMatch, ClientJson.Default.SessionInfo, cancellationToken);

    /// <summary>Deletes the session.</summary>
    /// <param name="ifMatch">The version that it must have; null for any.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task DeleteAsync(long? ifMatch = null, CancellationToken cancellationToken = default) =>
        GoneAsync(Call("delete session", HttpMethod.Delete, "") with { IfMatch = ifMatch }, ProblemCodes.SessionNotFound, cancellationToken);

    /// <summary>Takes running statistics and counters back to their start.</summary>
    /// <param name="parameters">Whether gamma, beta and the optimizer's buffers go back as well.</param>
    /// <param name="ifMatch">The version that the session must have; null for any.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<SessionInfo> ResetAsync(bool parameters = false, long? ifMatch = null, CancellationToken cancellationToken = default) =>
        SendAsync("reset session", HttpMethod.Post, "/reset", new ResetRequest(parameters), ClientJson.Default.ResetRequest, ifMatch,
            ClientJson.Default.SessionInfo, cancellationToken);

    /// <summary>Running statistics, parameters, the last batch and diagnostics.</summary>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<SessionStats> StatsAsync(CancellationToken cancellationToken = default) => StatsAsync(StatsParts.All, cancellationToken);

    /// <summary>Some of what <see cref="StatsAsync(CancellationToken)"/> answers.</summary>
    /// <param name="parts">What is asked for.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<SessionStats> StatsAsync(StatsParts parts, CancellationToken cancellationToken = default)
    {
        var names = PartNames.Where(part => parts.HasFlag(part.Part)).Select(part => part.Name).Append("version");
        var query = parts == StatsParts.All ? "" : $"?include={string.Join(',', names)}";
        return _connection.SendAsync(Call("stats", HttpMethod.Get, $"/stats{query}"), ClientJson.Default.SessionStats, cancellationToken);
    }

    /// <summary>What the state and the traffic say of each other, with numbers and remedies.</summary>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<SessionDiagnostics> DiagnosticsAsync(CancellationToken cancellationToken = default) =>
        _connection.SendAsync(Call("diagnostics", HttpMethod.Get, "/diagnostics"), ClientJson.Default.SessionDiagnostics, cancellationToken);

    /// <summary>The last train-steps that the node has answered, newest first.</summary>
    /// <param name="limit">How many at most, 1 to 1,024; null for the service's default.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public async Task<IReadOnlyList<HistoryLine>> HistoryAsync(int? limit = null, CancellationToken cancellationToken = default)
    {
        var call = Call("history", HttpMethod.Get, limit is { } most ? $"/history?limit={Text(most)}" : "/history");
        return (await _connection.SendAsync(call, ClientJson.Default.HistoryList, cancellationToken).ConfigureAwait(false)).Steps;
    }

    /// <summary>Sets gamma, beta or both; what is null stays.</summary>
    /// <param name="gamma">gamma, one finite value per parameter.</param>
    /// <param name="beta">beta, one finite value per parameter.</param>
    /// <param name="ifMatch">The version that the session must have; null for any.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<Parameters> PutParametersAsync(
        IReadOnlyList<double>? gamma, IReadOnlyList<double>? beta = null, long? ifMatch = null, CancellationToken cancellationToken = default) =>
        SendAsync("put parameters", HttpMethod.Put, "/parameters", new NewParameters(gamma, beta), ClientJson.Default.NewParameters, ifMatch,
            ClientJson.Default.Parameters, cancellationToken);

    /// <summary>Sets running statistics; what is null stays.</summary>
    /// <param name="mean">Running mean, one finite value per statistic.</param>
    /// <param name="variance">Running variance, one finite value of 0 or more per statistic.</param>
    /// <param name="numBatchesTracked">Number of batches, 0 or more.</param>
    /// <param name="ifMatch">The version that the session must have; null for any.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<RunningStatistics> PutRunningStatisticsAsync(IReadOnlyList<double>? mean, IReadOnlyList<double>? variance, long? numBatchesTracked = null,
        long? ifMatch = null, CancellationToken cancellationToken = default) =>
        SendAsync("put running statistics", HttpMethod.Put, "/running-stats", new NewRunningStatistics(mean, variance, numBatchesTracked),
            ClientJson.Default.NewRunningStatistics, ifMatch, ClientJson.Default.RunningStatistics, cancellationToken);

    /// <summary>Parameters and running statistics.</summary>
    /// <param name="version">Version of a snapshot; null for the newest state.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<LayerState> GetStateAsync(long? version = null, CancellationToken cancellationToken = default) =>
        _connection.SendAsync(Call("get state", HttpMethod.Get, StatePath(version)), ClientJson.Default.LayerState, cancellationToken);

    /// <summary>The whole state as a safetensors file with PyTorch's names, which <see cref="ImportStateAsync"/> takes back bit by bit.</summary>
    /// <param name="version">Version of a snapshot; null for the newest state.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    /// <returns>The file's bytes.</returns>
    public Task<byte[]> ExportStateAsync(long? version = null, CancellationToken cancellationToken = default) =>
        _connection.SendAsync(Call("export state", HttpMethod.Get, StatePath(version)) with { Accept = SafetensorsMessage.MediaType },
            ServiceConnection.ReadWholeAsync, cancellationToken);

    /// <summary>Replaces the state, or creates the session where there is none.</summary>
    /// <param name="safetensors">A file that export, or <c>safetensors.torch.save_file</c>, has written.</param>
    /// <param name="layer">Options of the layer where the file names none; null for those of the session, or batch normalization with its defaults.</param>
    /// <param name="convention">Whose convention the options and the running variance are meant in; null for PyTorch's.</param>
    /// <param name="ifMatch">The version that the session must have; null for any, and for none.</param>
    /// <param name="from">Prefix of the layer's names in a whole model's file, <c>layer1.0.bn1.</c>; null where the file has one layer.</param>
    /// <param name="cancellationToken">Ends the call.</param>
    public Task<LayerState> ImportStateAsync(ReadOnlyMemory<byte> safetensors, LayerOptions? layer = null, Convention? convention = null, long? ifMatch = null,
        string? from = null, CancellationToken cancellationToken = default)
    {
        var query = BnClient.Query("options", layer?.ToJson().ToJsonString()) + BnClient.Query("convention", convention is { } named ? ClientJson.Name(named) : null)
            + BnClient.Query("from", from);
        var call = Call("import state", HttpMethod.Put, $"/state{(query.Length == 0 ? "" : $"?{query[1..]}")}") with
        {
            Body = ServiceCall.BytesBody(safetensors, SafetensorsMessage.MediaType),
            IfMatch = ifMatch,
        };
        return _connection.SendAsync(call, ClientJson.Default.LayerState, cancellationToken);
    }

    // What is asked to be gone, and is gone when it is asked for again, was found by an attempt whose answer was lost.
    private async Task GoneAsync(ServiceCall call, string code, CancellationToken cancellationToken)
    {
        try
        {
            await _connection.SendAsync(call, cancellationToken).ConfigureAwait(false);
        }
        catch (BnServiceException exception) when (exception.MayHaveHappened && exception.Code == code)
        {
            // As it was to be.
        }
    }

    private Task<TAnswer> SendAsync<TBody, TAnswer>(string name, HttpMethod method, string path, TBody body, JsonTypeInfo<TBody> bodyContract, long? ifMatch,
        JsonTypeInfo<TAnswer> contract, CancellationToken cancellationToken) =>
        _connection.SendAsync(Call(name, method, path) with { Body = ServiceCall.JsonBody(body, bodyContract), IfMatch = ifMatch }, contract, cancellationToken);

    private static string StatePath(long? version) => version is { } frozen ? $"/state?version={Text(frozen)}" : "/state";
}
