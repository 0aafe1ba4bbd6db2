using System.Globalization;
using System.Runtime.InteropServices;
using BnService.Bench.Timing;

namespace BnService.Bench.Report;

/// <summary>What every report says of its run.</summary>
internal static class RunFacts
{
    /// <summary>A list of how, when, where and how undisturbed it was made.</summary>
    /// <param name="arguments">As the user typed them.</param>
    /// <param name="elapsed">How long it took.</param>
    /// <param name="disturbance">The share of the machine that others took.</param>
    /// <param name="notes">What else there is to say.</param>
    public static string Of(string[] arguments, TimeSpan elapsed, double disturbance, IEnumerable<string> notes)
    {
        var warning = disturbance > Machine.TooMuch ? ": too much, above all for 2 threads; measure again" : "";
        string[] facts =
        [
            $"`{Command(arguments)}`, {elapsed.TotalSeconds.ToString("F0", CultureInfo.InvariantCulture)} s",
            $"{DateTime.UtcNow:yyyy-MM-dd}, {Machine.Processor}, {Environment.ProcessorCount} cores",
            $"other processes took {disturbance.ToString("P0", CultureInfo.InvariantCulture)} of the cores meanwhile{warning}",
            $".NET {Environment.Version}, {RuntimeInformation.OSDescription}",
            .. notes,
        ];
        return string.Concat(facts.Select(fact => $"- {fact}\n"));
    }

    /// <summary>A line per wrong result.</summary>
    public static string Flaws(IEnumerable<Standings> rows) =>
        string.Concat(rows.SelectMany(row => row.Flaws.Select(flaw => $"- {row}, {flaw.Key}: {flaw.Value}\n")));

    private static string Command(string[] arguments)
    {
        var switches = Environment.GetEnvironmentVariables().Keys.Cast<string>()
            .Where(name => name.StartsWith("DOTNET_Enable", StringComparison.Ordinal)).Order()
            .Select(name => $"{name}={Environment.GetEnvironmentVariable(name)} ");
        var quoted = arguments.Select(argument => argument.Contains(' ', StringComparison.Ordinal) ? $"'{argument}'" : argument);
        return $"{string.Concat(switches)}dotnet run -c Release --project tests/Bench -- {string.Join(' ', quoted)}".TrimEnd();
    }
}
