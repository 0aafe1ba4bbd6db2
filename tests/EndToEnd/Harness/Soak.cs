namespace BnService.EndToEnd.Harness;

/// <summary>The long form of tests that have one: what <c>./test.sh --soak</c> asks for.</summary>
public static class Soak
{
    /// <summary>Whether it is asked for.</summary>
    public static bool IsAskedFor => Environment.GetEnvironmentVariable("BN_SOAK") is not null;

    /// <summary>How many there are to be.</summary>
    /// <param name="shortForm">In every run.</param>
    /// <param name="longForm">In the long form.</param>
    public static int Of(int shortForm, int longForm) => IsAskedFor ? longForm : shortForm;

    /// <summary>Says what was seen, for whoever writes it down.</summary>
    public static void Report(string figures) => Console.WriteLine($"seen: {figures}");
}
