using BnService.Api.Storage;
using Microsoft.Extensions.DependencyInjection;
using KeyedService = BnService.Harness.KeyedService;

namespace BnService.Api.Tests.Auth;

/// <summary>Keys of nodes that share a store, which may be away.</summary>
public sealed class NodesTests
{
    [Fact]
    public async Task What_one_node_does_with_keys_the_others_know_a_second_later()
    {
        var (store, time) = (new SharedKeys(), new ManualTime());
        using var one = Node(store, time);
        using var other = Node(store, time);
        (await other.Client.GetAsync("/v1/sessions")).Expect(200);
        var admin = await KeyedService.CreateAsync(one.Client, "admin", null, null);
        await PassAsync(time, async () => (await other.Client.GetAsync("/v1/sessions")).Status == 401);
        (await other.Client.GetAsync("/v1/keys", KeyedService.Bearer(admin))).Expect(200);

        var reader = await KeyedService.CreateAsync(other.Client, "reader", null, admin);
        await PassAsync(time, async () => (await one.Client.GetAsync("/v1/sessions", KeyedService.Bearer(reader))).Status == 200);
        var rotated = (await other.Client.PostAsync($"/v1/keys/{KeyedService.IdOf(reader)}/rotate", null, KeyedService.Bearer(admin))).Expect(200)["key"].GetString()!;
        await PassAsync(time, async () => (await one.Client.GetAsync("/v1/sessions", KeyedService.Bearer(reader))).Status == 401);
        (await one.Client.GetAsync("/v1/sessions", KeyedService.Bearer(rotated))).Expect(200);
        (await one.Client.DeleteAsync($"/v1/keys/{KeyedService.IdOf(reader)}", KeyedService.Bearer(admin))).Expect(204);
        (await one.Client.GetAsync("/v1/sessions", KeyedService.Bearer(rotated))).ExpectProblem("unauthorized");
        await PassAsync(time, async () => (await other.Client.GetAsync("/v1/sessions", KeyedService.Bearer(rotated))).Status == 401);
    }

    [Fact]
    public async Task While_the_store_is_away_known_keys_are_known_and_nothing_is_asked_of_it()
    {
        var (store, time) = (new SharedKeys(), new ManualTime());
        using var service = Node(store, time);
        var admin = await KeyedService.CreateAsync(service.Client, "admin", null, null);
        var asked = store.Asked;
        for (var i = 0; i < 50; i++) (await service.Client.GetAsync("/v1/sessions", KeyedService.Bearer(admin))).Expect(200);
        for (var i = 0; i < 50; i++) (await service.Client.GetAsync("/v1/sessions", KeyedService.Bearer($"bn_{i:x16}_AAAA"))).Expect(401);
        Assert.Equal(asked, store.Asked);
        store.IsAway = true;
        await PassAsync(time, () => Task.FromResult(store.Asked > asked + 2));
        (await service.Client.GetAsync("/v1/sessions", KeyedService.Bearer(admin))).Expect(200);
        (await service.Client.GetAsync("/v1/sessions")).ExpectProblem("unauthorized");
        Assert.Equal(503, (await service.Unchecked.PostAsync("/v1/keys", """{"name":"a","role":"reader"}""", KeyedService.Bearer(admin))).Status);
        store.IsAway = false;
        await KeyedService.CreateAsync(service.Client, "reader", null, admin);
    }

    /// <summary>Whoever takes the last key away, by the command line or in the database, does not open what was closed.</summary>
    [Fact]
    public async Task A_service_that_has_had_keys_stays_closed()
    {
        var (store, time) = (new SharedKeys(), new ManualTime());
        using var service = Node(store, time);
        var admin = await KeyedService.CreateAsync(service.Client, "admin", null, null);
        await store.TryDeleteKeyAsync(KeyedService.IdOf(admin), default);
        await PassAsync(time, async () => (await service.Client.GetAsync("/v1/sessions", KeyedService.Bearer(admin))).Status == 401);
        (await service.Client.GetAsync("/v1/sessions")).ExpectProblem("unauthorized");
        (await service.Client.PostAsync("/v1/keys", """{"name":"a","role":"admin"}""")).ExpectProblem("unauthorized");
    }

    [Fact]
    public async Task As_long_as_the_keys_could_not_be_read_nobody_is_let_in()
    {
        var store = new SharedKeys { IsAway = true };
        using var service = Node(store, new ManualTime());
        (await service.Client.GetAsync("/health/live")).Expect(200);
        Assert.Equal(503, (await service.Unchecked.GetAsync("/v1/sessions")).Status);
        store.IsAway = false;
        (await service.Client.GetAsync("/v1/sessions")).Expect(200);
    }

    private static Service Node(SharedKeys store, ManualTime time) => Service.Replacing(services => services.AddSingleton<IKeyStore>(store).AddSingleton<TimeProvider>(time));

    private static async Task PassAsync(ManualTime time, Func<Task<bool>> holds)
    {
        for (var i = 0; i < 1000; i++)
        {
            if (await holds()) return;
            time.AdvanceBy(TimeSpan.FromSeconds(1));
            await Task.Delay(5);
        }
        Assert.Fail("it does not come about");
    }
}
