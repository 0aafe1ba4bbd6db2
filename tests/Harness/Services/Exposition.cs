using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;

namespace BnService.Harness;

/// <summary>One value of a family.</summary>
public sealed record Sample(string Name, IReadOnlyDictionary<string, string> Labels, double Value);

/// <summary>A family of metrics.</summary>
public sealed record Family(string Name, string Type, string Help, List<Sample> Samples);

/// <summary>Prometheus's text format 0.0.4, read more strictly than Prometheus does.</summary>
public sealed partial class Exposition
{
    private Exposition(IReadOnlyDictionary<string, Family> families) => Families = families;

    public IReadOnlyDictionary<string, Family> Families { get; }

    /// <summary>What the service shows now.</summary>
    public static async Task<Exposition> OfAsync(Service service, string path = "/metrics")
    {
        var answer = (await service.Unchecked.GetAsync(path)).Expect(200);
        Assert.Equal("text/plain; version=0.0.4; charset=utf-8", answer.Headers["Content-Type"]);
        return Parse(answer.Text);
    }

    /// <summary>The value of the one series with these labels; 0 where there is none.</summary>
    public double Value(string name, params (string Name, string Value)[] labels)
    {
        var family = Families.GetValueOrDefault(name) ?? Families.GetValueOrDefault(Suffix().Replace(name, ""));
        if (family is null) return 0;
        return family.Samples.Where(sample => sample.Name == name && labels.All(label => sample.Labels.GetValueOrDefault(label.Name) == label.Value)).Sum(sample => sample.Value);
    }

    /// <summary>The values of a label that a family has, in order.</summary>
    public IEnumerable<string> Values(string name, string label) => Families[name].Samples.Select(sample => sample.Labels[label]).Distinct().Order(StringComparer.Ordinal);

    public static Exposition Parse(string text)
    {
        Assert.EndsWith("\n", text, StringComparison.Ordinal);
        var families = new Dictionary<string, Family>();
        string? help = null;
        Family? current = null;
        foreach (var line in text[..^1].Split('\n'))
        {
            if (HelpLine().Match(line) is { Success: true } helped)
            {
                help = helped.Groups[1].Value;
                Assert.True(families.TryAdd(help, new Family(help, "", helped.Groups[2].Value, [])), $"twice: {help}");
            }
            else if (TypeLine().Match(line) is { Success: true } typed)
            {
                Assert.Equal(help, typed.Groups[1].Value);
                families[help!] = current = families[help!] with { Type = typed.Groups[2].Value };
            }
            else
            {
                Assert.NotNull(current);
                current.Samples.Add(SampleOf(line, current));
            }
        }
        foreach (var family in families.Values) Check(family);
        return new Exposition(families);
    }

    private static Sample SampleOf(string line, Family family)
    {
        var match = SampleLine().Match(line);
        Assert.True(match.Success, $"not a sample: {line}");
        var labels = new Dictionary<string, string>();
        foreach (Match label in LabelPair().Matches(match.Groups["labels"].Value))
            Assert.True(labels.TryAdd(label.Groups[1].Value, Unescaped(label.Groups[2].Value)), line);
        var name = match.Groups["name"].Value;
        Assert.Equal(family.Name, family.Type == "histogram" ? Suffix().Replace(name, "") : name);
        var value = match.Groups["value"].Value;
        return new Sample(name, labels, value switch { "+Inf" => double.PositiveInfinity, "-Inf" => double.NegativeInfinity, _ => double.Parse(value, CultureInfo.InvariantCulture) });
    }

    private static void Check(Family family)
    {
        Assert.True(family.Help.Length > 0 && family.Type.Length > 0, family.Name);
        var series = family.Samples.Select(sample => sample.Name + string.Join(',', sample.Labels.OrderBy(label => label.Key).Select(label => $"{label.Key}={label.Value}"))).ToList();
        Assert.Equal(series.Count, series.Distinct().Count());
        if (family.Type == "counter") Assert.All(family.Samples, sample => Assert.True(sample.Value >= 0, family.Name));
        if (family.Type != "histogram") return;
        foreach (var one in family.Samples.GroupBy(sample => string.Join(',', sample.Labels.Where(label => label.Key != "le").OrderBy(label => label.Key))))
        {
            var buckets = one.Where(sample => sample.Name.EndsWith("_bucket", StringComparison.Ordinal)).ToList();
            var bounds = buckets.Select(bucket => bucket.Labels["le"]).Select(le => le == "+Inf" ? double.PositiveInfinity : double.Parse(le, CultureInfo.InvariantCulture)).ToList();
            Assert.Equal(bounds.Distinct().Order(), bounds);
            Assert.Equal(double.PositiveInfinity, bounds[^1]);
            Assert.Equal(buckets.Select(bucket => bucket.Value).Order(), buckets.Select(bucket => bucket.Value));
            Assert.Equal(buckets[^1].Value, one.Single(sample => sample.Name.EndsWith("_count", StringComparison.Ordinal)).Value);
            Assert.Single(one, sample => sample.Name.EndsWith("_sum", StringComparison.Ordinal));
            Assert.Equal(buckets.Count + 2, one.Count());
        }
    }

    private static string Unescaped(string value)
    {
        var text = new StringBuilder();
        for (var i = 0; i < value.Length; i++) text.Append(value[i] != '\\' ? value[i] : value[++i] == 'n' ? '\n' : value[i]);
        return text.ToString();
    }

    [GeneratedRegex(@"^# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$")]
    private static partial Regex HelpLine();

    [GeneratedRegex("^# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge|histogram|untyped)$")]
    private static partial Regex TypeLine();

    [GeneratedRegex("""^(?<name>[a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?<labels>[a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\["\\n])*"(,[a-zA-Z_][a-zA-Z0-9_]*="([^"\\]|\\["\\n])*")*)\})? (?<value>NaN|[+-]Inf|-?[0-9]+(\.[0-9]+)?(e[+-]?[0-9]+)?)$""")]
    private static partial Regex SampleLine();

    [GeneratedRegex("""([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\["\\n])*)"(?:,|$)""")]
    private static partial Regex LabelPair();

    [GeneratedRegex("_(bucket|sum|count)$")]
    private static partial Regex Suffix();
}
