using System.Globalization;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using BnService.Client.Wire;

namespace BnService.Client.Sending;

/// <summary>A call of the service, which may have to be sent more than once.</summary>
/// <param name="Name">What it is called in logs and traces.</param>
/// <param name="Method">HTTP method.</param>
/// <param name="Path">Path and query below the address of the service.</param>
internal sealed record ServiceCall(string Name, HttpMethod Method, string Path)
{
    // Beyond it, a body is worth asking first whether it is wanted: one that is too large or comes to nobody is not sent at all.
    private const long LargeBody = 1 << 20;

    /// <summary>Media type of JSON.</summary>
    public const string Json = "application/json";

    /// <summary>Name of the session that it is about, or null.</summary>
    public string? Session { get; init; }

    /// <summary>Makes the body of an attempt; null for none.</summary>
    public Func<HttpContent>? Body { get; init; }

    /// <summary>Media type of the answer.</summary>
    public string Accept { get; init; } = Json;

    /// <summary>Under which the service counts the call once, however often it comes; null where it cannot.</summary>
    public string? Key { get; init; }

    /// <summary>The version that the session must have; null for any.</summary>
    public long? IfMatch { get; init; }

    /// <summary>The version that the state must have at least; null for any.</summary>
    public long? MinVersion { get; init; }

    /// <summary>Whether the call may be sent again where nobody knows if it was made.</summary>
    public bool IsRepeatable { get; init; } = true;

    /// <summary>A key that no other call has.</summary>
    public static string NewKey() => Guid.NewGuid().ToString("N");

    /// <summary>A body of JSON.</summary>
    public static Func<HttpContent> JsonBody<T>(T value, JsonTypeInfo<T> contract)
    {
        var bytes = JsonSerializer.SerializeToUtf8Bytes(value, contract);
        return BytesBody(bytes, Json);
    }

    /// <summary>A body of bytes.</summary>
    public static Func<HttpContent> BytesBody(ReadOnlyMemory<byte> bytes, string mediaType) =>
        () => new ReadOnlyMemoryContent(bytes) { Headers = { ContentType = new MediaTypeHeaderValue(mediaType) } };

    /// <summary>The call with tensors to send and to receive.</summary>
    public ServiceCall With(SafetensorsMessage message) => this with { Body = message.ToContent, Accept = SafetensorsMessage.MediaType };

    /// <summary>The request of an attempt.</summary>
    /// <param name="http">Whose version of HTTP it is to have.</param>
    /// <param name="address">Address of the service, which ends with a slash.</param>
    /// <param name="apiKey">The caller's key, or null.</param>
    public HttpRequestMessage ToRequest(HttpClient http, Uri address, string? apiKey)
    {
        var request = new HttpRequestMessage(Method, new Uri(address, Path))
        {
            Content = Body?.Invoke(),
            Version = http.DefaultRequestVersion,
            VersionPolicy = http.DefaultVersionPolicy,
        };
        request.Headers.Accept.ParseAdd(Accept);
        if (request.Content?.Headers.ContentLength > LargeBody) request.Headers.ExpectContinue = true;
        if (apiKey is not null) request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", apiKey);
        if (Key is not null) request.Headers.Add("Idempotency-Key", Key);
        if (IfMatch is { } version) request.Headers.IfMatch.Add(new EntityTagHeaderValue(string.Create(CultureInfo.InvariantCulture, $"\"{version}\"")));
        if (MinVersion is { } least) request.Headers.Add("Bn-Min-Version", least.ToString(CultureInfo.InvariantCulture));
        return request;
    }
}
