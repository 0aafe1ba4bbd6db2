using System.Globalization;
using System.IO.Pipelines;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;

namespace BnService.Api.Endpoints;

/// <summary>Writes server-sent events.</summary>
/// <remarks>TypedResults.ServerSentEvents has no comments, which beat without being an event, and sends the head with the first event alone.</remarks>
/// <param name="body">Where to.</param>
internal sealed class EventStream(PipeWriter body)
{
    /// <summary>One event; what is written is sent by <see cref="FlushAsync"/>.</summary>
    /// <param name="name">Its name.</param>
    /// <param name="id">What the client names as the last one it has seen, or null.</param>
    /// <param name="data">Its data.</param>
    /// <param name="contract">How the data is written.</param>
    public void Write<T>(string name, long? id, T data, JsonTypeInfo<T> contract)
    {
        Text($"event: {name}\n");
        if (id is { } number) Text(string.Create(CultureInfo.InvariantCulture, $"id: {number}\n"));
        // JSON has no line breaks within it.
        Text($"data: {JsonSerializer.Serialize(data, contract)}\n\n");
    }

    /// <summary>A comment: it keeps the connection open and says nothing.</summary>
    public void Beat() => Text(":\n\n");

    /// <summary>Sends what is written.</summary>
    public async Task FlushAsync(CancellationToken cancellationToken) => await body.FlushAsync(cancellationToken);

    private void Text(string text)
    {
        var length = Encoding.UTF8.GetBytes(text, body.GetSpan(Encoding.UTF8.GetMaxByteCount(text.Length)));
        body.Advance(length);
    }
}
