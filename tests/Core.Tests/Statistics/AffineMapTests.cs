using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Tests.Statistics;

/// <summary>A map is used for the channels it was made for, and not after it was given back.</summary>
public sealed class AffineMapTests
{
    private static readonly Layout Plan = Layout.Of(new Shape(2, 3), new NormalizerOptions { NumFeatures = 3 });

    [Fact]
    public void A_map_of_another_number_of_channels_is_refused()
    {
        using var map = AffineMap.Of(RunningStatistics.Initial(2), null, null, 1e-5);
        Assert.Throws<ArgumentException>(() => Forward.Apply(Plan, new float[6], map, Activation.None, new float[6], ComputeSettings.Default));
        Assert.Throws<ArgumentException>(() => Backward.ThroughRelu(Plan, new float[6], new float[6], map, new float[6], ComputeSettings.Default));
    }

    [Fact]
    public void A_map_that_was_given_back_is_refused()
    {
        var map = AffineMap.Of(RunningStatistics.Initial(3), null, null, 1e-5);
        Forward.Apply(Plan, new float[6], map, Activation.None, new float[6], ComputeSettings.Default);
        map.Dispose();
        Assert.Throws<ArgumentException>(() => Forward.Apply(Plan, new float[6], map, Activation.None, new float[6], ComputeSettings.Default));
    }
}
