namespace BnService.EndToEnd.Endurance;

/// <summary>A client with a key that counts what it is answered, and fails on any answer that is not meant.</summary>
internal sealed class Client(Uri address, string? key, Tally tally) : IDisposable
{
    // What a request of less takes is granted whatever the others take.
    private const int SmallBytes = 64 << 10;

    private readonly HttpClient _http = new(new SocketsHttpHandler()) { BaseAddress = address, Timeout = TimeSpan.FromMinutes(3) };

    public Tally Tally => tally;

    public Uri Address => address;

    public string? Key => key;

    /// <summary>Sends a request and reads its answer.</summary>
    /// <param name="call">What it is counted as.</param>
    /// <param name="path">Path and query.</param>
    /// <param name="body">The body, with what it says it is.</param>
    /// <param name="statuses">What it may be answered; a large one also 503, for memory.</param>
    /// <param name="headers">More headers.</param>
    public async Task<Answer> SendAsync(Call call, string path, (string Form, byte[] Bytes)? body, int[] statuses, params (string Name, string Value)[] headers)
    {
        using var request = new HttpRequestMessage(new HttpMethod(call.Method), new Uri(path, UriKind.Relative));
        if (body is { } content) request.Content = ServiceClient.Content(content.Form, content.Bytes);
        if (key is not null) headers = [.. headers, KeyedService.Bearer(key)];
        foreach (var (name, value) in headers) Assert.True(request.Headers.TryAddWithoutValidation(name, value), name);
        using var response = await _http.SendAsync(request);
        var answer = await Answer.ReadAsync(response);
        tally.Answered(call, answer.Status);
        if (answer.Headers.ContainsKey("Idempotent-Replayed")) tally.Replayed();
        var what = $"{call.Method} {path} answered {answer.Status}: {(answer.Body.Length <= 1000 ? answer.Text : "")}";
        if (answer.Status == 503 && body?.Bytes.Length >= SmallBytes)
        {
            Assert.True(answer.Text.Contains("Memory:", StringComparison.Ordinal) && answer.Headers.ContainsKey("Retry-After"), what);
            return answer;
        }
        Assert.True(statuses.Contains(answer.Status), what);
        if (answer.Status is not (429 or 503)) ApiContract.Check(call.Method, path.Split('?')[0], answer);
        return answer;
    }

    public Task<Answer> SendAsync(Call call, string path, int status, string? json = null, params (string Name, string Value)[] headers) =>
        SendAsync(call, path, json is null ? null : (Forms.Json, System.Text.Encoding.UTF8.GetBytes(json)), [status], headers);

    public void Dispose() => _http.Dispose();
}
