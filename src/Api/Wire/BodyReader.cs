using System.IO.Pipelines;
using BnService.Core.Tensors;

namespace BnService.Api.Wire;

/// <summary>
/// A part of a request's body in one piece of pooled memory. It grows with what has really arrived, never with what was announced.
/// </summary>
/// <param name="expected">How many bytes are to come, where it is known; it grows no further than to them, so that little lies
/// idle.</param>
internal sealed class BodyBuffer(long? expected = null) : IByteConsumer, IDisposable
{
    private const int FirstLength = 16 << 10;
    private NativeBuffer _memory = NativeBuffer.Rent(FirstLength);

    public int Length { get; private set; }

    public ReadOnlySpan<byte> Bytes => _memory.Span<byte>(Length);

    /// <summary>Reads a request's body to its end.</summary>
    /// <exception cref="Errors.ProblemException">The body is over the limit; if Content-Length says so, before a byte is
    /// read.</exception>
    public static ValueTask<BodyBuffer> ReadAsync(HttpRequest request, long limit)
    {
        var bytes = new RequestBytes(request, limit);
        bytes.RequireAllowedLength();
        return bytes.ReadBufferAsync(null, "it");
    }

    public void Dispose() => _memory.Dispose();

    public ValueTask TakenAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

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

/// <summary>
/// A body whose reads can be given up. The server takes a read that a token has ended for one that goes on: it could not skip the rest of
/// the
/// body then, and would log that. So its reader is told itself, and what it has is given back.
/// </summary>
internal sealed class BodyReader(PipeReader inner) : PipeReader
{
    public override async ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var reading = inner.ReadAsync(CancellationToken.None);
        if (reading.IsCompleted) return await reading;
        ReadResult read;
        using (cancellationToken.UnsafeRegister(static body => Cancel((PipeReader)body!), inner)) read = await reading;
        if (!read.IsCanceled || !cancellationToken.IsCancellationRequested) return read;
        try
        {
            inner.AdvanceTo(read.Buffer.End);
        }
        catch (IOException)
        {
            // The client has reset the stream as well.
        }
        throw new OperationCanceledException(cancellationToken);
    }

    public override bool TryRead(out ReadResult result) => inner.TryRead(out result);

    public override void AdvanceTo(SequencePosition consumed) => inner.AdvanceTo(consumed);

    public override void AdvanceTo(SequencePosition consumed, SequencePosition examined) => inner.AdvanceTo(consumed, examined);

    public override void CancelPendingRead() => inner.CancelPendingRead();

    public override void Complete(Exception? exception = null) => inner.Complete(exception);

    private static void Cancel(PipeReader body)
    {
        try
        {
            body.CancelPendingRead();
        }
        catch (Exception exception) when (exception is OperationCanceledException or ObjectDisposedException or IOException)
        {
            // The connection is at its end, and the read ends with it.
        }
    }
}
