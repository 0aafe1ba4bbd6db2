namespace BnService.Core.Kernels;

/// <summary>
/// Matrices that lie one after the other, (rows, columns) each, made (columns, rows): 32 × 32 elements at a time, which the caches hold.
/// </summary>
internal static unsafe class Transposition
{
    private const int Tile = 32;

    /// <summary>Transposes them.</summary>
    /// <param name="source">The matrices.</param>
    /// <param name="target">Receives them; not the memory of <paramref name="source"/>.</param>
    /// <param name="matrices">How many.</param>
    /// <param name="rows">Rows of each.</param>
    /// <param name="columns">Columns of each.</param>
    /// <param name="compute">With how many threads.</param>
    public static void Run<T>(T* source, T* target, int matrices, int rows, int columns, ComputeSettings compute)
        where T : unmanaged
    {
        if (matrices == 0 || rows == 0 || columns == 0) return;
        var each = (int)Math.Min(columns, Math.Max(Tile, (long)Partition.ItemElements / rows));
        var pieces = ((columns - 1) / each) + 1;
        Workers.Run(new Columns<T>(source, target, rows, columns, each, pieces), matrices * pieces, compute.Threads, compute.Cancellation);
    }

    private readonly struct Columns<T>(T* source, T* target, int rows, int columns, int each, int pieces) : IWork
        where T : unmanaged
    {
        public void Run(int item)
        {
            var matrix = (long)(item / pieces) * rows * columns;
            T* from = source + matrix, to = target + matrix;
            var first = item % pieces * each;
            var end = (int)Math.Min(columns, (long)first + each);
            for (var row = 0; row < rows; row += Tile)
            {
                for (var column = first; column < end; column += Tile)
                    Copy(from, to, row, Math.Min(rows - row, Tile), column, Math.Min(end - column, Tile));
            }
        }

        private void Copy(T* from, T* to, int row, int height, int column, int width)
        {
            for (var r = row; r < row + height; r++)
            {
                var line = from + ((long)r * columns) + column;
                for (var c = 0; c < width; c++) to[((long)(column + c) * rows) + r] = line[c];
            }
        }
    }
}
