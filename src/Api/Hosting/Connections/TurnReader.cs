using System.IO.Pipelines;

namespace BnService.Api.Hosting.Connections;

/// <summary>What a connection has received, to be read when it is its turn.</summary>
internal sealed class TurnReader(PipeReader inner, ConnectionPlace place) : PipeReader
{
    /// <inheritdoc/>
    public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default) =>
        place.Turns is { } turns ? ReadInTurnAsync(turns, cancellationToken) : inner.ReadAsync(cancellationToken);

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

    private async ValueTask<ReadResult> ReadInTurnAsync(ReadingTurns turns, CancellationToken cancellationToken)
    {
        var read = await inner.ReadAsync(cancellationToken);
        if (!read.IsCompleted && !read.IsCanceled) await turns.NextAsync();
        return read;
    }
}
