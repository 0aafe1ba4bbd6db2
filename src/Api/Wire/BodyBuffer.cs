using BnService.Core.Tensors;

namespace BnService.Api.Wire;

/// <summary>
/// A part of a request's body in one piece of pooled memory. It grows with what has really arrived, never with what was announced.
/// </summary>
/// <param name="expected">How many bytes are to come, where it is known; it grows no further than to them, so that little lies idle.</param>
internal sealed class BodyBuffer(long? expected = null) : IByteConsumer, IDisposable
{
    private const int FirstLength = 16 << 10;
    private NativeBuffer _memory = NativeBuffer.Rent(FirstLength);

    /// <summary>Number of bytes.</summary>
    public int Length { get; private set; }

    /// <summary>The bytes.</summary>
    public ReadOnlySpan<byte> Bytes => _memory.Span<byte>(Length);

    /// <summary>Reads a request's body to its end.</summary>
    /// <param name="request">The request.</param>
    /// <param name="limit">The largest body in bytes.</param>
    /// <exception cref="Errors.ProblemException">The body is over the limit; if Content-Length says so, before a byte is read.</exception>
    public static ValueTask<BodyBuffer> ReadAsync(HttpRequest request, long limit)
    {
        var bytes = new RequestBytes(request, limit);
        bytes.RequireAllowedLength();
        return bytes.ReadBufferAsync(null, "it");
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();

    /// <inheritdoc/>
    public ValueTask TakenAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <inheritdoc/>
    public void Take(ReadOnlySpan<byte> bytes)
    {
        var length = Length + bytes.Length;
        if (length > _memory.Length)
        {
            var larger = NativeBuffer.Rent(Math.Max(length, Math.Min(2 * _memory.Length, expected ?? int.MaxValue)));
            Bytes.CopyTo(larger.Span<byte>(Length));
            _memory.Dispose();
            _memory = larger;
        }
        bytes.CopyTo(_memory.Span<byte>(length)[Length..]);
        Length = length;
    }
}
