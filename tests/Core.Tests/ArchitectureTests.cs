using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using BnService.Core.Normalizers;

namespace BnService.Core.Tests;

/// <summary>Who may know whom. The rules are those of the architecture; a folder that does not exist yet breaks none.</summary>
public sealed partial class ArchitectureTests
{
    private const string Simd = "BnService.Core.Simd", Tensors = "BnService.Core.Tensors", Kernels = "BnService.Core.Kernels";
    private const string Statistics = "BnService.Core.Statistics", Normalizers = "BnService.Core.Normalizers", Layers = "BnService.Core.Layers";

    private static readonly (string Folder, string[] Forbidden)[] Rules =
    [
        ("Core/", ["BnService.Api", "Microsoft", "System.IO", "System.Net"]),
        ("Core/Simd/", [Tensors, Kernels, Statistics, Normalizers, Layers]),
        ("Core/Tensors/", [Simd, Kernels, Statistics, Normalizers, Layers]),
        ("Core/Kernels/", [Statistics, Normalizers, Layers]),
        ("Core/Statistics/", [Simd, Kernels, Normalizers, Layers]),
        ("Core/Normalizers/", [Layers]),
        ("Api/Wire/", [Normalizers, "BnService.Api.Sessions"]),
        ("Api/Endpoints/", [Kernels]),
        ("Api/Storage/", [Normalizers, Statistics, Layers, Kernels]),
        ("Api/Sessions/", ["BnService.Api.Endpoints"]),
    ];

    // Where a file lies is what it belongs to.
    private static readonly string[] CoreFolders = ["Simd", "Tensors", "Kernels", "Statistics", "Normalizers", "Layers"];
    private static readonly string[] CoreAssemblies =
        ["System.Runtime", "System.Collections", "System.Collections.Concurrent", "System.Collections.Immutable", "System.Linq",
            "System.Memory", "System.Numerics.Vectors", "System.Runtime.InteropServices", "System.Runtime.Intrinsics",
            "System.Threading", "System.Threading.Thread", "System.Threading.Tasks.Parallel"];

    [Fact]
    public void No_file_refers_to_what_its_folder_may_not_know()
    {
        var violations =
            from rule in Rules
            from file in SourceTree.Files
            where file.Path.StartsWith(rule.Folder, StringComparison.Ordinal)
            from forbidden in rule.Forbidden
            where forbidden.StartsWith("BnService.", StringComparison.Ordinal) ? file.RefersTo(forbidden) : file.Mentions(forbidden)
            select $"{file.Path} knows {forbidden}";
        Assert.Empty(violations);
    }

    [Fact]
    public void Kernels_do_not_even_mention_what_is_built_on_them()
    {
        var violations =
            from file in SourceTree.Files
            where file.Path.StartsWith("Core/Kernels/", StringComparison.Ordinal)
            from name in new[] { "Normalizers", "Layers", "Statistics" }
            where file.Mentions(name)
            select $"{file.Path} mentions {name}";
        Assert.Empty(violations);
    }

    [Fact]
    public void The_rules_meet_the_files_that_they_are_about()
    {
        foreach (var folder in CoreFolders)
        {
            var files = SourceTree.Files.Where(f => f.Path.StartsWith($"Core/{folder}/", StringComparison.Ordinal)).ToArray();
            Assert.True(files.Length >= 3, $"{files.Length} files in Core/{folder}");
            Assert.All(files, f => Assert.True(f.Mentions($"namespace BnService.Core.{folder}"), $"{f.Path} lies in another namespace"));
        }
        Assert.All(Rules.Where(r => r.Folder.StartsWith("Core/", StringComparison.Ordinal)),
            r => Assert.Contains(SourceTree.Files, f => f.Path.StartsWith(r.Folder, StringComparison.Ordinal)));
    }

    // Rules that find nothing are worth nothing: these are found.
    [Theory]
    [InlineData("using BnService.Core.Normalizers;", true)]
    [InlineData("global using static BnService.Core.Normalizers.Forward;", true)]
    [InlineData("using Plan = BnService.Core.Normalizers.Layout;", true)]
    [InlineData("namespace BnService.Core.Kernels; class A { Normalizers.Forward f; }", true)]
    [InlineData("namespace BnService.Api.Wire; class A { Core.Normalizers.Forward f; }", true)]
    [InlineData("namespace BnService.Core.Kernels; class A { void Add(int normalizers) { } }", false)]
    [InlineData("// using BnService.Core.Normalizers;", false)]
    [InlineData("/* BnService.Core.Normalizers */ class A { string s = \"BnService.Core.Normalizers\"; }", false)]
    [InlineData("using BnService.Core.NormalizersToo;", false)]
    public void References_are_found_in_code_and_not_in_comments_or_strings(string text, bool found) =>
        Assert.Equal(found, new SourceFile("Core/Kernels/A.cs", 1, SourceTree.Strip(text)).RefersTo("BnService.Core.Normalizers"));

    [Fact]
    public void Core_references_no_package_and_no_framework_but_the_runtime()
    {
        var project = XDocument.Load(Path.Combine(SourceTree.Root, "src", "Core", "BnService.Core.csproj"));
        Assert.Equal("Microsoft.NET.Sdk", project.Root!.Attribute("Sdk")!.Value);
        Assert.DoesNotContain(project.Descendants(), e => e.Name.LocalName.EndsWith("Reference", StringComparison.Ordinal));
        Assert.Empty(typeof(Forward).Assembly.GetReferencedAssemblies().Select(a => a.Name).Except(CoreAssemblies));
    }

    [Fact]
    public void Core_has_no_input_no_output_and_no_clock()
    {
        using var file = File.OpenRead(typeof(Forward).Assembly.Location);
        using var image = new PEReader(file);
        var metadata = image.GetMetadataReader();
        var types = metadata.TypeReferences.Select(metadata.GetTypeReference)
            .Select(t => $"{metadata.GetString(t.Namespace)}.{metadata.GetString(t.Name)}").ToArray();
        var members = metadata.MemberReferences.Select(metadata.GetMemberReference).Select(m => metadata.GetString(m.Name)).ToArray();
        Assert.Contains("System.Math", types);
        Assert.Contains("get_ProcessorCount", members);
        Assert.DoesNotContain(types, t => Outside().IsMatch(t));
        Assert.DoesNotContain(members, m => m is "get_TickCount" or "get_TickCount64" or "GetTimestamp" or "get_UtcNow" or "get_Now");
    }

    [Fact]
    public void No_type_is_a_helper_a_manager_or_a_bag_of_utilities()
    {
        var names = SourceTree.Files.SelectMany(f => TypeNames().Matches(f.Code).Select(m => m.Groups[1].Value)).ToArray();
        Assert.Contains("Forward", names);
        Assert.Contains("IVector", names);
        Assert.DoesNotContain(names, n => Regex.IsMatch(n, "(Helpers?|Util|Utils|Utilities|Managers?)$"));
    }

    [Fact]
    public void No_file_is_longer_than_a_reader_can_bear()
    {
        Assert.All(SourceTree.Files, file =>
        {
            var limit = file.Path == "Api/Program.cs" ? 40 : file.Path.StartsWith("Core/Kernels/", StringComparison.Ordinal) ? 200 : 300;
            Assert.True(file.Lines <= limit, $"{file.Path} has {file.Lines} lines, {limit} are allowed");
        });
    }

    [GeneratedRegex(@"^System\.(IO|Net|Data|Timers)\.|^Microsoft\.|^System\.Diagnostics\.(Stopwatch|Process|Debug)$|" +
        @"^System\.(DateTime|DateTimeOffset|DateOnly|TimeOnly|TimeProvider|Console|Random|Threading\.(Periodic)?Timer)$")]
    private static partial Regex Outside();

    [GeneratedRegex(@"\b(?:class|struct|interface|enum|record)\s+(?!class\b|struct\b)(\w+)")]
    private static partial Regex TypeNames();
}
