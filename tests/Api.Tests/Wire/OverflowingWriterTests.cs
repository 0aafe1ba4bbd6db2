using System.Buffers;
using System.IO.Pipelines;
using BnService.Api.Wire;

namespace BnService.Api.Tests.Wire;

[Collection(WholeProcess.Name)]
public sealed class OverflowingWriterTests : IDisposable
{
    private readonly long _rentedBefore = Service.RentedBytes;
    private readonly Pipe _pipe = new(new PipeOptions(pauseWriterThreshold: 4096, resumeWriterThreshold: 1024, useSynchronizationContext: false));

    /// <summary>A reader that comes late, early, slowly or all the time.</summary>
    [Theory]
    [InlineData(1_000, 7, 0)]
    [InlineData(100_000, 4096, 0)]
    [InlineData(2_000_000, 65536, 0)]
    [InlineData(2_000_000, 10_007, 20)]
    [InlineData(1_000_000, 333, 3)]
    [InlineData(1_000_000, 65536, 1)]
    public async Task Everything_comes_out_as_it_went_in(int length, int piece, int readsEvery)
    {
        var read = new MemoryStream();
        using (var writer = new OverflowingWriter(_pipe.Writer))
        {
            var random = new Random(length);
            for (var (written, step) = (0, 0); written < length; step++)
            {
                var count = Math.Min(length - written, 1 + random.Next(piece));
                var span = writer.GetSpan(Math.Min(count, random.Next(1, 65536)));
                count = Math.Min(count, span.Length);
                for (var i = 0; i < count; i++) span[i] = Expected(written + i);
                writer.Advance(count);
                written += count;
                if (random.Next(3) > 0) await writer.FlushAsync(CancellationToken.None);
                // A moment in which a waiting flush may go on.
                if (readsEvery > 0 && step % readsEvery == 0 && _pipe.Reader.TryRead(out var result)) Take(result, read);
                if (step % 50 == 0) await Task.Yield();
            }
            var completion = writer.CompleteAsync(CancellationToken.None).AsTask();
            while (read.Length < length) Take(await _pipe.Reader.ReadAsync(), read);
            await completion;
        }
        Assert.Equal(length, read.Length);
        var bytes = read.ToArray();
        for (var i = 0; i < length; i++) Assert.True(bytes[i] == Expected(i), $"byte {i}");
        Assert.Equal(_rentedBefore, Service.RentedBytes);
    }

    [Fact]
    public async Task What_nobody_has_taken_is_given_back()
    {
        using (var writer = new OverflowingWriter(_pipe.Writer))
        {
            await FillAsync(writer, 3_000_000);
            Assert.InRange(Service.RentedBytes - _rentedBefore, 2_900_000, 4_000_000);
        }
        Assert.Equal(_rentedBefore, Service.RentedBytes);
    }

    [Fact]
    public async Task Who_is_cancelled_gives_back_what_it_holds()
    {
        using var cancellation = new CancellationTokenSource();
        using (var writer = new OverflowingWriter(_pipe.Writer))
        {
            await FillAsync(writer, 1_000_000);
            var completion = writer.CompleteAsync(cancellation.Token).AsTask();
            Assert.False(completion.IsCompleted);
            await cancellation.CancelAsync();
            // A flush that has begun ends with the reader; those behind it do not begin.
            await _pipe.Reader.CompleteAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => completion);
        }
        Assert.Equal(_rentedBefore, Service.RentedBytes);
    }

    [Fact]
    public async Task A_reader_that_is_gone_ends_writing()
    {
        using (var writer = new OverflowingWriter(_pipe.Writer))
        {
            await FillAsync(writer, 1_000_000);
            await _pipe.Reader.CompleteAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await writer.CompleteAsync(CancellationToken.None));
        }
        using (var writer = new OverflowingWriter(_pipe.Writer))
        {
            writer.Advance(Math.Min(10, writer.GetSpan(10).Length));
            await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await writer.FlushAsync(CancellationToken.None));
        }
        Assert.Equal(_rentedBefore, Service.RentedBytes);
    }

    /// <summary>As long as the reader takes what there is, nothing is put aside.</summary>
    [Fact]
    public async Task A_reader_that_keeps_up_costs_no_memory()
    {
        using var writer = new OverflowingWriter(_pipe.Writer);
        var reading = Task.Run(async () =>
        {
            while (await _pipe.Reader.ReadAsync() is { IsCompleted: false } result) _pipe.Reader.AdvanceTo(result.Buffer.End);
        });
        for (var i = 0; i < 200; i++)
        {
            writer.GetSpan(100)[..100].Clear();
            writer.Advance(100);
            await writer.FlushAsync(CancellationToken.None);
        }
        await writer.CompleteAsync(CancellationToken.None);
        await _pipe.Writer.CompleteAsync();
        await reading;
        Assert.Equal(_rentedBefore, Service.RentedBytes);
    }

    public void Dispose()
    {
        _pipe.Writer.Complete();
        _pipe.Reader.Complete();
    }

    private static byte Expected(int index) => (byte)((index * 31) ^ (index >> 8));

    private static async Task FillAsync(OverflowingWriter writer, int length)
    {
        for (var written = 0; written < length;)
        {
            var count = Math.Min(writer.GetSpan(1000).Length, 1000);
            writer.Advance(count);
            written += count;
            await writer.FlushAsync(CancellationToken.None);
        }
    }

    private void Take(ReadResult result, MemoryStream read)
    {
        read.Write(result.Buffer.ToArray());
        _pipe.Reader.AdvanceTo(result.Buffer.End);
    }
}
