namespace BnService.Experiments.Networks;

/// <summary>Elements in row-major order under a shape whose first dimension is the batch; images are [N, height, width, channels].</summary>
public sealed record Tensor(int[] Shape, float[] Values)
{
    /// <summary>A tensor of zeros.</summary>
    public Tensor(params int[] shape) : this(shape, new float[shape.Aggregate(1, (product, length) => product * length)])
    {
    }

    /// <summary>Samples of the batch.</summary>
    public int Rows => Shape[0];

    /// <summary>Elements of one sample.</summary>
    public int Width => Rows == 0 ? 0 : Values.Length / Rows;

    /// <summary>One sample.</summary>
    public Span<float> Row(int row) => Values.AsSpan(row * Width, Width);

    /// <summary>The samples from <paramref name="first"/> on, copied.</summary>
    public Tensor Slice(int first, int rows) => new([rows, .. Shape[1..]], Values[(first * Width)..((first + rows) * Width)]);

    /// <summary>The same elements under another shape.</summary>
    public Tensor Reshape(params int[] shape) => new(shape, Values);
}
