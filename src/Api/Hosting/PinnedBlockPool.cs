using System.Buffers;
using System.Collections.Concurrent;
using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using BnService.Core.Tensors;
using Microsoft.AspNetCore.Connections;

namespace BnService.Api.Hosting;

/// <summary>
/// The memory that bodies are received into and answers sent from: blocks of 64 KiB, pinned for the sockets. The server's own blocks of
/// 4 KiB cost a system call each, which is most of what a large body costs; they are used where connections hold much memory. What they
/// hold is part of the memory budget.
/// </summary>
internal sealed class PinnedBlockPoolFactory : IMemoryPoolFactory<byte>
{
    // Of the memory budget.
    private const int Part = 8;

    private readonly ConcurrentQueue<PinnedBlockPool> _pools = new();
    private readonly MemoryBudget? _budget;

    /// <summary>A factory of blocks.</summary>
    /// <param name="budget">What they are counted in, if in anything.</param>
    public PinnedBlockPoolFactory(MemoryBudget? budget = null)
    {
        _budget = budget;
        Blocks = new PinnedBlocks { Share = budget?.Limit / Part ?? long.MaxValue };
    }

    /// <summary>The blocks of all pools that were made here.</summary>
    public PinnedBlocks Blocks { get; }

    public MemoryPool<byte> Create(MemoryPoolOptions? options = null)
    {
        if (_budget is not null)
        {
            (_budget.Unasked, _budget.KeptForUnasked) = (() => Blocks.RentedBytes, Blocks.Share);
            Blocks.Freed = () => _budget.Freed?.Invoke();
        }
        var pool = new PinnedBlockPool(Blocks);
        _pools.Enqueue(pool);
        return pool;
    }

    /// <summary>
    /// Leaves the blocks that nobody uses to the collector. It cannot move pinned ones: a few that are kept hold the memory around them.
    /// </summary>
    public void Trim()
    {
        foreach (var pool in _pools) pool.Trim();
    }
}

/// <summary>How much memory there is in blocks.</summary>
internal sealed class PinnedBlocks
{
    private long _rented, _idle;

    /// <summary>Bytes beyond which connections are closed for what they hold. From half of it on, blocks are small.</summary>
    public long Share { get; init; } = long.MaxValue;

    /// <summary>Called when more than the share is in use; must be quick.</summary>
    public Action? Overdrawn { get; set; }

    /// <summary>Called when a block comes back while more than the share was in use; must be quick.</summary>
    public Action? Freed { get; set; }

    /// <summary>Bytes of the blocks in use.</summary>
    public long RentedBytes => Interlocked.Read(ref _rented);

    /// <summary>Bytes of the blocks that wait for the next use.</summary>
    public long IdleBytes => Interlocked.Read(ref _idle);

    /// <summary>Whether blocks are to be small, so that a connection holds little more than what it has sent.</summary>
    public bool IsTight => RentedBytes > Share / 2;

    /// <summary>Bytes have gone from one place to the other.</summary>
    public void Move(long rented, long idle)
    {
        if (idle != 0) Interlocked.Add(ref _idle, idle);
        if (rented == 0) return;
        var now = Interlocked.Add(ref _rented, rented);
        if (Math.Max(now, now - rented) > Share) (rented > 0 ? Overdrawn : Freed)?.Invoke();
    }
}

/// <summary>Blocks of two sizes, of which a bounded number waits for the next use; the collector takes the others.</summary>
/// <param name="blocks">Counts them.</param>
internal sealed class PinnedBlockPool(PinnedBlocks blocks) : MemoryPool<byte>
{
    /// <summary>Bytes of a block.</summary>
    public const int BlockLength = 64 << 10;

    /// <summary>Bytes of a block where connections hold much memory.</summary>
    public const int SmallLength = 4 << 10;

    // 32 MiB: more are in use only while many large bodies are on their way.
    private const int MostIdle = 512;

    private readonly ConcurrentQueue<Block> _idle = new(), _idleSmall = new();
    private int _idleCount, _idleSmallCount;

    public override int MaxBufferSize => BlockLength;

    public override IMemoryOwner<byte> Rent(int minBufferSize = -1)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(minBufferSize, BlockLength);
        var isSmall = minBufferSize <= SmallLength && blocks.IsTight;
        var length = isSmall ? SmallLength : BlockLength;
        if (!(isSmall ? _idleSmall : _idle).TryDequeue(out var block))
        {
            blocks.Move(length, 0);
            return new Block(this, length);
        }
        Interlocked.Decrement(ref isSmall ? ref _idleSmallCount : ref _idleCount);
        blocks.Move(length, -length);
        return block.Rented();
    }

    protected override void Dispose(bool disposing) => Trim();

    /// <summary>Leaves the blocks that nobody uses to the collector.</summary>
    public void Trim()
    {
        Trim(_idle, ref _idleCount);
        Trim(_idleSmall, ref _idleSmallCount);
    }

    private void Trim(ConcurrentQueue<Block> idle, ref int count)
    {
        while (idle.TryDequeue(out var block))
        {
            Interlocked.Decrement(ref count);
            blocks.Move(0, -block.Memory.Length);
            block.Drop();
        }
    }

    private void Return(Block block)
    {
        var length = block.Memory.Length;
        var isSmall = length == SmallLength;
        ref var count = ref isSmall ? ref _idleSmallCount : ref _idleCount;
        if (Interlocked.Increment(ref count) <= MostIdle && blocks.IdleBytes < blocks.Share / 2)
        {
            blocks.Move(-length, length);
            (isSmall ? _idleSmall : _idle).Enqueue(block);
            return;
        }
        Interlocked.Decrement(ref count);
        blocks.Move(-length, 0);
        block.Drop();
    }

    private void Forget(Block block) => blocks.Move(-block.Memory.Length, 0);

    [SuppressMessage("Design", "CA1816", Justification = "A block that is given back is used again.")]
    private sealed class Block(PinnedBlockPool pool, int length) : IMemoryOwner<byte>
    {
        private int _isReturned;

        public Memory<byte> Memory { get; } =
            MemoryMarshal.CreateFromPinnedArray(GC.AllocateUninitializedArray<byte>(length, pinned: true), 0, length);

        public Block Rented()
        {
            _isReturned = 0;
            return this;
        }

        // The server forgets some blocks of connections that break off; they must not be counted forever.
        ~Block()
        {
            if (_isReturned == 0) pool.Forget(this);
        }

        /// <summary>Nobody will use it again: the collector need not ask.</summary>
        public void Drop() => GC.SuppressFinalize(this);

        // A block that is given back twice would be used by two connections at once.
        public void Dispose()
        {
            if (Interlocked.Exchange(ref _isReturned, 1) == 0) pool.Return(this);
        }
    }
}
