using System.IO.Pipelines;

namespace BnService.Api.Wire;

/// <summary>
/// A body whose reads can be given up. The server takes a read that a token has ended for one that goes on: it could not skip the rest of the
/// body then, and would log that. So its reader is told itself, and what it has is given back.
/// </summary>
/// <param name="inner">The body.</param>
internal sealed class BodyReader(PipeReader inner) : PipeReader
{
    /// <inheritdoc/>
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

    /// <inheritdoc/>
    public override bool TryRead(out ReadResult result) => inner.TryRead(out result);

    /// <inheritdoc/>
    public override void AdvanceTo(SequencePosition consumed) => inner.AdvanceTo(consumed);

    /// <inheritdoc/>
    public override void AdvanceTo(SequencePosition consumed, SequencePosition examined) => inner.AdvanceTo(consumed, examined);

    /// <inheritdoc/>
    public override void CancelPendingRead() => inner.CancelPendingRead();

    /// <inheritdoc/>
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
