using System.Runtime.InteropServices;
using BnService.Core.Tensors;

namespace BnService.Core.Tests.Tensors;

/// <summary>The pool counts for the whole process: nothing else may rent while its counters are looked at.</summary>
[CollectionDefinition(nameof(AloneInTheProcess), DisableParallelization = true)]
public sealed class AloneInTheProcess;

[Collection(nameof(AloneInTheProcess))]
public sealed unsafe class NativeBufferTests
{
    private static readonly long[] Lengths =
        [0, 1, 63, 64, 255, 256, 257, 300, 319, 320, 321, 383, 384, 511, 512, 513, 1000, 4095, 4096, 4097, 65535, 65537, 999_999,
            (1 << 20) + 1, (4 << 20) + 1];

    [Fact]
    public void A_buffer_is_long_enough_and_wastes_at_most_a_quarter()
    {
        foreach (var length in Lengths.Concat(Enumerable.Range(250, 5000).Select(n => (long)n)))
        {
            using var buffer = NativeBuffer.Rent(length);
            Assert.True(buffer.Length >= length, $"asked for {length}, got {buffer.Length}");
            if (length >= 256) Assert.True(4 * buffer.Length <= 5 * length, $"asked for {length}, got {buffer.Length}");
        }
    }

    [Fact]
    public void Long_buffers_go_back_to_the_operating_system_whatever_lies_between_them()
    {
        NativeBuffer.MapLongBuffers();
        var most = NativeBuffer.MostIdleBytes;
        var between = new List<nint>();
        NativeBuffer.MostIdleBytes = 0;
        try
        {
            // From here on glibc would take the next ones from its heaps.
            NativeBuffer.Rent(8 << 20).Dispose();
            var before = Environment.WorkingSet;
            var buffers = new List<NativeBuffer>();
            for (var i = 0; i < 40; i++)
            {
                buffers.Add(NativeBuffer.Rent(3 << 20));
                buffers[^1].Span<byte>(3 << 20).Fill(1);
                between.Add((nint)NativeMemory.Alloc(1000));
            }
            foreach (var buffer in buffers) buffer.Dispose();
            Assert.True(Environment.WorkingSet < before + (40 << 20), $"{(Environment.WorkingSet - before) >> 20} of 120 MiB are still there");
        }
        finally
        {
            NativeBuffer.MostIdleBytes = most;
            foreach (var block in between) NativeMemory.Free((void*)block);
        }
    }

    [Fact]
    public void A_buffer_is_aligned_to_a_cache_line_and_writable_to_its_end()
    {
        foreach (var length in Lengths)
        {
            using var buffer = NativeBuffer.Rent(length);
            Assert.Equal(0, (nint)buffer.Pointer % 64);
            buffer.Span<byte>((int)buffer.Length).Fill(0xCC);
            Assert.Equal(0xCC, buffer.Span<byte>((int)buffer.Length)[^1]);
        }
    }

    [Fact]
    public void Memory_that_was_given_back_is_rented_again()
    {
        // Large tests leave their memory in the pool, up to its limit: this takes it out for the moment, so that there is room.
        using NativeBuffer large1 = NativeBuffer.Rent(1 << 27), large2 = NativeBuffer.Rent(1 << 27);
        using NativeBuffer large3 = NativeBuffer.Rent(100 << 20), large4 = NativeBuffer.Rent(100 << 20);
        const long length = 7_777_777;
        var first = NativeBuffer.Rent(length);
        var address = (nint)first.Pointer;
        var idle = NativeBuffer.IdleBytes;
        first.Dispose();
        Assert.Equal(idle + first.Length, NativeBuffer.IdleBytes);
        using var second = NativeBuffer.Rent(length - 5);
        Assert.Equal(address, (nint)second.Pointer);
        Assert.Equal(idle, NativeBuffer.IdleBytes);
    }

    [Fact]
    public void Two_renters_never_share_memory()
    {
        var buffers = Enumerable.Range(0, 40).Select(_ => NativeBuffer.Rent(1000)).ToArray();
        Assert.Equal(buffers.Length, buffers.Select(b => (nint)b.Pointer).Distinct().Count());
        foreach (var buffer in buffers) buffer.Dispose();
    }

    [Fact]
    public void Renting_at_the_same_time_never_shares_memory_either()
    {
        var rented = NativeBuffer.RentedBytes;
        var clashes = 0;
        Parallel.For(0, 5000, new ParallelOptions { MaxDegreeOfParallelism = 8 }, i =>
        {
            using var buffer = NativeBuffer.Rent(700);
            var data = buffer.Span<int>(175);
            data.Fill(i);
            Thread.Yield();
            if (data.ContainsAnyExcept(i)) Interlocked.Increment(ref clashes);
        });
        Assert.Equal(0, clashes);
        Assert.Equal(rented, NativeBuffer.RentedBytes);
    }

    [Fact]
    public void The_count_of_rented_bytes_goes_back_to_where_it_was()
    {
        var before = NativeBuffer.RentedBytes;
        var buffers = Array.ConvertAll(Lengths, NativeBuffer.Rent);
        Assert.Equal(before + buffers.Sum(b => b.Length), NativeBuffer.RentedBytes);
        foreach (var buffer in buffers) buffer.Dispose();
        Assert.Equal(before, NativeBuffer.RentedBytes);
    }

    [Fact]
    public void Disposing_twice_gives_back_once()
    {
        var (rented, buffer) = (NativeBuffer.RentedBytes, NativeBuffer.Rent(5000));
        buffer.Dispose();
        var idle = NativeBuffer.IdleBytes;
        buffer.Dispose();
        Assert.Equal((rented, idle), (NativeBuffer.RentedBytes, NativeBuffer.IdleBytes));
        using NativeBuffer first = NativeBuffer.Rent(5000), second = NativeBuffer.Rent(5000);
        Assert.NotEqual((nint)first.Pointer, (nint)second.Pointer);
    }

    [Fact]
    public void Use_after_disposal_is_refused()
    {
        var buffer = NativeBuffer.Rent(100);
        buffer.Dispose();
        Assert.Throws<ObjectDisposedException>(() => buffer.Span<float>(1));
        Assert.Throws<ObjectDisposedException>(() => { _ = buffer.Pointer; });
    }

    [Fact]
    public void A_span_beyond_the_end_and_a_negative_length_are_refused()
    {
        using var buffer = NativeBuffer.Rent(256);
        Assert.Equal(64, buffer.Span<float>(64).Length);
        Assert.Throws<ArgumentOutOfRangeException>(() => buffer.Span<float>((int)(buffer.Length / 4) + 1));
        Assert.Throws<ArgumentOutOfRangeException>(() => NativeBuffer.Rent(-1));
    }

    [Fact]
    public void The_pool_keeps_a_limited_amount()
    {
        var buffers = Enumerable.Range(0, 5).Select(_ => NativeBuffer.Rent(100 << 20)).ToArray();
        foreach (var buffer in buffers) buffer.Dispose();
        Assert.InRange(NativeBuffer.IdleBytes, 0, 256 << 20);
    }

    [Fact]
    public void A_computation_gives_back_all_that_it_rents()
    {
        var before = NativeBuffer.RentedBytes;
        var batch = Expected.HardBatches.Of(columns: true, 300, 1e-5, (place, _) => place);
        var settings = ComputeSettings.Default;
        var moments = Forward.BatchMoments(batch.Plan, batch.X, settings);
        var map = Normalizers.AffineMap.Of(moments, batch.Gamma, batch.Beta, batch.Eps);
        Assert.True(NativeBuffer.RentedBytes > before);
        var dx = new float[batch.X.Length];
        Backward.Training(batch.Plan, batch.X, batch.Dy, moments, batch.Gamma, batch.Eps, dx, settings);
        Backward.Inference(batch.Plan, batch.X, batch.Dy, batch.Running, batch.Gamma, batch.Eps, dx, settings);
        map.Dispose();
        map.Dispose();
        Assert.Equal(before, NativeBuffer.RentedBytes);
    }
}
