using BnService.Api.Storage;

namespace BnService.Api.Sessions;

/// <summary>What is done again because another node has been faster: at once first, then after a while, and not for ever.</summary>
internal static class Overtaken
{
    private const int AtOnce = 4, Most = 100;
    private static readonly TimeSpan LongestPause = TimeSpan.FromMilliseconds(40);

    /// <summary>Waits before it is done again.</summary>
    /// <param name="times">How often it has been done in vain.</param>
    /// <exception cref="StorageUnavailableException">That has been too often.</exception>
    public static async ValueTask WaitAsync(int times)
    {
        if (times >= Most) throw new StorageUnavailableException($"the session is changed elsewhere again and again ({times} attempts); nothing has changed", null);
        // By chance, so that of several that meet one is first.
        if (times > AtOnce) await Task.Delay(LongestPause * (Random.Shared.NextDouble() * Math.Min(1, times / 20.0)));
    }
}
