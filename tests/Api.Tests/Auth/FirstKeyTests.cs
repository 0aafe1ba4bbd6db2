using BnService.Api.Storage;
using BnService.Api.Storage.Memory;
using Microsoft.Extensions.DependencyInjection;
using KeyedService = BnService.Harness.KeyedService;

namespace BnService.Api.Tests.Auth;

/// <summary>Whoever is let in because there is no key makes the first one, and no other.</summary>
public sealed class FirstKeyTests
{
    private const string FirstKey = """{"name":"first","role":"admin","i_will_keep_the_key":true}""";

    [Fact]
    public async Task Of_those_who_make_the_first_key_at_the_same_time_one_does()
    {
        using var service = Service.With();
        var answers = await Task.WhenAll(Enumerable.Range(0, 16).Select(_ => Task.Run(() => service.Client.PostAsync("/v1/keys", FirstKey))));
        var created = Assert.Single(answers, answer => answer.Status == 201);
        Assert.Equal(15, answers.Count(answer => answer.Status == 401));
        Assert.Single((await service.Client.GetAsync("/v1/keys", KeyedService.Bearer(created["key"].GetString()!))).Expect(200)["keys"].EnumerateArray());
    }

    /// <summary>A body that comes slowly, until somebody else has made the first key.</summary>
    [Theory]
    [InlineData("""{"name":"late","role":"admin","i_will_keep_the_key":true}""")]
    [InlineData("""{"name":"late","role":"reader","prefix":"a"}""")]
    public async Task A_request_that_began_before_the_first_key_makes_none_behind_it(string body)
    {
        using var service = Service.OnKestrel();
        using var connection = await service.ConnectAsync();
        await connection.WriteHeadAsync("POST", "/v1/keys", ("Content-Type", "application/json"), ("Content-Length", $"{body.Length}"), ("Expect", "100-continue"));
        await connection.ReadUntilAsync("100 Continue");
        await connection.WriteAsync(body[..^1]);
        var admin = KeyedService.Bearer(await KeyedService.CreateAsync(service.Client, "admin", null, null));
        await connection.WriteAsync(body[^1..]);
        Assert.Equal(401, (await connection.ReadAnswerAsync()).Status);
        Assert.Single((await service.Client.GetAsync("/v1/keys", admin)).Expect(200)["keys"].EnumerateArray());
    }

    /// <summary>A node does not know for a moment what another one has made.</summary>
    [Fact]
    public async Task Of_two_nodes_one_makes_the_first_key()
    {
        var keys = new LateKeys();
        using var one = Service.Replacing(services => services.AddSingleton<IKeyStore>(keys));
        using var other = Service.Replacing(services => services.AddSingleton<IKeyStore>(keys));
        (await other.Client.GetAsync("/v1/keys")).Expect(200);
        // Between the look at the keys and the change, and before it.
        keys.BeforeNextInsert = () => KeyedService.CreateAsync(one.Client, "admin", null, null);
        (await other.Client.PostAsync("/v1/keys", FirstKey)).ExpectProblem("unauthorized", "has been created");
        Assert.Single(await keys.ListKeysAsync(default));
        (await other.Client.PostAsync("/v1/keys", FirstKey)).ExpectProblem("unauthorized");
        Assert.Single(await keys.ListKeysAsync(default));
    }

    private sealed class LateKeys : IKeyStore
    {
        private readonly MemoryKeyStore _inner = new();

        public Func<Task>? BeforeNextInsert { get; set; }

        public bool IsShared => false;

        public ValueTask<IReadOnlyList<StoredKey>> ListKeysAsync(CancellationToken cancellationToken) => _inner.ListKeysAsync(cancellationToken);

        public async ValueTask<bool> TryInsertKeyAsync(StoredKey key, CancellationToken cancellationToken) => await Late() && await _inner.TryInsertKeyAsync(key, cancellationToken);

        public async ValueTask<bool> TryInsertFirstKeyAsync(StoredKey key, CancellationToken cancellationToken) => await Late() && await _inner.TryInsertFirstKeyAsync(key, cancellationToken);

        public ValueTask<bool> TryReplaceKeyAsync(StoredKey key, CancellationToken cancellationToken) => _inner.TryReplaceKeyAsync(key, cancellationToken);

        public ValueTask<bool> TryDeleteKeyAsync(string id, CancellationToken cancellationToken) => _inner.TryDeleteKeyAsync(id, cancellationToken);

        private async Task<bool> Late()
        {
            var before = BeforeNextInsert;
            BeforeNextInsert = null;
            if (before is not null) await before();
            return true;
        }
    }
}
