namespace BnService.Client;

/// <summary>Where the service is, who calls it, and how long a call is tried.</summary>
public sealed class BnClientOptions
{
    /// <summary>Address of the service, as <c>http://localhost:5000</c>; a path is kept. Null for the base address of the HttpClient.</summary>
    public Uri? Address { get; set; }

    /// <summary>The API key, which goes into the Authorization header of each request and nowhere else; null where the service asks for none.</summary>
    public string? ApiKey { get; set; }

    /// <summary>How long one attempt may take, from the first byte sent to the last one received.</summary>
    public TimeSpan AttemptTimeout { get; set; } = TimeSpan.FromSeconds(100);

    /// <summary>How often a call is sent again at most, after the connection was lost and after 429 and 503; 0 for never.</summary>
    public int MaxRetries { get; set; } = 20;

    /// <summary>How long after its beginning a call is sent again at most.</summary>
    public TimeSpan RetryTime { get; set; } = TimeSpan.FromSeconds(60);

    /// <summary>How long is waited before the first repetition; twice as long before each further one, half of it by chance.</summary>
    public TimeSpan FirstDelay { get; set; } = TimeSpan.FromMilliseconds(100);

    /// <summary>The longest wait between two attempts, unless the service asks for more by Retry-After.</summary>
    public TimeSpan MaxDelay { get; set; } = TimeSpan.FromSeconds(5);

    /// <summary>The clock of waits and timeouts.</summary>
    public TimeProvider Time { get; set; } = TimeProvider.System;

    /// <summary>A copy that is checked.</summary>
    /// <exception cref="ArgumentException">A value is outside its range; the message never holds the key.</exception>
    internal BnClientOptions Checked()
    {
        Require(Address is null || (Address.IsAbsoluteUri && (Address.Scheme is "http" or "https")), nameof(Address), "an absolute http or https address");
        Require(Address is null || Address.UserInfo.Length == 0, nameof(Address), "an address without user information; the key belongs into ApiKey");
        Require(ApiKey is null || (ApiKey.Length > 0 && ApiKey.All(c => c is > ' ' and < '\u007f')), nameof(ApiKey), "visible ASCII characters");
        Require(AttemptTimeout > TimeSpan.Zero && AttemptTimeout < TimeSpan.FromDays(1), nameof(AttemptTimeout), "positive and below a day");
        Require(MaxRetries >= 0, nameof(MaxRetries), "0 or more");
        Require(RetryTime >= TimeSpan.Zero, nameof(RetryTime), "0 or more");
        Require(FirstDelay >= TimeSpan.Zero && MaxDelay >= FirstDelay, nameof(FirstDelay), "0 or more, and at most MaxDelay");
        Require(MaxDelay < TimeSpan.FromDays(1), nameof(MaxDelay), "below a day");
        ArgumentNullException.ThrowIfNull(Time);
        return (BnClientOptions)MemberwiseClone();
    }

    private static void Require(bool holds, string name, string expected)
    {
        if (!holds) throw new ArgumentException($"BnClientOptions.{name} must be {expected}", name);
    }
}
