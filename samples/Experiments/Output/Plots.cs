namespace BnService.Experiments.Output;

/// <summary>A line of a plot: its runs, one per seed, are drawn thin, their mean thick.</summary>
/// <param name="Name">Its name in the legend.</param>
/// <param name="Runs">One list of points per seed, with the same x in each as far as it goes.</param>
public sealed record Series(string Name, IReadOnlyList<IReadOnlyList<(double X, double Y)>> Runs);

/// <summary>Bars that stand together: one value per seed and kind.</summary>
/// <param name="Name">What stands below them.</param>
/// <param name="Bars">For each kind its values, one per seed.</param>
public sealed record BarGroup(string Name, IReadOnlyList<IReadOnlyList<double>> Bars);

/// <summary>The plots of the experiments.</summary>
public static class Plots
{
    /// <summary>Lines over x.</summary>
    public static string Lines(string title, string x, string y, IReadOnlyList<Series> series, (double Low, double High)? yRange = null, bool isLogarithmic = false)
    {
        var points = series.SelectMany(line => line.Runs).SelectMany(run => run).ToList();
        var heights = points.Select(point => point.Y).Where(value => double.IsFinite(value) && (!isLogarithmic || value > 0)).DefaultIfEmpty(1).ToList();
        var xRange = (Math.Min(0, points.Min(point => point.X)), points.Max(point => point.X));
        var frame = new Frame(title, x, y, xRange, yRange ?? (heights.Min(), heights.Max()), isLogarithmic);
        foreach (var (line, colour) in series.Zip(Svg.Colours))
        {
            frame.Legend(line.Name, colour);
            foreach (var run in line.Runs) frame.Drawing.Path(run.Select(point => (frame.X(point.X), frame.Y(point.Y))), colour, 1, 0.35);
            var shortest = line.Runs.Min(run => run.Count);
            var mean = Enumerable.Range(0, shortest).Select(i => (frame.X(line.Runs[0][i].X), frame.Y(line.Runs.Average(run => run[i].Y))));
            frame.Drawing.Path(mean, colour, 2.5, 1);
        }
        return frame.Drawing.ToString();
    }

    /// <summary>Groups of bars as high as the mean of their seeds, each of which is a dot.</summary>
    public static string Bars(string title, string x, string y, IReadOnlyList<string> kinds, IReadOnlyList<BarGroup> groups)
    {
        var highest = groups.SelectMany(group => group.Bars).SelectMany(values => values).Max();
        var frame = new Frame(title, x, y, (0, groups.Count), (0, Math.Max(1, highest)), hasXTicks: false);
        foreach (var (kind, colour) in kinds.Zip(Svg.Colours)) frame.Legend(kind, colour);
        for (var group = 0; group < groups.Count; group++)
        {
            frame.Drawing.Text(frame.X(group + 0.5), frame.Y(0) + 18, groups[group].Name);
            for (var kind = 0; kind < kinds.Count; kind++)
            {
                var (left, right) = (frame.X(group + 0.1 + 0.8 * kind / kinds.Count), frame.X(group + 0.1 + 0.8 * (kind + 0.9) / kinds.Count));
                var values = groups[group].Bars[kind];
                var top = frame.Y(values.Average());
                frame.Drawing.Rectangle(left, top, right - left, frame.Y(0) - top, Svg.Colours[kind]);
                foreach (var value in values) frame.Drawing.Dot((left + right) / 2, frame.Y(value), "#222");
            }
        }
        return frame.Drawing.ToString();
    }

    /// <summary>Points of two values that should be the same: they lie on the diagonal.</summary>
    public static string Diagonal(string title, string x, string y, IReadOnlyList<(double X, double Y)> points)
    {
        var range = (points.Min(point => Math.Min(point.X, point.Y)), points.Max(point => Math.Max(point.X, point.Y)));
        var frame = new Frame(title, x, y, range, range);
        frame.Drawing.Line(frame.X(range.Item1), frame.Y(range.Item1), frame.X(range.Item2), frame.Y(range.Item2));
        foreach (var point in points) frame.Drawing.Dot(frame.X(point.X), frame.Y(point.Y), Svg.Colours[0]);
        return frame.Drawing.ToString();
    }

    /// <summary>Tables of numbers from 0 to 1 side by side, the larger the darker.</summary>
    public static string Grids(
        string title, string x, string y, IReadOnlyList<string> columns, IReadOnlyList<string> rows, IReadOnlyList<(string Name, double[,] Values)> grids)
    {
        const int top = 70, left = 90, gap = 30, cell = 46;
        var width = columns.Count * cell;
        var drawing = new Svg(left + grids.Count * (width + gap), top + rows.Count * 36 + 60, title);
        drawing.Upwards(20, top + rows.Count * 18, y);
        for (var row = 0; row < rows.Count; row++) drawing.Text(left - 8, top + row * 36 + 22, rows[row], "end");
        for (var grid = 0; grid < grids.Count; grid++)
        {
            var start = left + grid * (width + gap);
            drawing.Text(start + width / 2, top - 14, grids[grid].Name);
            drawing.Text(start + width / 2, top + rows.Count * 36 + 42, x);
            for (var column = 0; column < columns.Count; column++)
            {
                drawing.Text(start + column * cell + cell / 2, top + rows.Count * 36 + 20, columns[column]);
                for (var row = 0; row < rows.Count; row++)
                {
                    var value = grids[grid].Values[row, column];
                    drawing.Rectangle(start + column * cell, top + row * 36, cell - 2, 34, Shade(value));
                    drawing.Text(start + column * cell + cell / 2 - 1, top + row * 36 + 22, Tables.Number(value), colour: value > 0.5 ? "white" : "#333");
                }
            }
        }
        return drawing.ToString();
    }

    private static string Shade(double value) => $"#{Between(240, 0, value):x2}{Between(240, 80, value):x2}{Between(240, 140, value):x2}";

    private static int Between(int low, int high, double part) => (int)(low + (high - low) * Math.Clamp(part, 0, 1));
}
