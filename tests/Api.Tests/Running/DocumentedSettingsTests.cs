using System.Globalization;
using System.Text.RegularExpressions;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Commands;

namespace BnService.Api.Tests.Running;

/// <summary>What the documentation says of settings: it has each of them, with its default, and none that there is not.</summary>
public sealed partial class DocumentedSettingsTests
{
    private const string Section = "Limits:";

    // Their defaults are the machine's.
    private static readonly string[] OfTheMachine =
        ["Node:Name", "Sessions:MaxResidentBytes", "Memory:BudgetBytes", "Limits:MaxConnections", "Compute:Threads", "Compute:LargeBatches"];

    // What ASP.NET Core and Serilog bring, and the README's table explains.
    private static readonly string[] OfOthers = ["AllowedHosts", "Serilog:*"];

    private static readonly Dictionary<string, object> Defaults =
        Settings.Sections.ToDictionary(section => section.Name, section => Activator.CreateInstance(section.Options)!);

    [Fact]
    public void Limits_are_all_in_their_document_with_their_defaults()
    {
        // `Limits:HeadTime` (10 s): what stands behind a name in parentheses begins with its default.
        var documented = NameWithDefault().Matches(Text("docs", "limits.md")).GroupBy(match => match.Groups[1].Value)
            .ToDictionary(name => name.Key, name => name.Select(match => match.Groups[2].Value).Where(said => said.Length > 0).ToList());
        var limits = Settings.All.Where(setting => setting.Name.StartsWith(Section, StringComparison.Ordinal)).ToList();
        Assert.Equal(typeof(LimitOptions).GetProperties().Length, limits.Count);
        Assert.All(limits, setting => Assert.Contains(setting.Name, documented.Keys));
        Assert.All(limits.Where(HasNumber), setting =>
        {
            var forms = FormsOf(DefaultOf(setting)!).ToList();
            Assert.True(documented[setting.Name].Exists(said => forms.Contains(said.Split([", ", ": ", "; "], StringSplitOptions.None)[0])),
                $"docs/limits.md says ({string.Join("), (", documented[setting.Name])}) of {setting.Name}, whose default is {forms[0]}");
        });
    }

    [Fact]
    public void The_readme_has_every_setting_with_its_default()
    {
        var table = Text("README.md").Split("\n## Configuration\n")[1].Split("\n## ")[0];
        var rows = Row().Matches(table)
            .SelectMany(row => SettingName().Matches(row.Groups[1].Value).Select(name => (Name: name.Groups[1].Value, Default: row.Groups[2].Value.Trim('`'))))
            .ToDictionary(row => row.Name, row => row.Default);
        Assert.Equal(Settings.All.Select(setting => setting.Name).Concat(OfOthers).Order(), rows.Keys.Order());
        Assert.All(Settings.All.Where(HasNumber), setting => Assert.Contains(rows[setting.Name], FormsOf(DefaultOf(setting)!)));
    }

    [Fact]
    public void Documents_name_no_limit_that_there_is_not()
    {
        foreach (var file in Directory.GetFiles(Path.Combine(Repository.Root, "docs"), "*.md"))
            Assert.All(NameWithDefault().Matches(File.ReadAllText(file)), match => Assert.Contains(match.Groups[1].Value, Settings.All.Select(setting => setting.Name)));
    }

    private static bool HasNumber(Setting setting) => !OfTheMachine.Contains(setting.Name) && !setting.IsList && DefaultOf(setting) is not null;

    private static object? DefaultOf(Setting setting) => setting.Property.GetValue(Defaults[setting.Name[..setting.Name.LastIndexOf(':')]]);

    // As people write it: 1,000, 256 MiB, 10 s, 00:00:10.
    private static IEnumerable<string> FormsOf(object value)
    {
        if (value is TimeSpan time)
        {
            yield return time.ToString("c", CultureInfo.InvariantCulture);
            yield return $"{time.TotalSeconds} s";
            yield return $"{time.TotalMinutes} min";
            yield break;
        }
        yield return value is bool flag ? (flag ? "true" : "false") : Convert.ToString(value, CultureInfo.InvariantCulture)!;
        if (value is not (int or long)) yield break;
        var number = Convert.ToInt64(value, CultureInfo.InvariantCulture);
        yield return number.ToString("N0", CultureInfo.InvariantCulture);
        foreach (var (unit, shift) in new[] { ("KiB", 10), ("MiB", 20), ("GiB", 30) })
        {
            if (number > 0 && number % (1L << shift) == 0) yield return $"{number >> shift} {unit}";
        }
    }

    private static string Text(params string[] path) => File.ReadAllText(Path.Combine([Repository.Root, .. path]));

    [GeneratedRegex(@"`(Limits:\w+)`(?: \(([^()]*)\))?")]
    private static partial Regex NameWithDefault();

    [GeneratedRegex(@"^\| ((?:`[A-Z][\w:*]+`(?:, )?)+) \| ([^|]*) \|", RegexOptions.Multiline)]
    private static partial Regex Row();

    [GeneratedRegex("`([^`]+)`")]
    private static partial Regex SettingName();
}
