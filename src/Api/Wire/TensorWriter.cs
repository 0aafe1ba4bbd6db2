using System.Buffers;
using System.IO.Pipelines;
using System.Runtime.InteropServices;
using BnService.Api.Errors;
using BnService.Core.Tensors;

namespace BnService.Api.Wire;

/// <summary>Writes a tensor's elements as they are, little-endian: computed or copied into the answer's own memory.</summary>
internal static class TensorWriter
{
    // What is written before the client is given the chance to take it: bounds the memory of an answer of any size.
    private const int FlushBytes = 64 << 10;

    private const int FewestBytes = 4096, ConvertedElements = 1024;
    /// <summary>Writes all elements: those of a float32 tensor as the type says, those of a float64 one as they are.</summary>
    public static async ValueTask WriteAsync(PipeWriter output, TensorSource source, ElementType type, CancellationToken cancellationToken)
    {
        for (int written = 0, unflushed = 0; written < source.Shape.Count;)
        {
            var count = WriteSome(output, source, type, written);
            written += count;
            unflushed += count * type.Size();
            if (unflushed < FlushBytes) continue;
            unflushed = 0;
            await FlushAsync(output, cancellationToken);
        }
    }

    /// <summary>Gives the client the chance to take what has been written.</summary>
    public static async ValueTask FlushAsync(PipeWriter output, CancellationToken cancellationToken) =>
        RequireReader(await output.FlushAsync(cancellationToken));

    /// <summary>Ends writing where the client no longer reads.</summary>
    public static void RequireReader(FlushResult flushed)
    {
        if (flushed.IsCompleted || flushed.IsCanceled) throw new ClientGoneException();
    }

    private static int WriteSome(PipeWriter output, TensorSource source, ElementType type, int start)
    {
        var size = type.Size();
        var left = (source.Shape.Count - start) * (long)size;
        var span = output.GetSpan((int)Math.Min(left, FewestBytes));
        var isConverted = type != ElementTypes.Of(source.Precision);
        var count = Math.Min((int)Math.Min(left, span.Length) / size, isConverted ? ConvertedElements : int.MaxValue);
        span = span[..(count * size)];
        if (isConverted) Convert(source, type, start, span);
        else if (type == ElementType.F64) source.CopyTo(start, MemoryMarshal.Cast<byte, double>(span));
        else source.CopyTo(start, MemoryMarshal.Cast<byte, float>(span));
        output.Advance(span.Length);
        return count;
    }

    private static void Convert(TensorSource source, ElementType type, int start, Span<byte> bytes)
    {
        Span<float> values = stackalloc float[bytes.Length / type.Size()];
        source.CopyTo(start, values);
        type.FromSingles(values, bytes);
    }
}

/// <summary>
/// Writes an answer while its request is still arriving. Most clients send all of a request before they read: waiting for such a client
/// to take what has been written, without reading on, would be waiting for ever. So what it does not take soon goes into pooled memory,
/// at most as much as the answer is long; a client that reads meanwhile is answered with memory that does not grow.
/// </summary>
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

    /// <summary>
    /// The most memory that an answer, or the rest of one, takes here: its blocks are nearly full, but for the first and the last.
    /// </summary>
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

    public void Advance(int bytes)
    {
        if (_flush is null) output.Advance(bytes);
        else _blockLength += bytes;
    }

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
            // A client that takes something is waited for, so that it never finds more waiting than it was slow for; one that does not is
            // not.
            if (!_isTaking) return;
            await Task.WhenAny(_flush!, Task.Delay(Patience, cancellationToken));
            _isTaking = _flush!.IsCompleted;
        }
    }

    /// <summary>
    /// Sends what waits, until something else has happened: the client may send more only when it has seen the answer so far.
    /// </summary>
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

    public async ValueTask CompleteAsync(CancellationToken cancellationToken)
    {
        while (_flush is not null)
        {
            await Task.WhenAny(_flush);
            await FlushAsync(cancellationToken);
        }
        TensorWriter.RequireReader(await output.FlushAsync(cancellationToken));
    }

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
