using System.Globalization;
using System.Net;
using System.Text;

namespace BnService.Experiments.Output;

/// <summary>A drawing of lines, rectangles and text, written as SVG.</summary>
public sealed class Svg
{
    /// <summary>Colours that people who see red and green alike tell apart (Okabe and Ito).</summary>
    public static readonly IReadOnlyList<string> Colours = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00"];

    private readonly StringBuilder _text = new();

    /// <summary>An empty drawing on white, with a title that readers of the page hear too.</summary>
    public Svg(int width, int height, string title) => _text.Append(CultureInfo.InvariantCulture,
        $"""
        <svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="sans-serif" font-size="12" role="img">
        <title>{WebUtility.HtmlEncode(title)}</title>
        <rect width="{width}" height="{height}" fill="white"/>

        """).Append(Element("text", $"""x="{width / 2}" y="18" text-anchor="middle" font-size="14" font-weight="bold" """, title));

    /// <summary>A straight line.</summary>
    public void Line(double x1, double y1, double x2, double y2, string colour = "#999", double width = 1) =>
        _text.Append(CultureInfo.InvariantCulture, $"""<line x1="{x1:0.##}" y1="{y1:0.##}" x2="{x2:0.##}" y2="{y2:0.##}" stroke="{colour}" stroke-width="{width}"/>{"\n"}""");

    /// <summary>A line through points.</summary>
    public void Path(IEnumerable<(double X, double Y)> points, string colour, double width, double opacity)
    {
        var places = string.Join(' ', points.Select(point => string.Create(CultureInfo.InvariantCulture, $"{point.X:0.#},{point.Y:0.#}")));
        _text.Append(CultureInfo.InvariantCulture, $"""<polyline points="{places}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-opacity="{opacity}"/>{"\n"}""");
    }

    /// <summary>A filled rectangle.</summary>
    public void Rectangle(double x, double y, double width, double height, string colour) =>
        _text.Append(CultureInfo.InvariantCulture, $"""<rect x="{x:0.##}" y="{y:0.##}" width="{width:0.##}" height="{height:0.##}" fill="{colour}"/>{"\n"}""");

    /// <summary>A small circle.</summary>
    public void Dot(double x, double y, string colour) =>
        _text.Append(CultureInfo.InvariantCulture, $"""<circle cx="{x:0.##}" cy="{y:0.##}" r="2.5" fill="{colour}"/>{"\n"}""");

    /// <summary>Text at a point: its <paramref name="anchor"/> is start, middle or end.</summary>
    public void Text(double x, double y, string text, string anchor = "middle", string colour = "#333") => _text.Append(
        Element("text", string.Create(CultureInfo.InvariantCulture, $"""x="{x:0.##}" y="{y:0.##}" text-anchor="{anchor}" fill="{colour}" """), text));

    /// <summary>Text that runs upwards.</summary>
    public void Upwards(double x, double y, string text) => _text.Append(
        Element("text", string.Create(CultureInfo.InvariantCulture, $"""transform="translate({x:0.##} {y:0.##}) rotate(-90)" text-anchor="middle" fill="#333" """), text));

    /// <summary>The drawing as a file's text.</summary>
    public override string ToString() => $"{_text}</svg>\n";

    private static string Element(string name, string attributes, string text) => $"<{name} {attributes.TrimEnd()}>{WebUtility.HtmlEncode(text)}</{name}>\n";
}
