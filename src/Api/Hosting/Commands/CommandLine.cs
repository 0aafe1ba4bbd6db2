using BnService.Api.Hosting.Auth;

namespace BnService.Api.Hosting.Commands;

/// <summary>What the program is asked to do by its arguments: a verb, or to serve; each argument is one that there is.</summary>
internal static class CommandLine
{
    private const int Misused = 2;

    private static readonly string[] Verbs = ["serve", "healthcheck", "keys", "help", "version"];

    /// <summary>Runs what is no service, or checks the settings of one.</summary>
    /// <param name="arguments">The arguments.</param>
    /// <returns>The exit code; null where the service is to run.</returns>
    public static async Task<int?> RunAsync(string[] arguments)
    {
        var (verb, rest) = arguments is [var first, .. var others] && !IsSetting(first) ? (first, others) : ("serve", arguments);
        var isHelp = verb is "help" || arguments.Any(argument => argument is "--help" or "-h" or "-?");
        if (verb is "keys" && isHelp) return await PrintAsync(KeysCommand.Usage);
        if (isHelp) return await PrintAsync(Usage.Text());
        if (verb is "version" || arguments is ["--version" or "-v"]) return await PrintAsync(Usage.Version);
        switch (verb)
        {
            case "keys":
                return await KeysCommand.RunAsync(rest);
            case "healthcheck" when rest.Length == 0:
                return await HealthCheckCommand.RunAsync();
            case "healthcheck":
                return await RefuseAsync($"healthcheck takes no arguments, got '{rest[0]}'");
            case "serve":
                return Mistake(rest, []) is { } mistake ? await RefuseAsync(mistake) : null;
            default:
                return await RefuseAsync(
                    $"there is no command '{verb}'.{(Nearest.Of(verb, Verbs) is { } near ? $" Did you mean {near}?" : "")}");
        }
    }

    /// <summary>What is wrong with arguments that are to be settings; null where nothing is.</summary>
    /// <param name="arguments">The arguments.</param>
    /// <param name="own">Options that a verb has besides the settings.</param>
    public static string? Mistake(IReadOnlyList<string> arguments, IReadOnlyCollection<string> own)
    {
        for (var i = 0; i < arguments.Count; i++)
        {
            var argument = arguments[i];
            if (!IsSetting(argument)) return $"'{argument}' is neither a command nor a setting: settings are --Section:Setting value";
            var key = argument.TrimStart('-', '/').Split('=')[0];
            if (!Settings.IsKnown(key) && !own.Contains(key, StringComparer.OrdinalIgnoreCase))
            {
                return $"there is no option '{argument.Split('=')[0]}'."
                    + (Nearest.Of(key, own) is { } near ? $" Did you mean --{near}?" : Settings.Suggestion(key));
            }
            // As the configuration reads them: a value behind a sign of equality, or the next argument, whatever it is.
            if (!argument.Contains('=', StringComparison.Ordinal) && ++i == arguments.Count) return $"--{key} needs a value";
        }
        return null;
    }

    /// <summary>Says what is wrong with the arguments.</summary>
    public static async Task<int> RefuseAsync(string mistake)
    {
        await Console.Error.WriteLineAsync($"{PlainText.Of(mistake)} See --help.");
        return Misused;
    }

    private static bool IsSetting(string argument) =>
        argument.StartsWith('-') || argument.StartsWith('/') || argument.Contains('=', StringComparison.Ordinal);

    private static async Task<int> PrintAsync(string text)
    {
        await Console.Out.WriteLineAsync(text);
        return 0;
    }
}

/// <summary>The name that somebody probably meant.</summary>
internal static class Nearest
{
    /// <summary>
    /// The name with the fewest letters to change, a quarter of it at most and two in any case; null where none is so near.
    /// </summary>
    /// <param name="text">What was written.</param>
    /// <param name="names">What there is.</param>
    public static string? Of(string text, IEnumerable<string> names)
    {
        var (near, distance) = names.Select(name => (Name: name, Distance: Distance(text, name)))
            .DefaultIfEmpty((Name: "", Distance: int.MaxValue)).MinBy(found => found.Distance);
        return distance <= Math.Max(2, near.Length / 4) && distance < text.Length ? near : null;
    }

    // Levenshtein's: letters that were changed, left out or added, whether they are capital or not.
    private static int Distance(string a, string b)
    {
        var last = Enumerable.Range(0, b.Length + 1).ToArray();
        for (var i = 0; i < a.Length; i++)
        {
            var next = new int[b.Length + 1];
            next[0] = i + 1;
            for (var j = 0; j < b.Length; j++)
            {
                var changed = last[j] + (char.ToUpperInvariant(a[i]) == char.ToUpperInvariant(b[j]) ? 0 : 1);
                next[j + 1] = Math.Min(changed, Math.Min(last[j + 1], next[j]) + 1);
            }
            last = next;
        }
        return last[^1];
    }
}
