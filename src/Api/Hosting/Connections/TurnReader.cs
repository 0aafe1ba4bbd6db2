using System.IO.Pipelines;

namespace BnService.Api.Hosting.Connections;

/// <summary>What a connection has received, to be read when it is its turn.</summary>
internal sealed class TurnReader(PipeReader inner, ConnectionPlace place) : PipeReader
{
    public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default)
    {
        ValueTask<ReadResult> read;
        try
        {
            read = inner.ReadAsync(cancellationToken);
        }
        catch (InvalidOperationException)
        {
            // The server has not given back what it read. It keeps a body that has come as a whole until all of it was taken; where its
            // client goes before, it skips nothing, and reads on for a next request, which cannot come. Giving back this end ends that read
            // as well.
            return new(new ReadResult(default, isCanceled: false, isCompleted: true));
        }
        return place.Turns is { } turns ? InTurnAsync(turns, read) : read;
    }

    public override bool TryRead(out ReadResult result) => inner.TryRead(out result);

    public override void AdvanceTo(SequencePosition consumed) => inner.AdvanceTo(consumed);

    public override void AdvanceTo(SequencePosition consumed, SequencePosition examined) => inner.AdvanceTo(consumed, examined);

    public override void CancelPendingRead() => inner.CancelPendingRead();

    public override void Complete(Exception? exception = null) => inner.Complete(exception);

    public override ValueTask CompleteAsync(Exception? exception = null) => inner.CompleteAsync(exception);

    private static async ValueTask<ReadResult> InTurnAsync(ReadingTurns turns, ValueTask<ReadResult> reading)
    {
        var read = await reading;
        if (!read.IsCompleted && !read.IsCanceled) await turns.NextAsync();
        return read;
    }
}
