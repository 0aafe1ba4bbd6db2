using BnService.Core;

namespace BnService.Api.Tests.Architecture;

/// <summary>Which folder knows which, by what the built assemblies refer to, in method bodies too.</summary>
public sealed class ArrowsTests
{
    private const int LargestCycle = 6;

    private static readonly BuiltType[] Types = [.. InAssemblyOf<ComputeSettings>(), .. InAssemblyOf<Program>()];
    private static readonly Dictionary<string, BuiltType> ByName = Types.ToDictionary(type => type.FullName);

    private static readonly (string From, string To, string Example)[] Seen =
    [
        .. from type in Types
           from known in Known(type)
           where known.Namespace != type.Namespace
           group $"{type.Name} knows {known.Name}" by (From: FolderOf(type), To: FolderOf(known)) into arrow
           select (arrow.Key.From, arrow.Key.To, arrow.First()),
    ];

    [Fact]
    public void Every_folder_knows_only_the_folders_that_the_table_allows()
    {
        var allowed = Arrows.Allowed.ToDictionary(row => row.Folder, row => row.Known.Split(' '));
        var violations = Seen.Where(arrow => !Arrows.Mistaken.Contains($"{arrow.From} -> {arrow.To}")
            && !allowed.GetValueOrDefault(arrow.From, []).Any(pattern => Covers(pattern, arrow.To)));
        Reported.None(violations.Select(arrow => $"{arrow.From} -> {arrow.To}: {arrow.Example}"));
    }

    [Fact]
    public void The_table_has_a_row_for_every_folder_and_none_for_others()
    {
        var folders = Types.Select(FolderOf).Distinct().ToArray();
        Assert.Equal(folders.Order(), Arrows.Allowed.Select(row => row.Folder).Order());
        Assert.Equal(SourceFile.All.Where(IsMapped).Select(file => file.Folder).Distinct().Order(), folders.Order());
    }

    [Fact]
    public void A_row_of_the_table_allows_only_rows_above_it()
    {
        string[] rows = [.. Arrows.Allowed.Select(row => row.Folder)];
        Reported.None(
            from row in Arrows.Allowed
            from pattern in row.Known.Split(' ')
            from other in rows.SkipWhile(name => name != row.Folder).Skip(1)
            where Covers(pattern, other)
            select $"{row.Folder} may know {other}, which is below it");
    }

    [Fact]
    public void The_list_of_mistaken_arrows_names_only_arrows_that_are_still_there() => Reported.None(
        Arrows.Mistaken.Except(Seen.Select(arrow => $"{arrow.From} -> {arrow.To}")).Select(arrow => $"gone, take it out: {arrow}"));

    [Fact]
    public void No_more_than_a_few_types_of_a_folder_know_each_other_in_a_circle()
    {
        var circles = Types.GroupBy(type => type.Namespace).SelectMany(folder => Circles([.. folder])).ToArray();
        Assert.Contains(circles, circle => circle.Count > 1);
        Reported.None(circles.Where(circle => circle.Count > LargestCycle)
            .Select(circle => string.Join(", ", circle.Select(type => type.FullName))));
    }

    [Fact]
    public void The_namespace_of_a_file_is_its_folder() => Reported.None(
        SourceFile.All.Where(file => IsMapped(file) && file.Namespace != $"BnService.{file.Folder}").Select(file => file.Path));

    // The program itself is in no folder, and the client is another assembly with few.
    private static bool IsMapped(SourceFile file) =>
        file.Path != "Api/Program.cs" && !file.Path.StartsWith("Client/", StringComparison.Ordinal);

    // A reader that misses references would hold nobody to anything: each kind of reference is found.
    [Theory]
    [InlineData(typeof(Referring.ByBase))]
    [InlineData(typeof(Referring.ByInterface))]
    [InlineData(typeof(Referring.ByField))]
    [InlineData(typeof(Referring.ByParameter))]
    [InlineData(typeof(Referring.ByConstraint))]
    [InlineData(typeof(Referring.ByAttribute))]
    [InlineData(typeof(Referring.ByLocal))]
    [InlineData(typeof(Referring.ByCall))]
    [InlineData(typeof(Referring.ByTypeOf))]
    [InlineData(typeof(Referring.ByArgumentOfGeneric))]
    [InlineData(typeof(Referring.ByCatch))]
    [InlineData(typeof(Referring.ByLambda))]
    [InlineData(typeof(Referring.BehindASwitch))]
    [InlineData(typeof(Referring.ByAsync))]
    public void The_reader_finds_every_kind_of_reference(Type type)
    {
        var read = BuiltType.In(type.Assembly.Location, type.Namespace!).Single(found => found.Name == type.Name);
        Assert.Contains(read.References, name => name.StartsWith("BnService.Api.Tests.Architecture.Referred.", StringComparison.Ordinal));
    }

    private static IReadOnlyList<BuiltType> InAssemblyOf<T>() => BuiltType.In(typeof(T).Assembly.Location, "BnService.");

    private static string FolderOf(BuiltType type) => type.Namespace["BnService.".Length..];

    private static IEnumerable<BuiltType> Known(BuiltType type) =>
        type.References.Select(name => ByName.GetValueOrDefault(name)).OfType<BuiltType>();

    private static bool Covers(string pattern, string folder) => pattern == folder
        || (pattern.EndsWith(".*", StringComparison.Ordinal) && $"{folder}.".StartsWith(pattern[..^1], StringComparison.Ordinal));

    // Types that reach each other (Tarjan's strongly connected components).
    private static List<List<BuiltType>> Circles(HashSet<BuiltType> types)
    {
        var (numbers, lowest) = (new Dictionary<BuiltType, int>(), new Dictionary<BuiltType, int>());
        var (path, circles) = (new Stack<BuiltType>(), new List<List<BuiltType>>());
        foreach (var type in types) Visit(type);
        return circles;

        void Visit(BuiltType type)
        {
            if (!numbers.TryAdd(type, numbers.Count)) return;
            lowest[type] = numbers[type];
            path.Push(type);
            foreach (var known in Known(type).Where(types.Contains))
            {
                Visit(known);
                if (path.Contains(known)) lowest[type] = Math.Min(lowest[type], lowest[known]);
            }
            if (lowest[type] != numbers[type]) return;
            var circle = new List<BuiltType>();
            do circle.Add(path.Pop());
            while (circle[^1] != type);
            circles.Add(circle);
        }
    }
}
