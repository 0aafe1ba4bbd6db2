using BnService.Api.Hosting.Auth;
using BnService.Api.Sessions;

namespace BnService.Api.Tests.Auth;

/// <summary>Where a key may stand in a request, and what is none.</summary>
public sealed class HeadersTests
{
    [Theory]
    [InlineData("Authorization", "Bearer {0}")]
    [InlineData("Authorization", "bearer {0}")]
    [InlineData("Authorization", "Bearer  {0}")]
    [InlineData("X-Api-Key", "{0}")]
    [InlineData("x-api-key", " {0}")]
    public async Task A_key_is_taken_from_either_header(string name, string form)
    {
        using var keyed = await KeyedService.StartAsync();
        (await keyed.Client.GetAsync("/v1/keys", (name, string.Format(null, form, keyed.Admin)))).Expect(200);
        (await keyed.Client.GetAsync("/v2", (name, string.Format(null, form, keyed.Admin)))).Expect(200);
    }

    [Fact]
    public async Task What_is_no_key_opens_nothing()
    {
        using var keyed = await KeyedService.StartAsync();
        var (id, other) = (KeyedService.IdOf(keyed.Admin), await keyed.KeyAsync("admin"));
        var secret = keyed.Admin[(4 + id.Length)..];
        string[] wrong =
        [
            "", " ", "a", "bn_", "bn__", $"bn_{id}", $"bn_{id}_", $"bn_{id}_{secret[..^1]}", $"bn_{id}_{secret}A", $"bn_{id}_{secret} {secret}",
            $"bn_{id}_{secret.ToUpperInvariant()}", $"bn_{id.ToUpperInvariant()}A_{secret}", $"BN_{id}_{secret}", $"{id}_{secret}", secret, id,
            $"bn_{KeyedService.IdOf(other)}_{secret}", $"bn_0000000000000000_{secret}", $"bn_{id}_{new string('A', 43)}", $"bn_{id}_{new string('A', 5000)}",
            keyed.Admin + keyed.Admin, $"{keyed.Admin},{keyed.Admin}", $"\"{keyed.Admin}\"",
            // The last digit of 256 bits in base64url has two bits that say nothing: only one of the four forms is the key.
            $"bn_{id}_{secret[..^1]}{Sibling(secret[^1])}",
        ];
        foreach (var text in wrong)
        {
            (await keyed.Client.GetAsync("/v1/keys", KeyedService.Bearer(text))).ExpectProblem("unauthorized");
            (await keyed.Client.GetAsync("/v1/keys", ("X-Api-Key", text))).ExpectProblem("unauthorized");
            Assert.Contains("key", (await keyed.Client.GetAsync("/v2", ("X-Api-Key", text))).Expect(401)["error"].GetString(), StringComparison.Ordinal);
        }
        foreach (var header in (string[])[keyed.Admin, $"Basic {keyed.Admin}", $"Bearer{keyed.Admin}", $"Token {keyed.Admin}", "Bearer"])
            (await keyed.Client.GetAsync("/v1/keys", ("Authorization", header))).ExpectProblem("unauthorized");
    }

    [Fact]
    public async Task Two_keys_are_none()
    {
        using var keyed = await KeyedService.StartAsync();
        var other = await keyed.KeyAsync("admin");
        (await keyed.Client.GetAsync("/v1/keys", KeyedService.Bearer(keyed.Admin), ("X-Api-Key", other))).ExpectProblem("unauthorized", "two different keys");
        (await keyed.Client.GetAsync("/v1/keys", KeyedService.Bearer(keyed.Admin), ("X-Api-Key", keyed.Admin))).Expect(200);
        // Another scheme is another's business, as that of a proxy in front.
        (await keyed.Client.GetAsync("/v1/keys", ("Authorization", "Basic YTpi"), ("X-Api-Key", keyed.Admin))).Expect(200);
        (await keyed.Client.GetAsync("/v1/keys", ("X-Api-Key", keyed.Admin), ("X-Api-Key", keyed.Admin))).ExpectProblem("unauthorized");
    }

    [Theory]
    [InlineData("?key={0}")]
    [InlineData("?api_key={0}")]
    [InlineData("?access_token={0}")]
    [InlineData("?X-Api-Key={0}")]
    public async Task A_key_in_the_query_is_not_looked_at(string query)
    {
        using var keyed = await KeyedService.StartAsync();
        (await keyed.Client.GetAsync("/v1/keys" + string.Format(null, query, keyed.Admin))).ExpectProblem("unauthorized");
    }

    /// <summary>What cannot be measured is looked at: of an id that nobody has, as much is hashed and compared as of one that somebody has.</summary>
    [Fact]
    public void An_unknown_key_takes_the_way_of_a_known_one()
    {
        var (key, text) = new AccessKey(KeyText.NewId(), "a", Role.Reader, SessionScope.Everything, default).WithNewSecret();
        Assert.True(AccessKey.IsText(key, text));
        Assert.False(AccessKey.IsText(null, text));
        Assert.False(AccessKey.IsText(key, text.AsSpan(0, text.Length - 1)));
        Assert.False(AccessKey.IsText(key, ""));
        Assert.False(AccessKey.IsText(null, ""));
        var stored = key.ToStored();
        Assert.Equal((16, 32), (stored.Salt.Length, stored.Hash.Length));
        Assert.NotEqual(stored.Salt.ToArray(), key.WithNewSecret().Key.ToStored().Salt.ToArray());
        Assert.True(AccessKey.IsText(AccessKey.Of(stored), text));
        // A role of a newer service is none here, rather than some.
        Assert.False(AccessKey.IsText(AccessKey.Of(stored with { Role = "auditor" }), text));
    }

    [Theory]
    [InlineData("nothing here", "nothing here")]
    [InlineData("got 'bn_0123456789abcdef_c2VjcmV0LXNlY3JldC1zZWNyZXQ'", "got 'bn_0123456789abcdef_…'")]
    [InlineData("bn_0123456789abcdef_c2Vj_cmV0-c2Vj… and bn_0123_x", "bn_0123456789abcdef_… and bn_0123_…")]
    [InlineData("BN_0123456789ABCDEF_c2VjcmV0", "BN_0123456789ABCDEF_…")]
    public void Secrets_are_taken_out_of_what_is_quoted(string text, string masked) => Assert.Equal(masked, KeyText.Mask(text));

    private static char Sibling(char digit)
    {
        const string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        return digits[digits.IndexOf(digit, StringComparison.Ordinal) ^ 1];
    }
}
