using System.Buffers;
using BnService.Api.Hosting.Problems;
using BnService.Core.Tensors;
using Microsoft.AspNetCore.Connections;

namespace BnService.Api.Wire;

/// <summary>
/// A request's body in one piece of pooled memory. It grows with what has really arrived, never with what was announced, and is
/// given back however reading ends.
/// </summary>
internal sealed class BodyBuffer : IDisposable
{
    private const int FirstLength = 16 << 10;
    private NativeBuffer _memory = NativeBuffer.Rent(FirstLength);

    private BodyBuffer()
    {
    }

    /// <summary>Number of bytes in the body.</summary>
    public int Length { get; private set; }

    /// <summary>The body's bytes.</summary>
    public ReadOnlySpan<byte> Bytes => _memory.Span<byte>(Length);

    /// <summary>Reads a request's body to its end.</summary>
    /// <param name="request">The request.</param>
    /// <param name="limit">The largest body in bytes.</param>
    /// <exception cref="ProblemException">The body is over the limit; if Content-Length says so, before a byte is read.</exception>
    public static async ValueTask<BodyBuffer> ReadAsync(HttpRequest request, long limit)
    {
        if (request.ContentLength > limit) throw TooLarge(limit, request.ContentLength.Value.ToString());
        var body = new BodyBuffer();
        try
        {
            await body.FillAsync(request, limit);
            return body;
        }
        catch (Exception exception)
        {
            body.Dispose();
            if (Refusal(exception, limit) is { } refusal) throw refusal;
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();

    private async Task FillAsync(HttpRequest request, long limit)
    {
        var reader = request.BodyReader;
        while (true)
        {
            var read = await reader.ReadAsync(request.HttpContext.RequestAborted);
            if (Length + read.Buffer.Length > limit) throw TooLarge(limit, $"{Length + read.Buffer.Length} or more");
            Append(read.Buffer);
            reader.AdvanceTo(read.Buffer.End);
            if (read.IsCompleted) break;
        }
    }

    private void Append(ReadOnlySequence<byte> bytes)
    {
        var length = Length + (int)bytes.Length;
        if (length > _memory.Length)
        {
            var larger = NativeBuffer.Rent(Math.Max(length, Math.Min(2 * _memory.Length, int.MaxValue)));
            Bytes.CopyTo(larger.Span<byte>(Length));
            _memory.Dispose();
            _memory = larger;
        }
        bytes.CopyTo(_memory.Span<byte>(length)[Length..]);
        Length = length;
    }

    // What of a failure is the sender's doing and has no status of its own yet; null for any other.
    private static ProblemException? Refusal(Exception exception, long limit) => exception switch
    {
        BadHttpRequestException { StatusCode: StatusCodes.Status413PayloadTooLarge } => TooLarge(limit, "more"),
        BadHttpRequestException or ConnectionResetException => null,
        // What gzip, deflate and br say of bytes that are none of theirs.
        InvalidDataException or InvalidOperationException { Source: "System.IO.Compression.Brotli" } =>
            new ProblemException(ProblemCode.MalformedBody, $"the body is not what Content-Encoding says: {exception.Message}"),
        // Kestrel's word for some chunks that are none.
        IOException => new ProblemException(ProblemCode.BadRequest, $"the body cannot be read: {exception.Message}"),
        _ => null,
    };

    private static ProblemException TooLarge(long limit, string length) =>
        new(ProblemCode.PayloadTooLarge, $"the body must be at most {limit} bytes (Limits:MaxBodyBytes), got {length}");
}
