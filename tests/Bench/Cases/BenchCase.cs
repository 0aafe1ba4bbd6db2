using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Bench.Cases;

/// <summary>Where the channels lie in memory.</summary>
internal enum Layout
{
    /// <summary>[N, C].</summary>
    Dense,

    /// <summary>[N, C, H, W].</summary>
    ChannelsFirst,

    /// <summary>[N, H, W, C].</summary>
    ChannelsLast,
}

/// <summary>What is timed.</summary>
internal enum Operation
{
    /// <summary>With running statistics.</summary>
    Inference,

    /// <summary>Statistics of the batch, and normalization with them.</summary>
    Train,

    /// <summary>The gradients of the input, gamma and beta through a training forward pass.</summary>
    Backward,
}

/// <summary>One size and layout.</summary>
/// <param name="Layout">Where the channels lie.</param>
/// <param name="N">Samples.</param>
/// <param name="C">Channels.</param>
/// <param name="Height">Rows of a plane.</param>
/// <param name="Width">Columns of a plane.</param>
internal sealed record BenchCase(Layout Layout, int N, int C, int Height = 1, int Width = 1)
{
    // From here on three tensors of the size leave nothing in the caches.
    private const long OutOfCacheBytes = 8 << 20;

    /// <summary>The cases that the goals are about.</summary>
    public static IReadOnlyList<BenchCase> Judged { get; } =
    [
        new(Layout.Dense, 256, 1024),
        new(Layout.Dense, 8192, 1024),
        new(Layout.ChannelsFirst, 8, 256, 14, 14),
        new(Layout.ChannelsFirst, 32, 64, 56, 56),
        new(Layout.ChannelsFirst, 1, 64, 112, 112),
        new(Layout.ChannelsLast, 8, 256, 14, 14),
        new(Layout.ChannelsLast, 32, 64, 56, 56),
    ];

    /// <summary>Sizes that fit no vector, few channels, few samples, small planes.</summary>
    public static IReadOnlyList<BenchCase> Ragged { get; } =
    [
        new(Layout.Dense, 100_000, 1),
        new(Layout.Dense, 65_536, 3),
        new(Layout.Dense, 4096, 17),
        new(Layout.Dense, 2048, 100),
        new(Layout.Dense, 3, 1000),
        new(Layout.Dense, 300, 1000),
        new(Layout.ChannelsFirst, 64, 1, 28, 28),
        new(Layout.ChannelsFirst, 3, 3, 224, 224),
        new(Layout.ChannelsFirst, 64, 17, 13, 13),
        new(Layout.ChannelsFirst, 32, 100, 7, 7),
        new(Layout.ChannelsFirst, 3, 1000, 14, 14),
        new(Layout.ChannelsFirst, 1, 1000, 7, 7),
        new(Layout.ChannelsLast, 3, 3, 224, 224),
        new(Layout.ChannelsLast, 64, 17, 13, 13),
        new(Layout.ChannelsLast, 32, 100, 7, 7),
        new(Layout.ChannelsLast, 1, 1000, 14, 14),
    ];

    /// <summary>How the case is called, in plain letters so that it can be typed.</summary>
    public string Name => Layout switch
    {
        Layout.Dense => $"dense {N}x{C}",
        Layout.ChannelsFirst => $"nchw {N}x{C}x{Height}x{Width}",
        _ => $"nhwc {N}x{C}x{Height}x{Width}",
    };

    /// <summary>Positions of a plane.</summary>
    public int Spatial => Height * Width;

    /// <summary>Number of elements of a tensor.</summary>
    public int Count => N * C * Spatial;

    /// <summary>Size of a tensor.</summary>
    public long Bytes => (long)Count * sizeof(float);

    /// <summary>Repetitions of the channels in memory.</summary>
    public int Outer => Layout == Layout.ChannelsLast ? N * Spatial : N;

    /// <summary>Adjacent elements of one channel.</summary>
    public int Inner => Layout == Layout.ChannelsFirst ? Spatial : 1;

    /// <summary>Values per channel.</summary>
    public int ValuesPerChannel => N * Spatial;

    /// <summary>Whether the tensors are too large for the caches.</summary>
    public bool IsOutOfCache => Bytes > OutOfCacheBytes;

    /// <summary>How many sets of tensors take turns: several where a large last-level cache would otherwise keep a part of them.</summary>
    public int Sets => IsOutOfCache ? 4 : 1;

    /// <summary>Elements that a tensor's memory has room for: whole blocks of nChw16c, then whole cache lines.</summary>
    public long Capacity => ((((long)N * PaddedChannels * Spatial) + 63) / 64 * 64) + 64;

    /// <summary>Channels rounded up to a multiple of 16.</summary>
    public int PaddedChannels => (C + 15) / 16 * 16;

    /// <summary>The plan by which our kernels see it.</summary>
    public Core.Normalizers.Layout Plan => Core.Normalizers.Layout.Of(
        Layout switch
        {
            Layout.Dense => new Shape(N, C),
            Layout.ChannelsFirst => new Shape(N, C, Height, Width),
            _ => new Shape(N, Height, Width, C),
        },
        new NormalizerOptions { NumFeatures = C, ChannelAxis = Layout == Layout.ChannelsLast ? -1 : 1 });
}
