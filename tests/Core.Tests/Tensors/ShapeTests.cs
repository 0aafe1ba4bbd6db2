using BnService.Core.Tensors;

namespace BnService.Core.Tests.Tensors;

public sealed class ShapeTests
{
    [Fact]
    public void A_shape_counts_its_elements()
    {
        Assert.Equal(1, new Shape().Count);
        Assert.Equal(60, new Shape(3, 4, 5).Count);
        Assert.Equal(int.MaxValue, new Shape(int.MaxValue).Count);
        Assert.Equal(1 << 30, new Shape(1 << 15, 1 << 15).Count);
        Assert.Equal(1, new Shape(1, 1, 1, 1, 1, 1, 1, 1).Count);
    }

    [Fact]
    public void A_shape_with_a_dimension_of_zero_is_empty_however_large_the_others_are()
    {
        Assert.Equal(0, new Shape(0).Count);
        Assert.Equal(0, new Shape(0, int.MaxValue, int.MaxValue).Count);
        Assert.Equal(0, new Shape(int.MaxValue, int.MaxValue, int.MaxValue, int.MaxValue, 0).Count);
    }

    [Theory]
    [InlineData(new[] { 1 << 16, 1 << 15 }, "a tensor has at most 2147483647 elements, got shape [65536, 32768]")]
    [InlineData(new[] { 1 << 16, 1 << 16 }, "a tensor has at most 2147483647 elements, got shape [65536, 65536]")]
    [InlineData(new[] { int.MaxValue, int.MaxValue, int.MaxValue },
        "a tensor has at most 2147483647 elements, got shape [2147483647, 2147483647, 2147483647]")]
    [InlineData(new[] { 2, -1 }, "the dimensions of a shape must be 0 or more, got [2, -1]")]
    [InlineData(new[] { 0, int.MinValue }, "the dimensions of a shape must be 0 or more, got [0, -2147483648]")]
    [InlineData(new[] { 1, 1, 1, 1, 1, 1, 1, 1, 1 }, "a tensor has at most 8 dimensions, got 9")]
    public void An_impossible_shape_is_refused(int[] dimensions, string message)
    {
        var refusal = Assert.Throws<LayerException>(() => new Shape(dimensions));
        Assert.Equal(LayerError.ShapeMismatch, refusal.Error);
        Assert.Equal(message, refusal.Message);
    }

    [Fact]
    public void Dimensions_are_counted_from_either_end()
    {
        var shape = new Shape(2, 3, 5);
        Assert.Equal((2, 3, 5), (shape[0], shape[1], shape[2]));
        Assert.Equal((5, 3, 2), (shape[-1], shape[-2], shape[-3]));
        Assert.Equal(3, shape.Rank);
        Assert.Equal("[2, 3, 5]", shape.ToString());
    }

    [Fact]
    public void Shapes_are_equal_by_their_dimensions()
    {
        Assert.Equal(new Shape(2, 3), new Shape(2, 3));
        Assert.Equal(new Shape(2, 3).GetHashCode(), new Shape(2, 3).GetHashCode());
        Assert.NotEqual(new Shape(2, 3), new Shape(3, 2));
        Assert.NotEqual(new Shape(2, 3), new Shape(2, 3, 1));
        Assert.False(new Shape(2).Equals(null));
    }

    [Fact]
    public void The_dimensions_are_those_at_the_time_of_making()
    {
        int[] dimensions = [2, 3];
        var shape = new Shape(dimensions);
        dimensions[0] = 9;
        Assert.Equal(2, shape[0]);
        Assert.Equal(6, shape.Count);
    }

    [Fact]
    public void A_tensor_holds_as_many_floats_as_its_shape_says()
    {
        var tensor = Tensor.Rent(new Shape(3, 5));
        Assert.Equal(15, tensor.Data.Length);
        tensor.Data.Fill(2);
        Assert.Equal(2, tensor.Data[14]);
        Assert.True(tensor.AllocatedBytes >= 60);
        tensor.Dispose();
        tensor.Dispose();
        Assert.Throws<ObjectDisposedException>(() => tensor.Data.Length);
    }

    [Fact]
    public void A_tensor_refuses_a_buffer_that_is_too_short()
    {
        using var buffer = NativeBuffer.Rent(256);
        Assert.Throws<ArgumentOutOfRangeException>(() => new Tensor(new Shape((int)(buffer.Length / 4) + 1), buffer));
    }
}
