using System.Buffers;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Microsoft.AspNetCore.Connections;

namespace BnService.Api.Hosting;

/// <summary>
/// The memory that bodies are received into and answers sent from: blocks of 64 KiB, pinned for the sockets. The server's own blocks of
/// 4 KiB cost a system call each, which is most of what a large body costs.
/// </summary>
internal sealed class PinnedBlockPoolFactory : IMemoryPoolFactory<byte>
{
    /// <inheritdoc/>
    public MemoryPool<byte> Create(MemoryPoolOptions? options = null) => new PinnedBlockPool();
}

/// <summary>Blocks of one size, of which a bounded number waits for the next use; the collector takes the others.</summary>
internal sealed class PinnedBlockPool : MemoryPool<byte>
{
    /// <summary>Bytes of a block.</summary>
    public const int BlockLength = 64 << 10;

    // 32 MiB: more are in use only while many large bodies are on their way.
    private const int MostIdle = 512;

    private readonly ConcurrentQueue<Block> _idle = new();
    private int _idleCount;

    /// <inheritdoc/>
    public override int MaxBufferSize => BlockLength;

    /// <inheritdoc/>
    public override IMemoryOwner<byte> Rent(int minBufferSize = -1)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(minBufferSize, BlockLength);
        if (!_idle.TryDequeue(out var block)) return new Block(this);
        Interlocked.Decrement(ref _idleCount);
        return block.Rented();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => _idle.Clear();

    private void Return(Block block)
    {
        if (Interlocked.Increment(ref _idleCount) <= MostIdle) _idle.Enqueue(block);
        else Interlocked.Decrement(ref _idleCount);
    }

    private sealed class Block(PinnedBlockPool pool) : IMemoryOwner<byte>
    {
        private int _isReturned;

        public Memory<byte> Memory { get; } =
            MemoryMarshal.CreateFromPinnedArray(GC.AllocateUninitializedArray<byte>(BlockLength, pinned: true), 0, BlockLength);

        public Block Rented()
        {
            _isReturned = 0;
            return this;
        }

        // A block that is given back twice would be used by two connections at once.
        public void Dispose()
        {
            if (Interlocked.Exchange(ref _isReturned, 1) == 0) pool.Return(this);
        }
    }
}
