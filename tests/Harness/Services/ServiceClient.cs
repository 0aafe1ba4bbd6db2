using System.Net.Http.Headers;
using System.Text;

namespace BnService.Harness;

/// <summary>Sends requests as a client of the service does.</summary>
public sealed class ServiceClient(HttpClient http)
{
    public Task<Answer> GetAsync(string path, params (string Name, string Value)[] headers) =>
        SendAsync(HttpMethod.Get, path, null, headers);

    public Task<Answer> PostAsync(string path, string? json, params (string Name, string Value)[] headers) =>
        SendAsync(HttpMethod.Post, path, JsonContent(json), headers);

    public Task<Answer> PutAsync(string path, string? json, params (string Name, string Value)[] headers) =>
        SendAsync(HttpMethod.Put, path, JsonContent(json), headers);

    public Task<Answer> PatchAsync(string path, string? json, params (string Name, string Value)[] headers) =>
        SendAsync(HttpMethod.Patch, path, JsonContent(json), headers);

    public Task<Answer> DeleteAsync(string path, params (string Name, string Value)[] headers) =>
        SendAsync(HttpMethod.Delete, path, null, headers);

    public Task<Answer> SendAsync(HttpMethod method, string path, HttpContent? content, params (string Name, string Value)[] headers) =>
        SendAsync(method, path, content, CancellationToken.None, headers);

    /// <summary>Posts JSON, and hangs up when the token says so.</summary>
    public Task<Answer> PostAsync(string path, string json, CancellationToken hangUp, params (string Name, string Value)[] headers) =>
        SendAsync(HttpMethod.Post, path, JsonContent(json), hangUp, headers);

    private async Task<Answer> SendAsync(
        HttpMethod method, string path, HttpContent? content, CancellationToken hangUp, params (string Name, string Value)[] headers)
    {
        using var request = new HttpRequestMessage(method, new Uri(path, UriKind.Relative)) { Content = content };
        foreach (var (name, value) in headers) Assert.True(request.Headers.TryAddWithoutValidation(name, value), $"header {name}");
        using var response = await http.SendAsync(request, hangUp);
        return await Answer.ReadAsync(response);
    }

    /// <summary>Posts a body of any form.</summary>
    public Task<Answer> PostAsync(string path, string form, byte[] body, params (string Name, string Value)[] headers) =>
        SendAsync(HttpMethod.Post, path, Content(form, body), headers);

    /// <summary>Puts a body of any form.</summary>
    public Task<Answer> PutAsync(string path, string form, byte[] body, params (string Name, string Value)[] headers) =>
        SendAsync(HttpMethod.Put, path, Content(form, body), headers);

    /// <summary>Creates a session with these options, of which num_features is one.</summary>
    public async Task<SessionClient> CreateAsync(string options)
    {
        var answer = await PostAsync("/v1/sessions", options);
        return new SessionClient(this, answer.Expect(201).Name);
    }

    /// <summary>A body of JSON; null for no body.</summary>
    public static HttpContent? JsonContent(string? json) => json is null ? null : JsonContent(Encoding.UTF8.GetBytes(json));

    /// <summary>A body that says it is JSON.</summary>
    public static HttpContent JsonContent(byte[] body) => Content(Forms.Json, body);

    /// <summary>A body that says what it is.</summary>
    public static HttpContent Content(string form, byte[] body) => new ByteArrayContent(body) { Headers = { ContentType = new MediaTypeHeaderValue(form) } };
}
