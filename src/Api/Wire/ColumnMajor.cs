using BnService.Core.Tensors;

namespace BnService.Api.Wire;

/// <summary>Tensors whose first dimension is the innermost one, as Fortran keeps them.</summary>
internal static class ColumnMajor
{
    private const int Tile = 32;

    /// <summary>Puts elements into row-major order.</summary>
    /// <param name="shape">The tensor's shape.</param>
    /// <param name="source">Its elements, the first dimension innermost.</param>
    /// <param name="target">Receives them, the last dimension innermost.</param>
    public static void ToRowMajor<T>(Shape shape, ReadOnlySpan<T> source, Span<T> target)
    {
        if (shape.Rank < 2 || shape.Count == 0)
        {
            source.CopyTo(target);
            return;
        }
        // For each place in the dimensions between them the first and the last one are transposed, in tiles that the caches hold.
        var (rows, columns) = (shape[0], shape[-1]);
        var (sourceColumn, targetRow) = (shape.Count / columns, shape.Count / rows);
        var place = new int[shape.Rank];
        do
        {
            var (from, to) = (0, 0);
            var stride = rows;
            for (var axis = 1; axis < shape.Rank - 1; axis++)
            {
                from += place[axis] * stride;
                stride *= shape[axis];
            }
            stride = columns;
            for (var axis = shape.Rank - 2; axis > 0; axis--)
            {
                to += place[axis] * stride;
                stride *= shape[axis];
            }
            for (var row = 0; row < rows; row += Tile)
            {
                for (var column = 0; column < columns; column += Tile)
                {
                    var (lastRow, lastColumn) = (Math.Min(rows, row + Tile), Math.Min(columns, column + Tile));
                    for (var r = row; r < lastRow; r++)
                    {
                        for (var c = column; c < lastColumn; c++) target[to + (r * targetRow) + c] = source[from + (c * sourceColumn) + r];
                    }
                }
            }
        }
        while (Next(place, shape));
    }

    private static bool Next(int[] place, Shape shape)
    {
        for (var axis = shape.Rank - 2; axis > 0; axis--)
        {
            if (++place[axis] < shape[axis]) return true;
            place[axis] = 0;
        }
        return false;
    }
}
