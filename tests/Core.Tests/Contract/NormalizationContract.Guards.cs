using BnService.Core.Normalizers;
using BnService.Core.Tests.Expected;

namespace BnService.Core.Tests.Contract;

public abstract partial class NormalizationContract
{
    private const int GuardedCapacity = 300_000;

    [Fact]
    public void No_kernel_touches_memory_outside_its_tensors()
    {
        using var x = new GuardedFloats(GuardedCapacity);
        using var dy = new GuardedFloats(GuardedCapacity);
        using var output = new GuardedFloats(GuardedCapacity);
        var checkedBatches = 0;
        // Of those that are cut into work items, one of either memory shape: the ends are then ends of items.
        var large = BatchCatalog.Large.Where(name => name.StartsWith("[70000, 3]", StringComparison.Ordinal)
            || name.StartsWith("[2, 2, 70001]", StringComparison.Ordinal)).ToArray();
        Assert.Equal(2, large.Length);
        foreach (var batch in BatchCatalog.Small.Concat(large).Select(BatchCatalog.Named))
        {
            foreach (var atEnd in new[] { false, true })
            {
                RunBetweenGuards(batch, x, dy, output, atEnd, Settings());
                RunBetweenGuards(batch, x, dy, output, atEnd, Streaming());
            }
            checkedBatches++;
        }
        Assert.True(checkedBatches > 200, $"{checkedBatches} batches were checked");
    }

    private void RunBetweenGuards(
        BatchCase batch, GuardedFloats x, GuardedFloats dy, GuardedFloats output, bool atEnd, ComputeSettings settings)
    {
        var count = batch.X.Length;
        foreach (var memory in new[] { x, dy, output }) memory.Clear(count, atEnd);
        var source = x.Of(count, atEnd);
        var gradient = dy.Of(count, atEnd);
        var destination = output.Of(count, atEnd);
        batch.X.CopyTo(source);
        batch.Dy.CopyTo(gradient);

        var moments = Forward.BatchMoments(batch.Plan, source, settings);
        AssertSameBits(MomentsOf(batch).M2, moments.M2);
        using var map = AffineMap.Of(moments, batch.Gamma, batch.Beta, batch.Eps);
        Forward.Apply(batch.Plan, source, map, Activation.None, destination, settings);
        AssertSameBits(Output(batch, map, Activation.None), destination.ToArray());
        Forward.Apply(batch.Plan, source, map, Activation.Relu, destination, settings);
        AssertSameBits(Output(batch, map, Activation.Relu), destination.ToArray());
        Forward.Train(batch.Plan, source, new(batch.Gamma, batch.Beta, batch.Eps, Activation.None), destination, settings);
        AssertSameBits(Output(batch, map, Activation.None), destination.ToArray());
        Backward.ThroughRelu(batch.Plan, source, gradient, map, destination, settings);
        AssertSameBits(ThroughRelu(batch, map), destination.ToArray());
        Backward.Inference(batch.Plan, source, gradient, batch.Running, batch.Gamma, batch.Eps, destination, settings);
        AssertSameBits(InferenceGradients(batch, batch.Dy).Dx, destination.ToArray());
        Backward.Training(batch.Plan, source, gradient, moments, batch.Gamma, batch.Eps, destination, settings);
        AssertSameBits(TrainingGradients(batch, batch.Dy).Dx, destination.ToArray());

        Assert.True(source.SequenceEqual(batch.X) && gradient.SequenceEqual(batch.Dy), "an input was written to");
        foreach (var memory in new[] { x, dy, output }) memory.AssertUntouched(count, atEnd);
    }
}
