namespace BnService.Harness;

/// <summary>The long form of tests that have one: what <c>./test.sh --soak</c> asks for.</summary>
public static class Soak
{
    /// <summary>Whether it is asked for.</summary>
    public static bool IsAskedFor => Environment.GetEnvironmentVariable("BN_SOAK") is not null;

    /// <summary>How many there are to be.</summary>
    /// <param name="shortForm">In every run.</param>
    /// <param name="longForm">In the long form.</param>
    public static int Of(int shortForm, int longForm) => IsAskedFor ? longForm : shortForm;

    /// <summary>Says what was counted, at the end of <c>./test.sh</c>.</summary>
    public static void Report(string figures)
    {
        if (Environment.GetEnvironmentVariable("BN_FIGURES") is { } file) File.AppendAllText(file, $"  {figures}\n");
    }
}
