namespace BnService.Api.Hosting.Auth;

/// <summary>What whoever gets a key should know: what has changed by it, and what to do.</summary>
internal static class KeyNotice
{
    /// <summary>The old secret is nobody's now.</summary>
    public const string OfRotated =
        "It is shown this once: keep it. The old secret is refused from now on, on other nodes after about a second.";

    /// <summary>There is one more key.</summary>
    /// <param name="isFirst">Whether the service has asked for none before.</param>
    public static string OfCreated(bool isFirst) => isFirst
        ? $"It is the first key, and shown this once: keep it. From now on every call needs a key, sent as 'Authorization: Bearer <key>' or "
            + $"'{ApiKeys.Header}: <key>'; the page at / asks for it, Swagger has it under Authorize. Create keys for others with it (POST /v1/keys)."
        : "It is shown this once: keep it.";
}
