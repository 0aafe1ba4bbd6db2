namespace BnService.Api.Tests.Wire.Json;

/// <summary>How much is tried at random: a moderate share in every run, far more when the environment variable BN_SOAK is set.</summary>
internal static class Fuzz
{
    /// <summary>Runs <paramref name="attempt"/> with a random generator of its own each time; a failure tells which seed repeats it.</summary>
    public static void Run(int seed, int count, int soakCount, Action<Random> attempt)
    {
        for (var i = 0; i < Soak.Of(count, soakCount); i++)
        {
            try
            {
                attempt(new Random(seed + i));
            }
            catch (Exception exception)
            {
                throw new Xunit.Sdk.XunitException($"seed {seed + i}: {exception.Message}", exception);
            }
        }
    }
}
