using BnService.Api.Wire;
using BnService.Core.Tensors;

namespace BnService.Api.Tests.Wire;

public sealed class ColumnMajorTests
{
    [Theory]
    [InlineData(new[] { 7 })]
    [InlineData(new int[0])]
    [InlineData(new[] { 1, 1 })]
    [InlineData(new[] { 5, 1 })]
    [InlineData(new[] { 1, 5 })]
    [InlineData(new[] { 3, 4 })]
    [InlineData(new[] { 32, 32 })]
    [InlineData(new[] { 33, 65 })]
    [InlineData(new[] { 100, 31 })]
    [InlineData(new[] { 2, 3, 4 })]
    [InlineData(new[] { 40, 1, 33 })]
    [InlineData(new[] { 1, 7, 1 })]
    [InlineData(new[] { 2, 3, 4, 5 })]
    [InlineData(new[] { 35, 2, 3, 34 })]
    [InlineData(new[] { 2, 3, 4, 5, 6 })]
    [InlineData(new[] { 1, 2, 1, 3, 1 })]
    [InlineData(new[] { 2, 2, 2, 2, 2, 2, 2, 2 })]
    [InlineData(new[] { 2, 0, 3 })]
    [InlineData(new[] { 0 })]
    public void Elements_go_where_their_indices_say(int[] dimensions)
    {
        var shape = new Shape(dimensions);
        // Each element is its own index in row-major order.
        var (source, target) = (new float[shape.Count], new float[shape.Count]);
        for (var element = 0; element < shape.Count; element++)
        {
            var (rest, place, stride) = (element, 0, shape.Count);
            for (var axis = shape.Rank - 1; axis >= 0; axis--)
            {
                stride /= shape[axis];
                place += rest % shape[axis] * stride;
                rest /= shape[axis];
            }
            source[place] = element;
        }
        ColumnMajor.ToRowMajor(shape, source, target);
        Assert.Equal(Enumerable.Range(0, shape.Count).Select(element => (float)element), target);
    }
}
