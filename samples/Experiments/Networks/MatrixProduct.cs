using System.Numerics;

namespace BnService.Experiments.Networks;

/// <summary>Products of row-major matrices, one after another on one thread: the same bits every time.</summary>
public static class MatrixProduct
{
    /// <summary>c[rows, columns] = a[rows, inner] · b[inner, columns].</summary>
    public static void Multiply(ReadOnlySpan<float> a, ReadOnlySpan<float> b, Span<float> c, int rows, int inner, int columns)
    {
        var lanes = Vector<float>.Count;
        for (var row = 0; row < rows; row++)
        {
            var left = a.Slice(row * inner, inner);
            var result = c.Slice(row * columns, columns);
            var column = 0;
            for (; column + 4 * lanes <= columns; column += 4 * lanes)
            {
                // Four accumulators stay in registers over the whole inner dimension.
                Vector<float> sum0 = default, sum1 = default, sum2 = default, sum3 = default;
                for (var k = 0; k < inner; k++)
                {
                    var factor = new Vector<float>(left[k]);
                    var right = b.Slice(k * columns + column, 4 * lanes);
                    sum0 = Vector.FusedMultiplyAdd(factor, new Vector<float>(right), sum0);
                    sum1 = Vector.FusedMultiplyAdd(factor, new Vector<float>(right[lanes..]), sum1);
                    sum2 = Vector.FusedMultiplyAdd(factor, new Vector<float>(right[(2 * lanes)..]), sum2);
                    sum3 = Vector.FusedMultiplyAdd(factor, new Vector<float>(right[(3 * lanes)..]), sum3);
                }
                sum0.CopyTo(result[column..]);
                sum1.CopyTo(result[(column + lanes)..]);
                sum2.CopyTo(result[(column + 2 * lanes)..]);
                sum3.CopyTo(result[(column + 3 * lanes)..]);
            }
            for (; column + lanes <= columns; column += lanes)
            {
                Vector<float> sum = default;
                for (var k = 0; k < inner; k++) sum = Vector.FusedMultiplyAdd(new Vector<float>(left[k]), new Vector<float>(b[(k * columns + column)..]), sum);
                sum.CopyTo(result[column..]);
            }
            for (; column < columns; column++)
            {
                var sum = 0f;
                for (var k = 0; k < inner; k++) sum = MathF.FusedMultiplyAdd(left[k], b[k * columns + column], sum);
                result[column] = sum;
            }
        }
    }

    /// <summary>The transpose [columns, rows] of a matrix [rows, columns].</summary>
    public static float[] Transpose(ReadOnlySpan<float> matrix, int rows, int columns)
    {
        var transpose = new float[matrix.Length];
        for (var row = 0; row < rows; row++)
            for (var column = 0; column < columns; column++) transpose[column * rows + row] = matrix[row * columns + column];
        return transpose;
    }
}
