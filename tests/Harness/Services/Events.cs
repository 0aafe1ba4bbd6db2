using System.Net;
using System.Text.Json;

namespace BnService.Harness;

/// <summary>A client of server-sent events.</summary>
public sealed class Events(HttpClient http, HttpResponseMessage response, StreamReader reader) : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    public static async Task<Events> OpenAsync(Uri service, string path, params (string Name, string Value)[] headers)
    {
        var http = new HttpClient { BaseAddress = service };
        using var request = new HttpRequestMessage(HttpMethod.Get, new Uri(path, UriKind.Relative));
        foreach (var (name, value) in headers) request.Headers.TryAddWithoutValidation(name, value);
        var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType!.ToString());
        return new Events(http, response, new StreamReader(await response.Content.ReadAsStreamAsync()));
    }

    public async Task<(string Name, string? Id, JsonElement Data)> NextAsync()
    {
        var fields = new Dictionary<string, string>();
        while (true)
        {
            var line = await reader.ReadLineAsync().WaitAsync(Patience);
            Assert.NotNull(line);
            if (line.Length > 0 && line.Split(": ", 2) is [var name, var value]) fields[name] = value;
            if (line.Length == 0 && fields.TryGetValue("data", out var data)) return (fields["event"], fields.GetValueOrDefault("id"), JsonDocument.Parse(data).RootElement);
        }
    }

    public async Task<bool> HasEndedAsync()
    {
        try
        {
            while (await reader.ReadLineAsync().WaitAsync(Patience) is not null)
            {
            }
        }
        catch (IOException)
        {
            // Of a process that has ended.
        }
        return true;
    }

    public void Dispose()
    {
        reader.Dispose();
        response.Dispose();
        http.Dispose();
    }
}
