using System.Text.RegularExpressions;

namespace BnService.Api.Tests.Architecture;

/// <summary>A C# file under src/.</summary>
/// <param name="Path">Path from the folder src, with forward slashes.</param>
/// <param name="Lines">Its lines.</param>
internal sealed partial record SourceFile(string Path, string[] Lines)
{
    private static readonly string[] Generated = ["bin", "obj", "node_modules", "wwwroot"];

    public static IReadOnlyList<SourceFile> All { get; } = [.. Read()];

    /// <summary>Its folder, written as a namespace is.</summary>
    public string Folder => Path[..Math.Max(Path.LastIndexOf('/'), 0)].Replace('/', '.');

    /// <summary>The namespace that it declares; null if it has none.</summary>
    public string? Namespace => Lines.Select(line => NamespaceLine().Match(line)).FirstOrDefault(match => match.Success)?.Groups[1].Value;

    private static IEnumerable<SourceFile> Read()
    {
        var source = System.IO.Path.Combine(Repository.Root, "src");
        return from file in Directory.EnumerateFiles(source, "*.cs", SearchOption.AllDirectories)
               let path = System.IO.Path.GetRelativePath(source, file).Replace('\\', '/')
               where !path.Split('/').Intersect(Generated).Any()
               orderby path
               select new SourceFile(path, File.ReadAllLines(file));
    }

    [GeneratedRegex(@"^namespace ([\w.]+)")]
    private static partial Regex NamespaceLine();
}

internal static class Reported
{
    /// <summary>Fails with every one of some findings, each on a line of its own.</summary>
    public static void None(IEnumerable<string> findings)
    {
        var found = string.Join('\n', findings);
        Assert.True(found.Length == 0, found);
    }
}
