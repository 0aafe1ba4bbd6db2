using System.Collections;
using System.ComponentModel.DataAnnotations;
using System.Globalization;
using System.Reflection;
using System.Text;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using BnService.Api.Hosting.Auth;

namespace BnService.Api.Hosting.Commands;

/// <summary>What <c>--help</c> and <c>--version</c> print.</summary>
internal static partial class Usage
{
    private const int Width = 100;

    /// <summary>The version of the program.</summary>
    public static string Version =>
        $"BnService {typeof(Usage).Assembly.GetCustomAttribute<AssemblyInformationalVersionAttribute>()!.InformationalVersion}";

    /// <summary>The verbs, and every setting with its default, what it allows and what it is for.</summary>
    public static string Text()
    {
        var keys = KeysCommand.Usage.Split('\n').Where(line => line.Contains("keys", StringComparison.Ordinal))
            .Select(line => $"       dotnet BnService.Api.dll {line[7..]}");
        var text = new StringBuilder($"""
            {Version}: normalization layers as a web service

            usage: dotnet BnService.Api.dll [serve] [--Section:Setting value ...]
                   dotnet BnService.Api.dll healthcheck    asks the service in the same container whether it is ready
            {string.Join('\n', keys)}
                   dotnet BnService.Api.dll --help | --version

            Settings come from appsettings.json beside the program, then appsettings.json in the working directory, then the environment
            (Section__Setting=value), then the command line. Those of ASP.NET Core and Serilog are read as well, as
            --Urls http://localhost:5000 and --AllowedHosts bn.example.org (the names that are answered to by Host; any while keys are
            asked for).

            """);
        var (summaries, defaults) = (Summaries(), Settings.Sections.ToDictionary(
            section => section.Name, section => Activator.CreateInstance(section.Options)!));
        foreach (var setting in Settings.All)
        {
            var section = setting.Name[..setting.Name.LastIndexOf(':')];
            text.Append(CultureInfo.InvariantCulture, $"\n  --{setting.Written} {Default(setting, defaults[section])}\n");
            var allowed = setting.Property.GetCustomAttributes<ValidationAttribute>().Select(rule => rule.ErrorMessage)
                .FirstOrDefault(rule => rule is not null);
            var summary = summaries.GetValueOrDefault($"P:{setting.Property.DeclaringType}.{setting.Property.Name}", "");
            Wrap(text, string.Join(' ', new[] { summary, allowed is null ? "" : $"It {allowed}." }.Where(part => part.Length > 0)));
        }
        return text.ToString();
    }

    private static string Default(Setting setting, object options) => setting.Property.GetValue(options) switch
    {
        null or ICollection { Count: 0 } => "(none)",
        bool value => value ? "(true)" : "(false)",
        IFormattable value => $"({value.ToString(null, CultureInfo.InvariantCulture)})",
        var value => $"({value.ToString()})",
    };

    private static void Wrap(StringBuilder text, string words)
    {
        var column = 0;
        foreach (var word in words.Split(' ', StringSplitOptions.RemoveEmptyEntries))
        {
            if (column > 0 && column + word.Length >= Width)
            {
                text.Append('\n');
                column = 0;
            }
            text.Append(column == 0 ? "      " : " ").Append(word);
            column += word.Length + 1;
        }
        if (column > 0) text.Append('\n');
    }

    // The compiler writes the comments of the options into a file beside the program; without it the settings are listed all the same.
    private static Dictionary<string, string> Summaries()
    {
        var file = Path.Combine(AppContext.BaseDirectory, $"{typeof(Usage).Assembly.GetName().Name}.xml");
        if (!File.Exists(file)) return [];
        return XDocument.Load(file).Descendants("member").Where(member => member.Element("summary") is not null)
            .ToDictionary(member => member.Attribute("name")!.Value, member =>
                Spaces().Replace(member.Element("summary")!.Value, " ").Trim());
    }

    [GeneratedRegex(@"\s+")]
    private static partial Regex Spaces();
}
