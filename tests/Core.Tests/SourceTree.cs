using System.Text.RegularExpressions;

namespace BnService.Core.Tests;

/// <summary>A source file under src/, its code without comments and without the contents of strings.</summary>
/// <param name="Path">Path from the folder src, with forward slashes.</param>
/// <param name="Lines">Number of lines.</param>
/// <param name="Code">The code.</param>
internal sealed record SourceFile(string Path, int Lines, string Code)
{
    /// <summary>Whether the code mentions a name as a word of its own, in a using directive, a qualified name or otherwise.</summary>
    public bool Mentions(string name) => Regex.IsMatch(Code, $@"(?<![\w]){Regex.Escape(name)}(?!\w)");

    /// <summary>
    /// Whether the code refers to a namespace: by its full name, or from inside its own root (BnService.Core or BnService.Api) by the
    /// last part alone, as C# allows there.
    /// </summary>
    public bool RefersTo(string fullNamespace)
    {
        var parts = fullNamespace.Split('.');
        var root = string.Join('.', parts[..2]);
        return Mentions(fullNamespace) || Mentions(string.Join('.', parts[1..]))
            || (Mentions(root) && Regex.IsMatch(Code, $@"(?<![\w.]){Regex.Escape(parts[^1])}\.[A-Z]"));
    }
}

/// <summary>The sources of the solution, found by walking up from the test assembly.</summary>
internal static partial class SourceTree
{
    private static readonly string[] Generated = ["/bin/", "/obj/", "/node_modules/", "/wwwroot/"];

    /// <summary>The folder that holds BnService.sln.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>Every C# file under src/.</summary>
    public static IReadOnlyList<SourceFile> Files { get; } = [.. Read()];

    /// <summary>The code without comments, and with empty strings.</summary>
    public static string Strip(string text) => Ignored().Replace(text, match => match.Value[0] switch
    {
        '/' => " ",
        '\'' => "' '",
        _ => "\"\"",
    });

    private static IEnumerable<SourceFile> Read()
    {
        var source = Path.Combine(Root, "src");
        foreach (var file in Directory.EnumerateFiles(source, "*.cs", SearchOption.AllDirectories).Order(StringComparer.Ordinal))
        {
            var path = Path.GetRelativePath(source, file).Replace('\\', '/');
            if (Array.Exists(Generated, folder => $"/{path}".Contains(folder, StringComparison.Ordinal))) continue;
            var text = File.ReadAllText(file);
            yield return new SourceFile(path, File.ReadLines(file).Count(), Strip(text));
        }
    }

    private static string FindRoot()
    {
        for (var folder = new DirectoryInfo(AppContext.BaseDirectory); folder is not null; folder = folder.Parent)
        {
            if (File.Exists(Path.Combine(folder.FullName, "BnService.sln"))) return folder.FullName;
        }
        throw new DirectoryNotFoundException($"BnService.sln is in no folder above {AppContext.BaseDirectory}");
    }

    // Line comments, block comments, raw strings, verbatim strings, strings and characters, whichever begins first.
    [GeneratedRegex(
        """//[^\n]*|/\*.*?\*/|("{3,}).*?\1|\$?@\$?"(?:""|[^"])*"|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])+'""", RegexOptions.Singleline)]
    private static partial Regex Ignored();
}
