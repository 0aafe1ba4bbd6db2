using System.Text;

namespace BnService.Harness;

/// <summary>The calls of one session.</summary>
public sealed class SessionClient(ServiceClient client, string name)
{
    public string Name { get; } = name;

    public string Path { get; } = $"/v1/sessions/{name}";

    public Task<Answer> GetAsync() => client.GetAsync(Path);

    public Task<Answer> StatsAsync() => client.GetAsync($"{Path}/stats");

    public Task<Answer> DiagnosticsAsync() => client.GetAsync($"{Path}/diagnostics");

    public Task<Answer> HistoryAsync(string query = "") => client.GetAsync($"{Path}/history{query}");

    public Task<Answer> DeleteAsync(params (string Name, string Value)[] headers) => client.DeleteAsync(Path, headers);

    public Task<Answer> PatchAsync(string json, params (string Name, string Value)[] headers) => client.PatchAsync(Path, json, headers);

    public Task<Answer> ResetAsync(string? json, params (string Name, string Value)[] headers) =>
        client.PostAsync($"{Path}/reset", json, headers);

    public Task<Answer> PutParametersAsync(string json, params (string Name, string Value)[] headers) =>
        client.PutAsync($"{Path}/parameters", json, headers);

    public Task<Answer> PutRunningStatsAsync(string json, params (string Name, string Value)[] headers) =>
        client.PutAsync($"{Path}/running-stats", json, headers);

    /// <summary>A train-step with a body of the caller's.</summary>
    public Task<Answer> TrainAsync(string json, params (string Name, string Value)[] headers) =>
        client.PostAsync($"{Path}/train-step", json, headers);

    public Task<Answer> TrainAsync(byte[] json) => client.SendAsync(HttpMethod.Post, $"{Path}/train-step", ServiceClient.JsonContent(json));

    public Task<Answer> TrainAsync(Batch x, bool retain = false) =>
        TrainAsync($$"""{"x":{{x.Json}},"retain":{{(retain ? "true" : "false")}}}""");

    /// <summary>An inference with a body of the caller's.</summary>
    public Task<Answer> InferAsync(string json) => client.PostAsync($"{Path}/inference", json);

    public Task<Answer> InferAsync(Batch x) => InferAsync($$"""{"x":{{x.Json}}}""");

    /// <summary>A backward with a body of the caller's.</summary>
    public Task<Answer> BackwardAsync(string json, params (string Name, string Value)[] headers) =>
        client.PostAsync($"{Path}/backward", json, headers);

    /// <summary>Backward through a retained step.</summary>
    public Task<Answer> BackwardAsync(string stepId, Batch dy, string? update = null) =>
        BackwardAsync($$"""{"step_id":"{{stepId}}","dy":{{dy.Json}}{{With(update)}}}""");

    /// <summary>Backward through x.</summary>
    public Task<Answer> BackwardAsync(Batch x, Batch dy, string? mode = null, string? update = null) =>
        BackwardAsync($$"""{"x":{{x.Json}},"dy":{{dy.Json}}{{(mode is null ? "" : $",\"mode\":\"{mode}\"")}}{{With(update)}}}""");

    /// <summary>A calibration batch with a body of the caller's.</summary>
    public Task<Answer> CalibrateAsync(string json, params (string Name, string Value)[] headers) =>
        client.PostAsync($"{Path}/calibration/batches", json, headers);

    public Task<Answer> CalibrateAsync(Batch x) => CalibrateAsync($$"""{"x":{{x.Json}}}""");

    public Task<Answer> CommitAsync(params (string Name, string Value)[] headers) =>
        client.PostAsync($"{Path}/calibration/commit", null, headers);

    public Task<Answer> DropCalibrationAsync(params (string Name, string Value)[] headers) =>
        client.DeleteAsync($"{Path}/calibration", headers);

    public Task<Answer> MergeAsync(string json, params (string Name, string Value)[] headers) =>
        client.PostAsync($"{Path}/merge", json, headers);

    /// <summary>A call with a message in one of the forms.</summary>
    public Task<Answer> PostAsync(string call, Message message, string form, string type = "F32", params (string Name, string Value)[] headers) =>
        client.PostAsync($"{Path}/{call}{message.Query(form)}", form, message.Body(form, type), headers);

    /// <summary>A call with a body of the caller's in one of the forms.</summary>
    public Task<Answer> PostAsync(string call, string form, byte[] body, params (string Name, string Value)[] headers) =>
        client.PostAsync($"{Path}/{call}", form, body, headers);

    /// <summary>Freezes the newest state.</summary>
    public Task<Answer> SnapshotAsync(string? json = null, params (string Name, string Value)[] headers) =>
        client.PostAsync($"{Path}/snapshots", json, headers);

    public Task<Answer> SnapshotsAsync() => client.GetAsync($"{Path}/snapshots");

    public Task<Answer> GetSnapshotAsync(object version) => client.GetAsync($"{Path}/snapshots/{version}");

    public Task<Answer> DeleteSnapshotAsync(object version) => client.DeleteAsync($"{Path}/snapshots/{version}");

    public Task<Answer> RestoreAsync(object version, params (string Name, string Value)[] headers) =>
        client.PostAsync($"{Path}/snapshots/{version}/restore", null, headers);

    /// <summary>An inference with a snapshot.</summary>
    public Task<Answer> InferAsync(Batch x, object version) => client.PostAsync($"{Path}/inference?version={version}", $$"""{"x":{{x.Json}}}""");

    /// <summary>An inference with a state as new as this version.</summary>
    public Task<Answer> InferSinceAsync(Batch x, object version) =>
        client.PostAsync($"{Path}/inference", $$"""{"x":{{x.Json}}}""", ("Bn-Min-Version", $"{version}"));

    public Task<Answer> FoldAsync(string json) => client.PostAsync($"{Path}/fold", json);

    /// <summary>A call with a path of the caller's behind the session's.</summary>
    public Task<Answer> SendAsync(HttpMethod method, string path, HttpContent? content, params (string Name, string Value)[] headers) =>
        client.SendAsync(method, $"{Path}/{path}", content, headers);

    /// <summary>The whole state in JSON.</summary>
    public Task<Answer> GetStateAsync(params (string Name, string Value)[] headers) => client.GetAsync($"{Path}/state", headers);

    /// <summary>Puts a whole state in one of the forms.</summary>
    public Task<Answer> PutStateAsync(string form, byte[] body, params (string Name, string Value)[] headers) =>
        client.PutAsync($"{Path}/state", form, body, headers);

    /// <summary>Everything that can be read of the session: what an answer that is not 2xx must leave as it was.</summary>
    public async Task<string> StateAsync()
    {
        var (resource, stats) = (await GetAsync(), await StatsAsync());
        return new StringBuilder()
            .Append(resource.Expect(200).ETag).Append(resource.Text)
            .Append(stats.Expect(200).ETag).Append(stats.Text).ToString();
    }

    /// <summary>Sends something that is to be refused and makes sure that nothing has changed.</summary>
    public async Task<Answer> RefusedAsync(Func<SessionClient, Task<Answer>> call)
    {
        var before = await StateAsync();
        var answer = await call(this);
        Assert.True(answer.Status >= 400, $"expected a refusal, got {answer.Status}: {answer.Text}");
        Assert.Equal(before, await StateAsync());
        return answer;
    }

    private static string With(string? update) => update is null ? "" : $",\"update\":{update}";
}
