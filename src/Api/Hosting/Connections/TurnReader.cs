using System.IO.Pipelines;

namespace BnService.Api.Hosting.Connections;

/// <summary>What a connection has received, to be read when it is its turn.</summary>
internal sealed class TurnReader(PipeReader inner, ConnectionPlace place) : PipeReader
{
    /// <inheritdoc/>
    public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default)
    {
        ValueTask<ReadResult> read;
        try
        {
            read = inner.ReadAsync(cancellationToken);
        }
        catch (InvalidOperationException)
        {
            // The server has not given back what it read. It keeps a body that has come as a whole until all of it was taken; where its client
            // goes before, it skips nothing, and reads on for a next request, which cannot come. Giving back this end ends that read as well.
            return new(new ReadResult(default, isCanceled: false, isCompleted: true));
        }
        return place.Turns is { } turns ? InTurnAsync(turns, read) : read;
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

    /// <inheritdoc/>
    public override ValueTask CompleteAsync(Exception? exception = null) => inner.CompleteAsync(exception);

    private static async ValueTask<ReadResult> InTurnAsync(ReadingTurns turns, ValueTask<ReadResult> reading)
    {
        var read = await reading;
        if (!read.IsCompleted && !read.IsCanceled) await turns.NextAsync();
        return read;
    }
}
