using System.Buffers;
using System.IO.Pipelines;
using BnService.Core.Tensors;

namespace BnService.Api.Wire;

/// <summary>
/// Writes an answer while its request is still arriving. Most clients send all of a request before they read: waiting for such a client
/// to take what has been written, without reading on, would be waiting for ever. So what it does not take soon goes into pooled memory,
/// at most as much as the answer is long; a client that reads meanwhile is answered with memory that does not grow.
/// </summary>
/// <param name="output">Where the answer goes.</param>
internal sealed class OverflowingWriter(PipeWriter output) : IDisposable
{
    private const int BlockLength = 256 << 10;

    // Long enough for a reading client to be found reading, short enough to cost the others little.
    private static readonly TimeSpan Patience = TimeSpan.FromMilliseconds(2);

    private readonly Queue<(NativeBuffer Block, int Length)> _overflow = new();
    private NativeBuffer? _block;
    private int _blockLength;
    private Task<FlushResult>? _flush;
    private bool _isTaking;

    /// <summary>The most memory that an answer, or the rest of one, takes here: its blocks are nearly full, but for the first and the last.</summary>
    public static long MostBytes(long answer) => answer + (answer / 32) + (2 * BlockLength);

    /// <summary>Memory to write to.</summary>
    /// <param name="fewest">The fewest bytes of it; not more than 64 KiB.</param>
    public Span<byte> GetSpan(int fewest)
    {
        if (_flush is null) return output.GetSpan(fewest);
        if (_block is not null && _block.Length - _blockLength < fewest) Put();
        _block ??= NativeBuffer.Rent(BlockLength);
        return _block.Span<byte>((int)_block.Length)[_blockLength..];
    }

    /// <summary>Counts what has been written.</summary>
    public void Advance(int bytes)
    {
        if (_flush is null) output.Advance(bytes);
        else _blockLength += bytes;
    }

    /// <summary>Writes bytes.</summary>
    public void Write(ReadOnlySpan<byte> bytes)
    {
        while (!bytes.IsEmpty)
        {
            var span = GetSpan(1);
            var count = Math.Min(span.Length, bytes.Length);
            bytes[..count].CopyTo(span);
            Advance(count);
            bytes = bytes[count..];
        }
    }

    /// <summary>Sends what the client takes, without waiting for more than a moment.</summary>
    public async ValueTask FlushAsync(CancellationToken cancellationToken)
    {
        if (_flush is null)
        {
            var flush = output.FlushAsync(cancellationToken);
            if (flush.IsCompleted)
            {
                TensorWriter.RequireReader(await flush);
                return;
            }
            _flush = flush.AsTask();
            _isTaking = true;
        }
        while (true)
        {
            // What waits goes first.
            while (_flush is { IsCompleted: true })
            {
                TensorWriter.RequireReader(await _flush);
                _flush = null;
                _isTaking = true;
                if (_block is not null) Put();
                if (!_overflow.TryDequeue(out var next)) return;
                _flush = WriteAsync(next, cancellationToken);
            }
            // A client that takes something is waited for, so that it never finds more waiting than it was slow for; one that does not is not.
            if (!_isTaking) return;
            await Task.WhenAny(_flush!, Task.Delay(Patience, cancellationToken));
            _isTaking = _flush!.IsCompleted;
        }
    }

    /// <summary>Sends what waits, until something else has happened: the client may send more only when it has seen the answer so far.</summary>
    /// <param name="other">What ends it.</param>
    /// <param name="cancellationToken">Ends sending.</param>
    public async ValueTask DrainAsync(Task other, CancellationToken cancellationToken)
    {
        try
        {
            while (_flush is not null && !other.IsCompleted)
            {
                await Task.WhenAny(_flush, other);
                if (_flush.IsCompleted) await FlushAsync(cancellationToken);
            }
        }
        catch (OperationCanceledException)
        {
            // The client is gone, which ends the other as well: it is not left alone with the connection.
        }
    }

    /// <summary>Sends everything, however long the client takes.</summary>
    public async ValueTask CompleteAsync(CancellationToken cancellationToken)
    {
        while (_flush is not null)
        {
            await Task.WhenAny(_flush);
            await FlushAsync(cancellationToken);
        }
        TensorWriter.RequireReader(await output.FlushAsync(cancellationToken));
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _block?.Dispose();
        while (_overflow.TryDequeue(out var waiting)) waiting.Block.Dispose();
    }

    private void Put()
    {
        _overflow.Enqueue((_block!, _blockLength));
        (_block, _blockLength) = (null, 0);
    }

    private Task<FlushResult> WriteAsync((NativeBuffer Block, int Length) waiting, CancellationToken cancellationToken)
    {
        using (waiting.Block) output.Write(waiting.Block.Span<byte>(waiting.Length));
        return output.FlushAsync(cancellationToken).AsTask();
    }
}
