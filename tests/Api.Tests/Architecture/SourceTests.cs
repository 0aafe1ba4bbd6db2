using System.Reflection;
using System.Reflection.Metadata;
using System.Reflection.PortableExecutable;
using System.Text.RegularExpressions;
using System.Xml.Linq;
using BnService.Core;

namespace BnService.Api.Tests.Architecture;

/// <summary>What a reader meets in the sources: lengths, names, parameters; and what the mathematics may use.</summary>
public sealed partial class SourceTests(Service service) : IClassFixture<Service>
{
    private const int LongestLine = 140, MostParameters = 4;

    /// <summary>How many files of a folder have longer lines: these numbers only get smaller, and a test fails where one is 0.</summary>
    private static readonly Dictionary<string, int> FilesWithLongLines = new()
    {
        ["Client"] = 10,
        ["Client.Options"] = 6,
        ["Client.Results"] = 3,
        ["Client.Sending"] = 5,
        ["Client.Wire"] = 5,
    };

    private static readonly string[] CoreAssemblies =
    [
        "System.Runtime", "System.Collections", "System.Collections.Concurrent", "System.Collections.Immutable", "System.Linq",
        "System.Memory", "System.Numerics.Vectors", "System.Runtime.InteropServices", "System.Runtime.Intrinsics",
        "System.Threading", "System.Threading.Thread", "System.Threading.Tasks.Parallel",
    ];

    [Fact]
    public void No_source_file_is_longer_than_its_limit() => Reported.None(
        from file in SourceFile.All
        let limit = file.Path == "Api/Program.cs" ? 40 : file.Path.StartsWith("Core/Kernels/", StringComparison.Ordinal) ? 200 : 300
        where file.Lines.Length > limit
        select $"{file.Path} has {file.Lines.Length} lines, {limit} are allowed");

    [Fact]
    public void No_more_source_files_have_lines_that_are_too_long()
    {
        var found = SourceFile.All.Where(file => file.Lines.Any(line => line.Length > LongestLine))
            .ToLookup(file => file.Folder, file => file.Path);
        Reported.None(found.Where(folder => folder.Count() > FilesWithLongLines.GetValueOrDefault(folder.Key))
            .Select(folder => $"lines of more than {LongestLine} characters: {string.Join(", ", folder)}"));
        Reported.None(FilesWithLongLines.Keys.Where(folder => !found.Contains(folder))
            .Select(folder => $"{folder} has none left: take it out of the list"));
    }

    [Fact]
    public void No_handler_has_too_many_parameters()
    {
        var handlers = service.Routes.Select(route => route.Metadata.GetMetadata<MethodInfo>()).OfType<MethodInfo>()
            .Where(handler => handler.DeclaringType!.Assembly == typeof(Program).Assembly).Distinct().ToArray();
        Assert.True(handlers.Length > 30, $"only {handlers.Length} handlers were found");
        var many = handlers.Where(handler => handler.GetParameters().Length > MostParameters)
            .Select(handler => $"{handler.DeclaringType!.Name}.{handler.Name} has {handler.GetParameters().Length}").Order().ToArray();
        Assert.True(many.Length == 0, $"more than {MostParameters} parameters: {string.Join(", ", many)}");
    }

    [Fact]
    public void No_type_is_a_helper_a_manager_or_a_bag_of_utilities()
    {
        var names = SourceFile.All.SelectMany(file => file.Lines).Select(line => TypeName().Match(line)).Where(match => match.Success)
            .Select(match => match.Groups[1].Value).ToArray();
        Assert.Contains("ComputeSettings", names);
        Assert.Contains("BnClient", names);
        Assert.DoesNotContain(names, name => VagueName().IsMatch(name));
    }

    [Fact]
    public void Core_references_no_package_and_no_framework_but_the_runtime()
    {
        var project = XDocument.Load(Path.Combine(Repository.Root, "src", "Core", "BnService.Core.csproj"));
        Assert.Equal("Microsoft.NET.Sdk", project.Root!.Attribute("Sdk")!.Value);
        Assert.DoesNotContain(project.Descendants(), e => e.Name.LocalName.EndsWith("Reference", StringComparison.Ordinal));
        Assert.Empty(typeof(ComputeSettings).Assembly.GetReferencedAssemblies().Select(a => a.Name).Except(CoreAssemblies));
    }

    [Fact]
    public void Core_has_no_input_no_output_and_no_clock()
    {
        using var file = File.OpenRead(typeof(ComputeSettings).Assembly.Location);
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

    [GeneratedRegex(@"^System\.(IO|Net|Data|Timers)\.|^Microsoft\.|^System\.Diagnostics\.(Stopwatch|Process|Debug)$|" +
        @"^System\.(DateTime|DateTimeOffset|DateOnly|TimeOnly|TimeProvider|Console|Random|Threading\.(Periodic)?Timer)$")]
    private static partial Regex Outside();

    [GeneratedRegex(@"^\s*(?:\w+ )*(?:class|struct|interface|enum|record) (?!class\b|struct\b)(\w+)")]
    private static partial Regex TypeName();

    [GeneratedRegex("(Helpers?|Util|Utils|Utilities|Managers?)$")]
    private static partial Regex VagueName();
}
