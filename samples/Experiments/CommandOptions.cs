using System.Globalization;

namespace BnService.Experiments;

/// <summary>What the program was asked for.</summary>
/// <param name="Only">Names of experiments; empty for all.</param>
/// <param name="Seeds">One run of each for every seed.</param>
/// <param name="Service">A running service; null for one that is started.</param>
/// <param name="Key">The API key for it.</param>
/// <param name="Output">Folder of the tables and plots.</param>
/// <param name="IsBrief">Whether a few steps are enough.</param>
/// <param name="IsCheck">Whether the exit code tells that a gate does not hold.</param>
public sealed record CommandOptions(IReadOnlyList<string> Only, IReadOnlyList<int> Seeds, Uri? Service, string? Key, string Output, bool IsBrief, bool IsCheck)
{
    /// <summary>What may be asked for.</summary>
    public const string Usage =
        """
        Reproduces the famous results of normalization with small networks whose normalization layers run on the service.

        --only NAME[,NAME...]   some of the experiments alone; the summary then has these only
        --seeds 1,2,3           one run of each experiment for every seed
        --service URL           a running service; without it one is started for as long as the program runs
        --key KEY               an API key for it
        --output FOLDER         where tables and plots are written: docs/experiments
        --brief                 a few steps of each, to see that they run; nothing that is written then means anything
        --check                 exit code 1 where a gate does not hold
        """;

    /// <summary>Reads the command line; <paramref name="mistake"/> says what is wrong with it, or how it is used where that was asked.</summary>
    public static bool TryParse(IReadOnlyList<string> arguments, IReadOnlyList<string> names, out CommandOptions options, out string mistake)
    {
        (options, mistake) = (new([], [1, 2, 3], null, null, Path.Combine("docs", "experiments"), false, false), "");
        for (var i = 0; i < arguments.Count && mistake.Length == 0; i++)
        {
            var (name, value) = (arguments[i], i + 1 < arguments.Count ? arguments[i + 1] : null);
            (options, mistake) = name switch
            {
                "--brief" => (options with { IsBrief = true }, ""),
                "--check" => (options with { IsCheck = true }, ""),
                "--help" or "-h" => (options, Usage),
                "--only" or "--seeds" or "--service" or "--key" or "--output" => value is null ? (options, $"{name} needs a value") : options.With(name, value, names),
                _ => (options, $"{name} is unknown\n\n{Usage}"),
            };
            if (name is not ("--brief" or "--check")) i++;
        }
        return mistake.Length == 0;
    }

    private (CommandOptions Options, string Mistake) With(string name, string value, IReadOnlyList<string> names)
    {
        switch (name)
        {
            case "--only":
                var only = value.Split(',');
                var unknown = only.FirstOrDefault(asked => !names.Contains(asked));
                return unknown is null ? (this with { Only = only }, "") : (this, $"--only {unknown}: there are {string.Join(", ", names)}");
            case "--seeds":
                var seeds = value.Split(',').Select(Seed).ToList();
                return !seeds.Contains(-1) && seeds.Distinct().Count() == seeds.Count
                    ? (this with { Seeds = seeds }, "")
                    : (this, $"--seeds {value}: different numbers from 0 to 999, as 1,2,3");
            case "--service":
                return Uri.TryCreate(value, UriKind.Absolute, out var address) && address.Scheme is "http" or "https"
                    ? (this with { Service = address }, "")
                    : (this, $"--service {value}: an address as http://localhost:5000");
            case "--key":
                return (this with { Key = value }, "");
            default:
                return (this with { Output = value }, "");
        }
    }

    private static int Seed(string text) =>
        int.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number < 1000 ? number : -1;
}
