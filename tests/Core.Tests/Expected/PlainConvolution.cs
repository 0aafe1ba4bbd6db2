namespace BnService.Core.Tests.Expected;

/// <summary>A convolution as its definition has it, in double, over three dimensions of positions (those of 1 stand for fewer).</summary>
/// <param name="Inputs">Number of input channels.</param>
/// <param name="Outputs">Number of output channels.</param>
/// <param name="Groups">Number of groups.</param>
/// <param name="Kernel">Size of the kernel.</param>
/// <param name="Stride">Stride in every dimension.</param>
/// <param name="Padding">Zeros around the input in every dimension whose kernel is larger than 1.</param>
internal sealed record PlainConvolution(int Inputs, int Outputs, int Groups, (int D, int H, int W) Kernel, int Stride = 1, int Padding = 0)
{
    public (int D, int H, int W) OutputSize((int D, int H, int W) size) =>
        (After(size.D, Kernel.D), After(size.H, Kernel.H), After(size.W, Kernel.W));

    public (int D, int H, int W) TransposedSize((int D, int H, int W) size) =>
        (((size.D - 1) * Stride) + Kernel.D, ((size.H - 1) * Stride) + Kernel.H, ((size.W - 1) * Stride) + Kernel.W);

    /// <summary>y[o, p] = b[o] + Σ W[o, i, k]·x[i, p·stride + k − padding], over the inputs of o's group; weight [Outputs, Inputs/Groups, kernel].</summary>
    public double[] Apply(double[] x, (int D, int H, int W) size, double[] weight, double[] bias)
    {
        var to = OutputSize(size);
        var y = new double[Outputs * to.D * to.H * to.W];
        var perGroup = Inputs / Groups;
        for (var o = 0; o < Outputs; o++)
        {
            foreach (var (p, at) in Positions(to))
            {
                var sum = bias[o];
                for (var j = 0; j < perGroup; j++)
                {
                    var i = (o / (Outputs / Groups) * perGroup) + j;
                    foreach (var (k, offset) in Positions(Kernel))
                    {
                        var (d, h, w) = (Place(at.D, offset.D, Kernel.D), Place(at.H, offset.H, Kernel.H), Place(at.W, offset.W, Kernel.W));
                        if (d < 0 || h < 0 || w < 0 || d >= size.D || h >= size.H || w >= size.W) continue;
                        sum += weight[(((o * perGroup) + j) * Kernel.D * Kernel.H * Kernel.W) + k] * x[(((((i * size.D) + d) * size.H) + h) * size.W) + w];
                    }
                }
                y[(o * to.D * to.H * to.W) + p] = sum;
            }
        }
        return y;
    }

    /// <summary>The transposed one: every input is spread over the kernel, W[i, o within its group, k]; weight [Inputs, Outputs/Groups, kernel].</summary>
    public double[] Transpose(double[] x, (int D, int H, int W) size, double[] weight, double[] bias)
    {
        var to = TransposedSize(size);
        var y = new double[Outputs * to.D * to.H * to.W];
        for (var o = 0; o < Outputs; o++) Array.Fill(y, bias[o], o * to.D * to.H * to.W, to.D * to.H * to.W);
        var perGroup = Outputs / Groups;
        for (var i = 0; i < Inputs; i++)
        {
            foreach (var (p, at) in Positions(size))
            {
                for (var j = 0; j < perGroup; j++)
                {
                    var o = (i / (Inputs / Groups) * perGroup) + j;
                    foreach (var (k, offset) in Positions(Kernel))
                    {
                        var (d, h, w) = ((at.D * Stride) + offset.D, (at.H * Stride) + offset.H, (at.W * Stride) + offset.W);
                        y[(((((o * to.D) + d) * to.H) + h) * to.W) + w] +=
                            weight[(((i * perGroup) + j) * Kernel.D * Kernel.H * Kernel.W) + k] * x[(i * size.D * size.H * size.W) + p];
                    }
                }
            }
        }
        return y;
    }

    private int After(int size, int kernel) => ((size + (2 * PaddingOf(kernel)) - kernel) / Stride) + 1;

    private int Place(int at, int offset, int kernel) => (at * Stride) + offset - PaddingOf(kernel);

    private int PaddingOf(int kernel) => kernel > 1 ? Padding : 0;

    private static IEnumerable<(int Index, (int D, int H, int W) At)> Positions((int D, int H, int W) size)
    {
        for (var index = 0; index < size.D * size.H * size.W; index++)
            yield return (index, (index / (size.H * size.W), index / size.W % size.H, index % size.W));
    }
}
