using System.Buffers;
using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Microsoft.AspNetCore.Connections;

namespace BnService.Bench.Http.Servers;

/// <summary>
/// Makes pools of 64 KB blocks for Kestrel, as the service has them. TO BE REPLACED by the service's own, once that is in src/Api/Hosting:
/// the echo must run on the very class that the service runs on.
/// </summary>
internal sealed class PinnedBlocksFactory : IMemoryPoolFactory<byte>
{
    /// <inheritdoc/>
    public MemoryPool<byte> Create(MemoryPoolOptions? options = null) => new PinnedBlocks();
}

/// <summary>Blocks that lie still, so that the system can read and write them, and come back when they are disposed of.</summary>
internal sealed class PinnedBlocks : MemoryPool<byte>
{
    private const int BlockBytes = 64 << 10;

    private readonly ConcurrentQueue<Block> _free = new();

    /// <inheritdoc/>
    public override int MaxBufferSize => BlockBytes;

    /// <inheritdoc/>
    public override IMemoryOwner<byte> Rent(int minBufferSize = -1) => _free.TryDequeue(out var block) ? block : new Block(_free);

    /// <inheritdoc/>
    protected override void Dispose(bool disposing) => _free.Clear();

    private sealed class Block(ConcurrentQueue<Block> home) : IMemoryOwner<byte>
    {
        public Memory<byte> Memory { get; } =
            MemoryMarshal.CreateFromPinnedArray(GC.AllocateUninitializedArray<byte>(BlockBytes, pinned: true), 0, BlockBytes);

        public void Dispose() => home.Enqueue(this);
    }
}
