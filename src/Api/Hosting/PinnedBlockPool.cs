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
    private readonly ConcurrentQueue<PinnedBlockPool> _pools = new();

    /// <inheritdoc/>
    public MemoryPool<byte> Create(MemoryPoolOptions? options = null)
    {
        var pool = new PinnedBlockPool(Blocks);
        _pools.Enqueue(pool);
        return pool;
    }

    /// <summary>Leaves the blocks that nobody uses to the collector. It cannot move pinned ones: a few that are kept hold the memory around them.</summary>
    public void Trim()
    {
        foreach (var pool in _pools) pool.Trim();
    }

    /// <summary>The blocks of all pools that were made here.</summary>
    public PinnedBlocks Blocks { get; } = new();
}

/// <summary>How many blocks there are.</summary>
internal sealed class PinnedBlocks
{
    private long _rented, _idle;

    /// <summary>Bytes of the blocks in use.</summary>
    public long RentedBytes => Interlocked.Read(ref _rented) * PinnedBlockPool.BlockLength;

    /// <summary>Bytes of the blocks that wait for the next use.</summary>
    public long IdleBytes => Interlocked.Read(ref _idle) * PinnedBlockPool.BlockLength;

    /// <summary>Blocks have gone from one place to the other.</summary>
    public void Move(int rented, int idle)
    {
        if (rented != 0) Interlocked.Add(ref _rented, rented);
        if (idle != 0) Interlocked.Add(ref _idle, idle);
    }
}

/// <summary>Blocks of one size, of which a bounded number waits for the next use; the collector takes the others.</summary>
/// <param name="blocks">Counts them.</param>
internal sealed class PinnedBlockPool(PinnedBlocks blocks) : MemoryPool<byte>
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
        if (!_idle.TryDequeue(out var block))
        {
            blocks.Move(1, 0);
            return new Block(this);
        }
        Interlocked.Decrement(ref _idleCount);
        blocks.Move(1, -1);
        return block.Rented();
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => Trim();

    /// <summary>Leaves the blocks that nobody uses to the collector.</summary>
    public void Trim()
    {
        while (_idle.TryDequeue(out _))
        {
            Interlocked.Decrement(ref _idleCount);
            blocks.Move(0, -1);
        }
    }

    private void Return(Block block)
    {
        if (Interlocked.Increment(ref _idleCount) <= MostIdle)
        {
            blocks.Move(-1, 1);
            _idle.Enqueue(block);
            return;
        }
        Interlocked.Decrement(ref _idleCount);
        blocks.Move(-1, 0);
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
