using System.Globalization;
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
    /// <param name="arrays">The arrays by their frameworks' names.</param>
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
            Mean = Pick(arrays, Mean, "blobs", blobs is null ? null : Array.ConvertAll(blobs[0], value => factor == 0 ? 0 : value / factor), 0),
            Variance = Pick(arrays, Variance, "blobs", blobs is null ? null : Array.ConvertAll(blobs[1], value => factor == 0 ? 1 : value / factor), 1),
            StatisticsAreInitial = factor == 0,
            Factor = blobs is null ? null : factor,
        };
    }

    private static NamedValues? Pick(IReadOnlyDictionary<string, double[]> arrays, string[] names, string blobName, double[]? blob, int blobIndex)
    {
        var sent = names.Where(arrays.ContainsKey).Select(name => (Field: name, Values: new NamedValues(name, arrays[name]))).ToList();
        if (blob is not null) sent.Add((blobName, new NamedValues($"{blobName}[{blobIndex}]", blob)));
        if (sent.Count > 1) throw Invalid($"{sent[0].Field} and {sent[1].Field} are two names for the same thing ({names[0]}); send one of them");
        return sent.Count == 0 ? null : sent[0].Values;
    }

    // The statistics of Caffe are sums that decay with the factor; 0 is a layer that has seen no batch.
    private static double Factor(double[] blob)
    {
        if (blob.Length != 1) throw new LayerException(LayerError.ShapeMismatch, $"blobs[2] must have 1 value, the factor, got {blob.Length}");
        if (blob[0] < 0) throw Invalid(string.Create(CultureInfo.InvariantCulture, $"blobs[2][0], the factor, must be 0 or more, got {blob[0]:R}"));
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
                throw Invalid(string.Create(CultureInfo.InvariantCulture, $"{name}[{i}][{index}] must be a finite number, got {blob[index]:R}"));
        }
    }

    private static LayerException Invalid(string message) => new(LayerError.InvalidOption, message);
}
