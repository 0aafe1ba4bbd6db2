using System.Net.Http.Headers;
using System.Text;

namespace BnService.Api.Tests.Memory;

/// <summary>Many clients that send large batches at once, in all forms; none of them reads before it has sent everything.</summary>
public sealed class Storm(Uri address, int clients, int bytes)
{
    private const int Channels = 1024;

    /// <summary>How many were answered 200, and how many 503. Any other end fails.</summary>
    public async Task<(int Done, int Refused)> RunAsync(Func<int, string>? call = null)
    {
        using var http = new HttpClient(new SocketsHttpHandler { ConnectTimeout = TimeSpan.FromMinutes(5) }) { BaseAddress = address, Timeout = TimeSpan.FromMinutes(10) };
        foreach (var options in (string[])["""{"name":"batch","num_features":1024}""", """{"name":"rows","kind":"layer_norm","normalized_shape":[1024]}"""])
        {
            using var created = await http.PostAsync(new Uri("/v1/sessions", UriKind.Relative), ServiceClient.JsonContent(options));
        }
        var (array, json) = (Array(), Json());
        var ends = await Task.WhenAll(Enumerable.Range(0, clients).Select(i => Task.Run(() => SendAsync(http, (call ?? Call)(i), array, json))));
        Assert.All(ends, end => Assert.True(end.Status is 200 or 503, $"{end.Status} {end.What}"));
        return (ends.Count(end => end.Status == 200), ends.Count(end => end.Status == 503));
    }

    // Each form that a large batch takes its own way in.
    private static string Call(int i) => (i % 8) switch
    {
        0 => "batch/train-step?retain=false",
        1 => "batch/train-step?retain=true",
        2 => "rows/train-step?retain=false",
        3 => "batch/inference",
        4 => "rows/inference",
        5 => "batch/calibration/batches",
        6 => "batch/inference json",
        _ => "batch/train-step?retain=true",
    };

    private static async Task<(int Status, string What)> SendAsync(HttpClient http, string call, byte[] array, byte[] json)
    {
        var isJson = call.EndsWith(" json", StringComparison.Ordinal);
        using var content = ServiceClient.Content(isJson ? Forms.Json : Forms.Npy, isJson ? json : array);
        using var request = new HttpRequestMessage(HttpMethod.Post, new Uri($"/v1/sessions/{call.Split(' ')[0]}", UriKind.Relative)) { Content = content };
        if (call.Contains("calibration", StringComparison.Ordinal)) request.Headers.Accept.Add(new MediaTypeWithQualityHeaderValue(Forms.Json));
        try
        {
            using var response = await http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
            if ((int)response.StatusCode != 200)
            {
                var text = await response.Content.ReadAsStringAsync();
                Assert.Contains("\"overloaded\"", text, StringComparison.Ordinal);
                Assert.True(response.Headers.RetryAfter?.Delta > TimeSpan.Zero, "no Retry-After");
                return ((int)response.StatusCode, text);
            }
            await response.Content.CopyToAsync(Stream.Null);
            return (200, "");
        }
        catch (HttpRequestException exception)
        {
            return (0, $"{call}: {exception}");
        }
        catch (IOException exception)
        {
            return (0, $"{call}: {exception}");
        }
    }

    private byte[] Array()
    {
        var rows = bytes / sizeof(float) / Channels;
        var elements = new float[rows * Channels];
        for (var i = 0; i < elements.Length; i++) elements[i] = i * 0.6180339f % 1;
        return ArrayFile.Of($"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {Channels}), }}", System.Runtime.InteropServices.MemoryMarshal.AsBytes(elements.AsSpan()).ToArray());
    }

    // Fewer bytes: text takes long to read.
    private byte[] Json()
    {
        var rows = Math.Max(2, bytes / 64 / Channels);
        var text = new StringBuilder($"{{\"x\":{{\"shape\":[{rows},{Channels}],\"data\":[");
        for (var i = 0; i < rows * Channels; i++) text.Append(i == 0 ? "" : ",").Append("0.").Append(i % 97 + 100);
        return Encoding.UTF8.GetBytes(text.Append("]}}").ToString());
    }
}
