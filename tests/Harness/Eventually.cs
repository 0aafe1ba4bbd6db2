namespace BnService.Harness;

/// <summary>Waits for what happens a little after an answer has been sent. How long it takes is not what a test is about.</summary>
public static class Eventually
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(30);

    /// <summary>Waits until a value is the expected one, and fails with both if it never is.</summary>
    public static async Task EqualAsync<T>(T expected, Func<T> actual)
    {
        using var patience = new CancellationTokenSource(Patience);
        while (!EqualityComparer<T>.Default.Equals(expected, actual()) && !patience.IsCancellationRequested) await Task.Delay(5);
        Assert.Equal(expected, actual());
    }

    /// <summary>Waits until a value stays what it is: what earlier requests have left is on its way for a moment after their answers.</summary>
    public static async Task<T> SettledAsync<T>(Func<T> value)
    {
        var (last, times) = (value(), 0);
        using var patience = new CancellationTokenSource(Patience);
        while (times < 10 && !patience.IsCancellationRequested)
        {
            await Task.Delay(5);
            var now = value();
            (times, last) = (EqualityComparer<T>.Default.Equals(now, last) ? times + 1 : 0, now);
        }
        return last;
    }

    /// <summary>Waits until something holds.</summary>
    public static async Task TrueAsync(Func<bool> holds, string what)
    {
        using var patience = new CancellationTokenSource(Patience);
        while (!holds() && !patience.IsCancellationRequested) await Task.Delay(5);
        Assert.True(holds(), what);
    }
}
