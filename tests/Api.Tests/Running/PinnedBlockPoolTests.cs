using BnService.Api.Hosting;

namespace BnService.Api.Tests.Running;

public sealed class PinnedBlockPoolTests
{
    [Fact]
    public void A_block_is_64_KiB_and_used_again()
    {
        using var pool = new PinnedBlockPoolFactory().Create();
        var block = pool.Rent();
        var memory = block.Memory;
        Assert.Equal((64 << 10, 64 << 10), (memory.Length, pool.MaxBufferSize));
        block.Dispose();
        Assert.True(memory.Equals(pool.Rent(1).Memory), "another block");
        Assert.Equal(64 << 10, pool.Rent(64 << 10).Memory.Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => pool.Rent((64 << 10) + 1));
    }

    [Fact]
    public void A_block_that_is_given_back_twice_is_rented_once()
    {
        using var pool = new PinnedBlockPool(new PinnedBlocks());
        var block = pool.Rent();
        block.Dispose();
        block.Dispose();
        Assert.False(pool.Rent().Memory.Equals(pool.Rent().Memory), "two renters share a block");
    }

    [Fact]
    public void A_bounded_number_waits_for_its_next_use()
    {
        using var pool = new PinnedBlockPool(new PinnedBlocks());
        var blocks = Enumerable.Range(0, 600).Select(_ => pool.Rent()).ToList();
        var known = blocks.Select(block => block.Memory).ToHashSet();
        Assert.Equal(600, known.Count);
        blocks.ForEach(block => block.Dispose());
        Assert.Equal(512, Enumerable.Range(0, 600).Count(_ => known.Contains(pool.Rent().Memory)));
    }

    [Fact]
    public void Threads_never_share_a_block()
    {
        using var pool = new PinnedBlockPool(new PinnedBlocks());
        Parallel.For(0, 8, worker =>
        {
            for (var i = 0; i < 2000; i++)
            {
                using var block = pool.Rent();
                block.Memory.Span[0] = (byte)worker;
                Thread.Yield();
                Assert.Equal((byte)worker, block.Memory.Span[0]);
            }
        });
    }

    [Fact]
    public void Memory_does_not_move()
    {
        using var pool = new PinnedBlockPool(new PinnedBlocks());
        using var block = pool.Rent();
        using var before = block.Memory.Pin();
        GC.Collect();
        using var after = block.Memory.Pin();
        unsafe
        {
            Assert.True(before.Pointer == after.Pointer);
        }
    }

    [Fact]
    public void A_pool_that_has_ended_still_takes_blocks_back()
    {
        var pool = new PinnedBlockPool(new PinnedBlocks());
        var block = pool.Rent();
        pool.Dispose();
        block.Dispose();
        Assert.Equal(64 << 10, pool.Rent().Memory.Length);
    }

    [Fact]
    public void Blocks_are_small_from_half_of_the_share_on_and_more_than_it_is_told()
    {
        var told = 0;
        var blocks = new PinnedBlocks { Share = 256 << 10, Overdrawn = () => told++ };
        using var pool = new PinnedBlockPool(blocks);
        var rented = Enumerable.Range(0, 19).Select(_ => pool.Rent()).ToList();
        Assert.Equal([64 << 10, 64 << 10, 64 << 10, 4 << 10, 4 << 10], rented.Take(5).Select(block => block.Memory.Length));
        Assert.Equal(0, told);
        // Whoever asks for more gets it.
        rented.Add(pool.Rent((4 << 10) + 1));
        Assert.Equal((64 << 10, 1), (rented[^1].Memory.Length, told));
        rented.ForEach(block => block.Dispose());
        Assert.Equal(0, blocks.RentedBytes);
        Assert.InRange(blocks.IdleBytes, 64 << 10, 192 << 10);
    }

    [Fact]
    public async Task A_block_that_its_renter_has_forgotten_is_not_counted_forever()
    {
        var blocks = new PinnedBlocks();
        using var pool = new PinnedBlockPool(blocks);
        for (var i = 0; i < 10; i++) Assert.Equal(64 << 10, pool.Rent().Memory.Length);
        Assert.Equal(10 * 64 << 10, blocks.RentedBytes);
        await Eventually.TrueAsync(() =>
        {
            GC.Collect();
            GC.WaitForPendingFinalizers();
            // The last one may still lie on the stack.
            return blocks.RentedBytes <= 64 << 10;
        }, "forgotten blocks are counted");
    }

    /// <summary>As it was, the last block of those that were too many came back without a word, and who waited for it went on waiting.</summary>
    [Fact]
    public void Each_block_that_comes_back_while_there_are_too_many_is_told()
    {
        var told = 0;
        var blocks = new PinnedBlocks { Share = 2 * PinnedBlockPool.BlockLength, Freed = () => told++ };
        using var pool = new PinnedBlockPool(blocks);
        var rented = Enumerable.Range(0, 4).Select(_ => pool.Rent(PinnedBlockPool.BlockLength)).ToList();
        rented.ForEach(block => block.Dispose());
        Assert.Equal(2, told);
    }
}
