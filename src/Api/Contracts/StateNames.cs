using System.Globalization;
using System.Text.RegularExpressions;
using BnService.Api.Errors;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;

namespace BnService.Api.Contracts;

/// <summary>The names under which the frameworks keep a layer's arrays, and what they are here.</summary>
internal static class StateNames
{
    private static readonly string[] Gamma = ["gamma", "weight", "scale"];
    private static readonly string[] Beta = ["beta", "bias", "B"];
    private static readonly string[] Mean = ["running_mean", "moving_mean", "mean", "input_mean"];
    private static readonly string[] Variance = ["running_var", "moving_variance", "var", "moving_var", "input_var"];
    private static readonly HashSet<string> Statistics = [.. Mean, .. Variance];
    private static readonly HashSet<string> Arrays = [.. Gamma, .. Beta, .. Statistics];

    /// <summary>The kinds as they are called on the wire.</summary>
    public static IReadOnlyList<string> Kinds { get; } = [.. Enum.GetValues<NormalizerKind>().Select(kind => kind.WireName)];

    /// <summary>Whether a framework calls a layer's array, or its number of batches, so.</summary>
    public static bool IsKnown(string name) => IsArray(name) || name == "num_batches_tracked";

    /// <summary>Whether a framework calls a parameter or a running statistic so.</summary>
    public static bool IsArray(string name) => Arrays.Contains(name);

    /// <summary>Whether a framework calls a running statistic so.</summary>
    public static bool IsStatistic(string name) => Statistics.Contains(name);

    /// <summary>Parameters and statistics from named arrays, whatever they were read from.</summary>
    /// <param name="blobs">The blobs of Caffe's BatchNorm layer, or null.</param>
    /// <param name="scaleBlobs">The blobs of Caffe's Scale layer, or null.</param>
    /// <exception cref="LayerException">Two names for one thing, or blobs that are none.</exception>
    public static LayerImport Import(IReadOnlyDictionary<string, double[]> arrays, double[][]? blobs, double[][]? scaleBlobs)
    {
        RequireBlobs(blobs, "blobs", 3, 3, "mean, variance and factor");
        RequireBlobs(scaleBlobs, "scale_blobs", 1, 2, "gamma, and beta where there is one");
        var factor = blobs is null ? 1 : Factor(blobs[2]);
        return new LayerImport
        {
            Gamma = Pick(arrays, Gamma, "scale_blobs", scaleBlobs?[0], 0),
            Beta = Pick(arrays, Beta, "scale_blobs", scaleBlobs is [_, var beta] ? beta : null, 1),
            Mean = Pick(arrays, Mean, "blobs", blobs is null ? null
                : Array.ConvertAll(blobs[0], value => factor == 0 ? 0 : value / factor), 0),
            Variance = Pick(arrays, Variance, "blobs", blobs is null ? null
                : Array.ConvertAll(blobs[1], value => factor == 0 ? 1 : value / factor), 1),
            StatisticsAreInitial = factor == 0,
            Factor = blobs is null ? null : factor,
        };
    }

    private static NamedValues? Pick(
        IReadOnlyDictionary<string, double[]> arrays, string[] names, string blobName, double[]? blob, int blobIndex)
    {
        var sent = names.Where(arrays.ContainsKey).Select(name => (Field: name, Values: new NamedValues(name, arrays[name]))).ToList();
        if (blob is not null) sent.Add((blobName, new NamedValues($"{blobName}[{blobIndex}]", blob)));
        if (sent.Count > 1)
            throw Invalid($"{sent[0].Field} and {sent[1].Field} are two names for the same thing ({names[0]}); send one of them");
        return sent.Count == 0 ? null : sent[0].Values;
    }

    // The statistics of Caffe are sums that decay with the factor; 0 is a layer that has seen no batch.
    private static double Factor(double[] blob)
    {
        if (blob.Length != 1)
            throw new LayerException(LayerError.ShapeMismatch, $"blobs[2] must have 1 value, the factor, got {blob.Length}");
        if (blob[0] < 0)
            throw Invalid(string.Create(CultureInfo.InvariantCulture, $"blobs[2][0], the factor, must be 0 or more, got {blob[0]:R}"));
        return blob[0];
    }

    private static void RequireBlobs(double[][]? blobs, string name, int fewest, int most, string meaning)
    {
        if (blobs is null) return;
        if (blobs.Length < fewest || blobs.Length > most)
            throw Invalid($"{name} must be {(fewest == most ? $"{most}" : $"{fewest} or {most}")} arrays ({meaning}), got {blobs.Length}");
        for (var i = 0; i < blobs.Length; i++)
        {
            if (blobs[i] is not { } blob) throw Invalid($"{name}[{i}] must be an array of numbers, got null");
            if (Array.FindIndex(blob, value => !double.IsFinite(value)) is var index and >= 0)
                throw Invalid(string.Create(CultureInfo.InvariantCulture,
                    $"{name}[{i}][{index}] must be a finite number, got {blob[index]:R}"));
        }
    }

    private static LayerException Invalid(string message) => new(LayerError.InvalidOption, message);
}

/// <summary>
/// Which of a file's names belong to the layer that is imported. A name is the layer's, then the array's: <c>layer1.0.bn1.weight</c>,
/// <c>bn/gamma:0</c>, MXNet's <c>bn0_moving_var</c>, or flax's <c>params.bn.scale</c> and <c>batch_stats.bn.mean</c>.
/// </summary>
/// <param name="Fields">The layer's names, each with the field of the contract that it is.</param>
/// <param name="Ignored">The other names.</param>
internal sealed partial record StateSelection(IReadOnlyDictionary<string, string> Fields, IReadOnlyList<string> Ignored)
{
    /// <summary>The most arrays of a file: more than any model has, and no more than an answer can name.</summary>
    public const int MostArrays = 1 << 16;

    private const int FirstNamed = 8;

    // As a prefix, and in from, that of names without one.
    private const string NoPrefix = ".";

    // What data-parallel and compiled modules put before every name.
    private static readonly string[] Wrappers = ["module.", "_orig_mod."];

    /// <summary>The only layer of a file, or the one that is asked for.</summary>
    /// <param name="from">The layer's prefix, with or without the separator at its end, and "." for names without one; null for the only
    /// layer.</param>
    /// <param name="texts">Names of what the file says besides its arrays; null where an array cannot be within a part of the
    /// state.</param>
    /// <exception cref="ProblemException">There are several layers, or none of that prefix.</exception>
    public static StateSelection Of(IEnumerable<string> names, string? from, IEnumerable<string>? texts = null)
    {
        var arrays = names.Select(NamedArray.Of).ToList();
        if (texts is not null) arrays = WithParts(arrays, from is null ? null : Asked(from), [.. texts.Select(text => text.Split('.')[0])]);
        RequireFew(arrays.Count);
        var layers = arrays.Where(array => array.IsKnown).Select(array => array.Layer).Distinct().ToList();
        if (!string.IsNullOrEmpty(from)) return Under(from, arrays, layers);
        if (layers.Count > 1)
        {
            var found = Prefixes(arrays, layers);
            throw Invalid($"the file has {layers.Count} layers: say whose state it is by its prefix, as ?from={Excerpt.Of(found[0])}; " +
                $"found {Listed(found)}");
        }
        var layer = layers.SingleOrDefault() ?? "";
        if (layer.Length > 0 && arrays.Find(array => array.Layer != layer || !array.IsKnown) is { } other)
            throw Invalid($"the file has other arrays than the layer '{Excerpt.Of(layer)}', as '{Excerpt.Of(other.Name)}': to take the " +
                $"layer alone, say ?from={Excerpt.Of(layer)}.");
        // What is not known keeps its name, which is then refused.
        return new(arrays.ToDictionary(array => array.Name, array => array.IsKnown ? array.Field : array.Name), []);
    }

    /// <summary>Refuses a file of more arrays than <see cref="MostArrays"/>.</summary>
    public static void RequireFew(int arrays)
    {
        if (arrays > MostArrays)
            throw Invalid($"a state has at most {MostArrays} arrays, those of other layers in the same file included, got more");
    }

    // seen.mean and the like have their layer's prefix as its other arrays have, where the file says the rest of such a part as well. A
    // layer
    // of such a name that is asked for is one.
    private static List<NamedArray> WithParts(List<NamedArray> arrays, string? asked, HashSet<string> said) => arrays.ConvertAll(array =>
        array.Layer != asked && Part().Match($"{array.Layer}.{array.Field}") is { Success: true } part
            && said.Contains(part.Groups["part"].Value)
            ? array with { Layer = NamedArray.LayerOf(part.Groups["layer"].Value), Field = part.Groups["field"].Value, IsPart = true }
            : array);

    private static string Asked(string from) => NamedArray.LayerOf(from.TrimEnd('.', '/', '_').Replace('/', '.'));

    private static StateSelection Under(string from, List<NamedArray> arrays, List<string> layers)
    {
        var asked = Asked(from);
        var unwrapped = Unwrapped(asked);
        var meant = layers.Contains(asked) ? [asked] : layers.FindAll(name => Unwrapped(name) == unwrapped);
        if (meant.Count > 1)
            throw Invalid($"from must say which of {meant.Count} layers, got '{Excerpt.Of(from)}'; found " +
                $"{Listed(Prefixes(arrays, meant))}");
        if (meant is not [var layer])
        {
            var below = layers.Where(name => name.StartsWith($"{asked}.", StringComparison.Ordinal)).ToList();
            var found = Prefixes(arrays, below.Count > 0 ? below : layers);
            throw Invalid($"from must be the prefix of a layer's arrays, got '{Excerpt.Of(from)}'; " +
                (found.Count == 0 ? "the file has no layer" : $"found {Listed(found)}"));
        }
        var own = arrays.Where(array => array.IsKnown && array.Layer == layer).ToDictionary(array => array.Name, array => array.Field);
        return new(own, [.. arrays.Select(array => array.Name).Where(name => !own.ContainsKey(name))]);
    }

    // Those that have statistics are surely normalization layers; a weight and a bias are a convolution's too.
    private static List<string> Prefixes(List<NamedArray> arrays, List<string> layers)
    {
        var withStatistics = arrays.Where(array => StateNames.IsStatistic(array.Field)).Select(array => array.Layer).ToHashSet();
        var normalizing = layers.FindAll(withStatistics.Contains);
        return (normalizing.Count > 0 ? normalizing : layers).ConvertAll(layer => layer.Length == 0 ? NoPrefix : $"{layer}.");
    }

    private static string Listed(List<string> prefixes) =>
        string.Join(", ", prefixes.Take(FirstNamed).Select(prefix => prefix == NoPrefix ? $"{NoPrefix} (no prefix)" : Excerpt.Of(prefix))) +
        (prefixes.Count > FirstNamed ? $" and {prefixes.Count - FirstNamed} more" : "");

    private static string Unwrapped(string layer)
    {
        while (Array.Find(Wrappers, wrapper => layer.StartsWith(wrapper, StringComparison.Ordinal)) is { } wrapper)
            layer = layer[wrapper.Length..];
        return layer;
    }

    private static ProblemException Invalid(string detail) => new(ProblemCode.InvalidOption, detail);

    /// <summary>The number that TensorFlow puts after a variable's name.</summary>
    [GeneratedRegex(":[0-9]+$")]
    private static partial Regex Number();

    /// <summary>What MXNet's files of a model say of an array first.</summary>
    [GeneratedRegex("^(arg|aux):")]
    private static partial Regex MxnetStore();

    [GeneratedRegex("_(gamma|beta|(moving|running)_(mean|var))$")]
    private static partial Regex MxnetField();

    /// <summary>An array within a part of a state, as GET writes it.</summary>
    [GeneratedRegex(@"^((?<layer>.*)\.)?(?<field>(?<part>last_batch)\.(mean|var)|(?<part>seen|population)\.(mean|mean_residual|m2)" +
        @"|(?<part>optimizer)\.(gamma|beta)\.(first|second))$")]
    private static partial Regex Part();

    private sealed record NamedArray(string Name, string Layer, string Field)
    {
        public bool IsPart { get; init; }

        public bool IsKnown => IsPart || StateNames.IsKnown(Field);

        public static NamedArray Of(string name)
        {
            var path = Number().Replace(MxnetStore().Replace(name, ""), "").Replace('/', '.');
            var end = path.LastIndexOf('.');
            // MXNet joins the two by an underscore.
            if (!StateNames.IsKnown(path[(end + 1)..]) && MxnetField().Match(path) is { Success: true } field) end = field.Index;
            return new(name, LayerOf(path[..Math.Max(end, 0)]), path[(end + 1)..]);
        }

        // Without flax's collection, which comes before the layer.
        public static string LayerOf(string path)
        {
            var first = path.IndexOf('.');
            return path is "params" or "batch_stats" ? ""
                : first > 0 && path[..first] is "params" or "batch_stats" ? path[(first + 1)..] : path;
        }
    }
}
