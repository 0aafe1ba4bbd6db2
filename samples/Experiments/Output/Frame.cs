using System.Globalization;

namespace BnService.Experiments.Output;

/// <summary>The axes of a plot, with a legend to their right: maps values to places in the drawing.</summary>
internal sealed class Frame
{
    public const int Width = 760, Height = 380;
    private const int Left = 70, Right = 560, Top = 34, Bottom = 325, Ticks = 5;

    private readonly (double Low, double High) _x, _y;
    private readonly bool _isLogarithmic;
    private int _legend;

    /// <param name="title">What the plot shows.</param>
    /// <param name="x">Name of the horizontal axis.</param>
    /// <param name="y">Name of the vertical axis.</param>
    /// <param name="xRange">Its ends.</param>
    /// <param name="yRange">Its ends; above 0 where it is logarithmic.</param>
    /// <param name="isLogarithmic">Whether the vertical axis has powers of ten.</param>
    /// <param name="hasXTicks">Whether the horizontal axis has numbers.</param>
    public Frame(string title, string x, string y, (double Low, double High) xRange, (double Low, double High) yRange, bool isLogarithmic = false, bool hasXTicks = true)
    {
        (Drawing, _x, _isLogarithmic) = (new Svg(Width, Height, title), xRange, isLogarithmic);
        if (_x.Low == _x.High) _x.High++;
        _y = isLogarithmic ? (Math.Floor(Math.Log10(yRange.Low)), Math.Ceiling(Math.Log10(yRange.High))) : yRange;
        if (_y.Low == _y.High) _y.High++;
        var steps = isLogarithmic ? Math.Min(8, (int)(_y.High - _y.Low)) : Ticks;
        for (var i = 0; i <= steps; i++)
        {
            var value = _y.Low + (_y.High - _y.Low) * i / steps;
            if (isLogarithmic) value = Math.Round(value);
            var place = Place(value, _y, Bottom, Top);
            Drawing.Line(Left, place, Right, place, "#ddd");
            Drawing.Text(Left - 6, place + 4, isLogarithmic ? $"1e{value:0}" : Number(value), "end");
        }
        for (var i = 0; hasXTicks && i <= Ticks; i++)
        {
            var value = _x.Low + (_x.High - _x.Low) * i / Ticks;
            Drawing.Line(X(value), Bottom, X(value), Bottom + 4);
            Drawing.Text(X(value), Bottom + 18, Number(value));
        }
        Drawing.Line(Left, Bottom, Right, Bottom);
        Drawing.Line(Left, Top, Left, Bottom);
        Drawing.Text((Left + Right) / 2, Bottom + 40, x);
        Drawing.Upwards(18, (Top + Bottom) / 2, y);
    }

    public Svg Drawing { get; }

    public double X(double value) => Place(value, _x, Left, Right);

    public double Y(double value) => Place(_isLogarithmic ? Math.Log10(Math.Max(value, double.Epsilon)) : value, _y, Bottom, Top);

    public void Legend(string name, string colour)
    {
        var place = Top + 12 + 20 * _legend++;
        Drawing.Rectangle(Right + 14, place - 9, 12, 12, colour);
        Drawing.Text(Right + 32, place + 2, name, "start");
    }

    // What lies outside is drawn at the edge.
    private static double Place(double value, (double Low, double High) range, double low, double high) =>
        low + (high - low) * Math.Clamp((value - range.Low) / (range.High - range.Low), 0, 1);

    private static string Number(double value) => value.ToString("0.##", CultureInfo.InvariantCulture);
}
