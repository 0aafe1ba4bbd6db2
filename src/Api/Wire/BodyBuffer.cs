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
            // Kestrel's word for some chunks that are none; what it knows to be a bad request has a status of its own.
            if (exception is not IOException || exception is BadHttpRequestException or ConnectionResetException) throw;
            throw new ProblemException(ProblemCode.BadRequest, $"the body cannot be read: {exception.Message}");
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

    private static ProblemException TooLarge(long limit, string length) =>
        new(ProblemCode.PayloadTooLarge, $"the body must be at most {limit} bytes (Limits:MaxBodyBytes), got {length}");
}
