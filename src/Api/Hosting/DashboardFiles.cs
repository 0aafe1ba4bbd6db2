using System.Security.Cryptography;

namespace BnService.Api.Hosting;

/// <summary>A file of the dashboard, in the codings that it was compressed to when it was built.</summary>
/// <param name="ContentType">Its media type.</param>
/// <param name="Tag">Names its content.</param>
/// <param name="Content">Its bytes by content coding; those of the file as it is by <c>identity</c>.</param>
internal sealed record DashboardFile(string ContentType, string Tag, IReadOnlyDictionary<string, byte[]> Content);

/// <summary>The files of the dashboard, which are part of the assembly where it was built with them.</summary>
internal sealed class DashboardFiles
{
    /// <summary>The coding of a file as it is.</summary>
    public const string Identity = "identity";

    private const string Root = "wwwroot/", Page = "index.html";

    private static readonly (string Suffix, string Coding)[] Codings = [(".br", "br"), (".gz", "gzip")];

    private readonly Dictionary<string, DashboardFile> _files = Read();

    /// <summary>The page itself; null where the service was built without it.</summary>
    public DashboardFile? Index => Find(Page);

    /// <summary>A file by its path below the root; null where there is none.</summary>
    public DashboardFile? Find(string path) => _files.GetValueOrDefault(path);

    private static Dictionary<string, DashboardFile> Read()
    {
        var assembly = typeof(DashboardFiles).Assembly;
        var contents = assembly.GetManifestResourceNames().Where(name => name.StartsWith(Root, StringComparison.Ordinal))
            .ToDictionary(name => name.Replace('\\', '/')[Root.Length..], name =>
        {
            using var stream = assembly.GetManifestResourceStream(name)!;
            var content = new byte[stream.Length];
            stream.ReadExactly(content);
            return content;
        });
        return contents.Keys.Where(path => !Codings.Any(coding => path.EndsWith(coding.Suffix, StringComparison.Ordinal)))
            .ToDictionary(path => path, path =>
        {
            var forms = new Dictionary<string, byte[]>();
            foreach (var (suffix, coding) in Codings)
            {
                if (contents.TryGetValue(path + suffix, out var compressed)) forms.Add(coding, compressed);
            }
            forms.Add(Identity, contents[path]);
            return new DashboardFile(TypeOf(path), Convert.ToHexStringLower(SHA256.HashData(contents[path]).AsSpan(0, 8)), forms);
        });
    }

    private static string TypeOf(string path) => Path.GetExtension(path) switch
    {
        ".html" => "text/html; charset=utf-8",
        ".js" => "text/javascript; charset=utf-8",
        ".css" => "text/css; charset=utf-8",
        ".svg" => "image/svg+xml",
        ".csv" => "text/csv; charset=utf-8",
        _ => "application/octet-stream",
    };
}
