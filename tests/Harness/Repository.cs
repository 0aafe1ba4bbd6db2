using System.Globalization;

namespace BnService.Harness;

/// <summary>Files of the repository that the tests read.</summary>
public static class Repository
{
    /// <summary>The directory with the solution.</summary>
    public static string Root { get; } = FindRoot();

    /// <summary>The OpenAPI document that is checked in.</summary>
    public static string DocumentFile { get; } = Path.Combine(Root, "docs", "openapi.json");

    /// <summary>The 178 wines, 13 features each.</summary>
    public static Batch Wines() => Read("wine.csv", headerLines: 1, features: 13);

    /// <summary>The 1797 digits, 64 features each.</summary>
    public static Batch Digits() => Read("digits.csv", headerLines: 0, features: 64);

    // The last column is the class and stays out.
    private static Batch Read(string file, int headerLines, int features)
    {
        var rows = File.ReadLines(Path.Combine(Root, "samples", "data", file)).Skip(headerLines)
            .Select(line => line.Split(',').Take(features).Select(cell => float.Parse(cell, CultureInfo.InvariantCulture)).ToArray())
            .ToArray();
        return new Batch([rows.Length, features], [.. rows.SelectMany(row => row)]);
    }

    private static string FindRoot()
    {
        for (var directory = new DirectoryInfo(AppContext.BaseDirectory); directory is not null; directory = directory.Parent)
        {
            if (File.Exists(Path.Combine(directory.FullName, "BnService.sln"))) return directory.FullName;
        }
        throw new DirectoryNotFoundException($"no BnService.sln above {AppContext.BaseDirectory}");
    }
}
