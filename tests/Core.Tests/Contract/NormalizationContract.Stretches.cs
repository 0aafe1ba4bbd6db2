using System.Runtime.InteropServices;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;
using BnService.Core.Tests.Expected;

namespace BnService.Core.Tests.Contract;

// Tensors that come or go a piece at a time: not a bit may depend on where they are cut.
public abstract partial class NormalizationContract
{
    [Theory]
    [MemberData(nameof(AllBatches))]
    public void Moments_of_a_batch_that_arrives_in_pieces_are_those_of_the_whole(string name)
    {
        var batch = BatchCatalog.Named(name);
        if (!ArrivingMoments.Fits(batch.Plan)) return;
        var expected = MomentsOf(batch);
        foreach (var piece in new[] { 1, 1009, 40_000, batch.X.Length })
        {
            if (batch.X.Length / piece > 3000) continue;
            // What has not arrived is not looked at: it would poison every sum.
            using var x = Tensor.Rent(new Shape(batch.X.Length));
            x.Data.Fill(float.NaN);
            using var moments = new ArrivingMoments(batch.Plan, x, Settings(threads: 2));
            for (var arrived = 0; arrived < batch.X.Length;)
            {
                var length = Math.Min(piece, batch.X.Length - arrived);
                batch.X.AsSpan(arrived, length).CopyTo(x.Data[arrived..]);
                arrived += length;
                moments.Advance(arrived);
            }
            AssertSameMoments(expected, moments.Finish());
        }
    }

    [Theory]
    [MemberData(nameof(AllBatches))]
    public void Outputs_written_in_pieces_are_those_of_the_whole(string name)
    {
        var batch = BatchCatalog.Named(name);
        if (batch.Plan.Reduction != Reduction.Channels) return;
        var random = new Random(batch.X.Length);
        foreach (var activation in new[] { Activation.None, Activation.Relu })
        {
            foreach (var residual in new[] { null, batch.Dy })
            {
                var expected = new float[batch.X.Length];
                using (var map = AffineMap.Of(batch.Running, batch.Gamma, batch.Beta, batch.Eps))
                    Forward.Apply(batch.Plan, batch.X, map, activation, expected, Settings(), residual);
                using var stretches = new MappedOutput(
                    batch.Plan, AffineMap.Of(batch.Running, batch.Gamma, batch.Beta, batch.Eps), activation, Settings());
                var y = new float[batch.X.Length];
                for (var start = 0; start < y.Length;)
                {
                    var length = Math.Min(y.Length - start, y.Length < 3000 ? random.Next(1, 40) : random.Next(1, 60_000));
                    stretches.Apply(start, batch.X.AsSpan(start, length), residual is null ? [] : residual.AsSpan(start, length), y.AsSpan(start, length));
                    start += length;
                }
                AssertSameBits(expected, y);
            }
        }
    }

    [Fact]
    public void Stretches_touch_no_memory_outside_and_need_no_aligned_addresses()
    {
        using var input = new GuardedFloats(4096);
        using var output = new GuardedFloats(4096);
        foreach (var batch in new[] { "[257, 5]", "[2, 3, 257]", "[70000, 3]" }.Select(shape => BatchCatalog.Named(
            BatchCatalog.Small.Concat(BatchCatalog.Large).First(name => name.StartsWith(shape, StringComparison.Ordinal)))))
        {
            var expected = InferenceOutput(batch);
            using var stretches = new MappedOutput(
                batch.Plan, AffineMap.Of(batch.Running, batch.Gamma, batch.Beta, batch.Eps), Activation.None, Settings());
            for (var start = 0; start < 300; start++)
            {
                var length = 1 + (start * 7 % 61);
                foreach (var atEnd in new[] { false, true })
                {
                    input.Clear(length + 1, atEnd);
                    output.Clear(length + 1, atEnd);
                    // One to three bytes off, as they lie in what a socket has received.
                    var x = Shifted(input.Of(length + 1, atEnd), length, start % 4);
                    var y = Shifted(output.Of(length + 1, atEnd), length, (start + 1) % 4);
                    batch.X.AsSpan(start, length).CopyTo(x);
                    stretches.Apply(start, x, [], y);
                    AssertSameBits(expected[start..(start + length)], y.ToArray());
                    input.AssertUntouched(length + 1, atEnd);
                    output.AssertUntouched(length + 1, atEnd);
                }
            }
        }
    }

    [Theory]
    [InlineData(null)]
    [InlineData(3)]
    public void The_output_of_a_layer_in_pieces_is_that_of_the_whole_with_ghost_batches_too(int? ghost)
    {
        var options = new NormalizerOptions { NumFeatures = 5, GhostBatchSize = ghost, Activation = Activation.Relu };
        var shape = new Shape(10, 5, 7);
        var (x, random) = (new float[shape.Count], new Random(7));
        for (var i = 0; i < x.Length; i++) x[i] = (float)random.NextDouble();
        var pass = Batch.Of(LayerState.Create(options), shape, Settings());
        Assert.Equal(ghost is null, pass.GathersWhole);
        foreach (var statistics in new[] { null, pass.Measure(x, null) })
        {
            var (expected, y) = (new float[x.Length], new float[x.Length]);
            pass.Write(x, statistics, x, expected);
            using var output = pass.Output(statistics)!;
            for (var start = 0; start < x.Length; start += 23)
            {
                var length = Math.Min(23, x.Length - start);
                output.Apply(start, x.AsSpan(start, length), x.AsSpan(start, length), y.AsSpan(start, length));
            }
            AssertSameBits(expected, y);
        }
    }

    private static Span<float> Shifted(Span<float> memory, int length, int bytes) =>
        MemoryMarshal.Cast<byte, float>(MemoryMarshal.AsBytes(memory).Slice(bytes, length * sizeof(float)));
}
