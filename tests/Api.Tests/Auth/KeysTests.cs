using System.Text.RegularExpressions;

namespace BnService.Api.Tests.Auth;

/// <summary>Creating, listing, rotating and revoking keys while the service runs.</summary>
public sealed partial class KeysTests
{
    [Fact]
    public async Task The_first_key_closes_the_service_at_once()
    {
        using var service = Service.With();
        (await service.Client.GetAsync("/v1/sessions")).Expect(200);
        (await service.Client.GetAsync("/v1/keys")).Expect(200).Json.GetProperty("keys").EnumerateArray().ToList().ForEach(_ => Assert.Fail("there is a key"));
        // Who could only read could never make another one.
        foreach (var role in (string[])["reader", "trainer"])
            (await service.Client.PostAsync("/v1/keys", $$"""{"name":"a","role":"{{role}}"}""")).ExpectProblem("invalid-option", "must be admin", role);
        var key = await KeyedService.CreateAsync(service.Client, "admin", null, null);
        (await service.Client.GetAsync("/v1/sessions")).ExpectProblem("unauthorized", "Authorization: Bearer <key>", "X-Api-Key");
        (await service.Client.PostAsync("/v1/keys", """{"name":"a","role":"admin"}""")).ExpectProblem("unauthorized");
        (await service.Client.GetAsync("/v1/sessions", KeyedService.Bearer(key))).Expect(200);
    }

    /// <summary>One click on an example, as Swagger sends it, must lock nobody out.</summary>
    [Fact]
    public async Task The_first_key_is_refused_without_a_word_that_it_will_be_kept()
    {
        using var service = Service.With();
        var example = ApiDocument.CheckedIn.Operations.Single(operation => operation.Id == "CreateKey").Element
            .GetProperty("requestBody").GetProperty("content").GetProperty("application/json").GetProperty("example").GetRawText();
        foreach (var body in (string[])[example, """{"name":"a","role":"admin","i_will_keep_the_key":false}""", """{"name":"a","role":"admin","i_will_keep_the_key":null}"""])
            (await service.Client.PostAsync("/v1/keys", body)).ExpectProblem("invalid-option", "i_will_keep_the_key", "every call", "keys create");
        Assert.Empty((await service.Client.GetAsync("/v1/keys")).Expect(200)["keys"].EnumerateArray());
        // Keeping it makes no admin of anybody.
        (await service.Client.PostAsync("/v1/keys", """{"name":"a","role":"reader","i_will_keep_the_key":true}""")).ExpectProblem("invalid-option", "must be admin");
        var first = (await service.Client.PostAsync("/v1/keys", """{"name":"a","role":"admin","i_will_keep_the_key":true}""")).Expect(201);
        Assert.Contains("From now on every call needs a key", first["notice"].GetString(), StringComparison.Ordinal);
        var admin = KeyedService.Bearer(first["key"].GetString()!);
        var second = (await service.Client.PostAsync("/v1/keys", example, admin)).Expect(201);
        Assert.DoesNotContain("every call", second["notice"].GetString(), StringComparison.Ordinal);
        var rotated = (await service.Client.PostAsync($"/v1/keys/{second["id"].GetString()}/rotate", null, admin)).Expect(200);
        Assert.Contains("old secret is refused", rotated["notice"].GetString(), StringComparison.Ordinal);
    }

    /// <summary>There is nobody to lock out where an admin's key is configured, or keys are asked of nobody.</summary>
    [Theory]
    [InlineData("Auth:Mode", "none", null)]
    [InlineData("Auth:AdminKey", "bn_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", "bn_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")]
    public async Task A_first_key_that_locks_nobody_out_needs_no_word(string setting, string value, string? key)
    {
        using var service = Service.With((setting, value));
        var created = (await service.Client.PostAsync("/v1/keys", """{"name":"a","role":"admin"}""", key is null ? [] : [KeyedService.Bearer(key)])).Expect(201);
        Assert.DoesNotContain("every call", created["notice"].GetString(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_key_is_shown_once_with_what_it_is()
    {
        using var keyed = await KeyedService.StartAsync();
        var created = (await keyed.Client.PostAsync("/v1/keys", """{"name":"a.b","role":"trainer","prefix":"team-"}""", KeyedService.Bearer(keyed.Admin))).Expect(201);
        var key = created["key"].GetString()!;
        Assert.Matches(Form(), key);
        Assert.Equal("no-store", created.Headers["Cache-Control"]);
        Assert.Equal(["id", "name", "role", "prefix", "created_at", "key", "notice"], created.Json.EnumerateObject().Select(field => field.Name).Order(Comparer<string>.Create(
            (a, b) => Array.IndexOf(Fields, a) - Array.IndexOf(Fields, b))));
        var listed = (await keyed.Client.GetAsync("/v1/keys", KeyedService.Bearer(keyed.Admin))).Expect(200);
        var entries = listed["keys"].EnumerateArray().ToList();
        Assert.Equal([KeyedService.IdOf(keyed.Admin), KeyedService.IdOf(key)], entries.Select(entry => entry.GetProperty("id").GetString()!));
        Assert.Equal(("a.b", "trainer", "team-"), (entries[1].GetProperty("name").GetString(), entries[1].GetProperty("role").GetString(), entries[1].GetProperty("prefix").GetString()));
        Assert.DoesNotContain(key.Split('_', 3)[2], listed.Text, StringComparison.Ordinal);
        Assert.All(entries, entry => Assert.False(entry.TryGetProperty("key", out _) || entry.TryGetProperty("hash", out _) || entry.TryGetProperty("salt", out _)));
    }

    [Fact]
    public async Task A_rotated_key_is_the_same_one_with_another_secret()
    {
        using var keyed = await KeyedService.StartAsync();
        var old = await keyed.KeyAsync("reader", "team-");
        var rotated = (await keyed.Client.PostAsync($"/v1/keys/{KeyedService.IdOf(old)}/rotate", null, KeyedService.Bearer(keyed.Admin))).Expect(200);
        var key = rotated["key"].GetString()!;
        Assert.NotEqual(old, key);
        Assert.Equal(("reader", "team-", KeyedService.IdOf(old)), (rotated["role"].GetString(), rotated["prefix"].GetString(), KeyedService.IdOf(key)));
        (await keyed.Client.GetAsync("/v1/sessions", KeyedService.Bearer(old))).ExpectProblem("unauthorized", "not one of this service's");
        (await keyed.Client.GetAsync("/v1/sessions", KeyedService.Bearer(key))).Expect(200);
        // An admin can rotate its own.
        var own = (await keyed.Client.PostAsync($"/v1/keys/{KeyedService.IdOf(keyed.Admin)}/rotate", null, KeyedService.Bearer(keyed.Admin))).Expect(200)["key"].GetString()!;
        (await keyed.Client.GetAsync("/v1/keys", KeyedService.Bearer(keyed.Admin))).ExpectProblem("unauthorized");
        (await keyed.Client.GetAsync("/v1/keys", KeyedService.Bearer(own))).Expect(200);
    }

    [Fact]
    public async Task A_revoked_key_is_nobodys()
    {
        using var keyed = await KeyedService.StartAsync();
        var key = await keyed.KeyAsync("trainer");
        (await keyed.Client.DeleteAsync($"/v1/keys/{KeyedService.IdOf(key)}", KeyedService.Bearer(keyed.Admin))).Expect(204);
        (await keyed.Client.GetAsync("/v1/sessions", KeyedService.Bearer(key))).ExpectProblem("unauthorized");
        (await keyed.Client.DeleteAsync($"/v1/keys/{KeyedService.IdOf(key)}", KeyedService.Bearer(keyed.Admin))).ExpectProblem("key-not-found", KeyedService.IdOf(key));
        (await keyed.Client.PostAsync($"/v1/keys/{KeyedService.IdOf(key)}/rotate", null, KeyedService.Bearer(keyed.Admin))).ExpectProblem("key-not-found");
    }

    [Fact]
    public async Task The_last_admin_stays()
    {
        using var keyed = await KeyedService.StartAsync();
        await keyed.KeyAsync("trainer");
        var path = $"/v1/keys/{KeyedService.IdOf(keyed.Admin)}";
        (await keyed.Client.DeleteAsync(path, KeyedService.Bearer(keyed.Admin))).ExpectProblem("last-admin-key");
        var other = await keyed.KeyAsync("admin");
        (await keyed.Client.DeleteAsync(path, KeyedService.Bearer(keyed.Admin))).Expect(204);
        (await keyed.Client.DeleteAsync($"/v1/keys/{KeyedService.IdOf(other)}", KeyedService.Bearer(other))).ExpectProblem("last-admin-key");
    }

    [Theory]
    [InlineData("""{"name":"a"}""", "invalid-option", "role")]
    [InlineData("""{"role":"admin"}""", "invalid-option", "name")]
    [InlineData("""{"name":null,"role":"admin"}""", "invalid-option", "name")]
    [InlineData("""{"name":"a","role":null}""", "invalid-option", "role")]
    [InlineData("""{"name":"a","role":"root"}""", "invalid-option", "role")]
    [InlineData("""{"name":"a b","role":"admin"}""", "invalid-option", "name")]
    [InlineData("""{"name":"","role":"admin"}""", "invalid-option", "name")]
    [InlineData("""{"name":"a","role":"trainer","prefix":""}""", "invalid-option", "prefix")]
    [InlineData("""{"name":"a","role":"trainer","prefix":"-a"}""", "invalid-option", "prefix")]
    [InlineData("""{"name":"a","role":"trainer","prefix":"a*"}""", "invalid-option", "prefix")]
    [InlineData("""{"name":"a","role":"trainer","prefix":"a234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567"}""", "invalid-option", "prefix")]
    [InlineData("""{"name":"a","role":"admin","prefix":"a"}""", "invalid-option", "prefix")]
    public async Task What_no_key_can_be_is_refused(string body, string code, string word)
    {
        using var keyed = await KeyedService.StartAsync();
        (await keyed.Client.PostAsync("/v1/keys", body, KeyedService.Bearer(keyed.Admin))).ExpectProblem(code, word);
        Assert.Single((await keyed.Client.GetAsync("/v1/keys", KeyedService.Bearer(keyed.Admin))).Expect(200)["keys"].EnumerateArray());
    }

    [Fact]
    public async Task There_are_no_more_keys_than_are_allowed()
    {
        using var keyed = await KeyedService.StartAsync(("Auth:MaxKeys", "3"));
        await keyed.KeyAsync("reader");
        var last = await keyed.KeyAsync("reader");
        (await keyed.Client.PostAsync("/v1/keys", """{"name":"a","role":"reader"}""", KeyedService.Bearer(keyed.Admin))).ExpectProblem("limit-reached", "Auth:MaxKeys");
        (await keyed.Client.DeleteAsync($"/v1/keys/{KeyedService.IdOf(last)}", KeyedService.Bearer(keyed.Admin))).Expect(204);
        await keyed.KeyAsync("reader");
    }

    [Fact]
    public async Task Keys_that_are_created_at_the_same_time_are_all_there()
    {
        using var keyed = await KeyedService.StartAsync();
        var keys = await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => Task.Run(() => keyed.KeyAsync("reader"))));
        Assert.Distinct(keys);
        foreach (var key in keys) (await keyed.Client.GetAsync("/v1/sessions", KeyedService.Bearer(key))).Expect(200);
    }

    private static readonly string[] Fields = ["id", "name", "role", "prefix", "created_at", "key", "notice"];

    [GeneratedRegex(@"\Abn_[0-9a-f]{16}_[A-Za-z0-9_-]{43}\z")]
    private static partial Regex Form();
}
