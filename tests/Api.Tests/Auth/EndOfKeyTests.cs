using System.Diagnostics;
using BnService.Api.Hosting.Limits;

namespace BnService.Api.Tests.Auth;

/// <summary>What has been sent with a key ends with it: streams, waiting ranks, and bodies that still come.</summary>
public sealed class EndOfKeyTests
{
    private const string Step = """{"x":[[1,2],[3,5]],"retain":false}""";

    // A second is what is promised; as it was, a stream went on for five minutes.
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(10);

    [Theory]
    [InlineData("DELETE", "")]
    [InlineData("POST", "/rotate")]
    public async Task The_streams_of_a_key_end_with_it_and_those_of_others_go_on(string method, string path)
    {
        using var keyed = await OpenAsync();
        var (key, other) = (await keyed.KeyAsync("reader"), await keyed.KeyAsync("reader"));
        using var all = await Events.OpenAsync(keyed.Service.Address, "/v1/events", KeyedService.Bearer(key));
        using var one = await Events.OpenAsync(keyed.Service.Address, "/v1/sessions/s/events", KeyedService.Bearer(key));
        using var others = await Events.OpenAsync(keyed.Service.Address, "/v1/sessions/s/events", KeyedService.Bearer(other));
        Assert.Equal("state", (await others.NextAsync()).Name);
        var waited = Stopwatch.StartNew();
        (await keyed.Client.SendAsync(new HttpMethod(method), $"/v1/keys/{KeyedService.IdOf(key)}{path}", null, KeyedService.Bearer(keyed.Admin))).Expect(method == "POST" ? 200 : 204);
        Assert.True(await all.HasEndedAsync() && await one.HasEndedAsync());
        Assert.InRange(waited.Elapsed, TimeSpan.Zero, Patience);
        await Eventually.EqualAsync(1, () => keyed.Service.Held(Place.Stream));
        (await keyed.Client.PostAsync("/v1/sessions/s/train-step", Step, KeyedService.Bearer(keyed.Admin))).Expect(200);
        Assert.Equal("step", (await others.NextAsync()).Name);
    }

    [Fact]
    public async Task Streams_that_were_opened_without_a_key_end_with_the_first_one()
    {
        using var service = Service.OnKestrel();
        using var all = await Events.OpenAsync(service.Address, "/v1/events");
        var waited = Stopwatch.StartNew();
        await KeyedService.CreateAsync(service.Client, "admin", null, null);
        Assert.True(await all.HasEndedAsync());
        Assert.InRange(waited.Elapsed, TimeSpan.Zero, Patience);
    }

    [Fact]
    public async Task A_rank_that_waits_is_401_when_its_key_is_revoked_and_is_not_counted_any_more()
    {
        using var keyed = await OpenAsync();
        var key = KeyedService.Bearer(await keyed.KeyAsync("trainer"));
        var waiting = RankAsync(keyed, 0, key);
        await Eventually.EqualAsync(1, () => keyed.Service.WaitingRanks);
        (await keyed.Client.DeleteAsync($"/v1/keys/{KeyedService.IdOf(key.Value[7..])}", KeyedService.Bearer(keyed.Admin))).Expect(204);
        (await waiting).ExpectProblem("unauthorized", "the key was rotated or revoked while the request was on its way; nothing has changed");
        await Eventually.EqualAsync(0, () => keyed.Service.WaitingRanks);
        Assert.Equal(0, await BatchesAsync(keyed));
        // The place in the step is free for whoever comes with another key.
        var (first, second) = (RankAsync(keyed, 0, KeyedService.Bearer(keyed.Admin)), RankAsync(keyed, 1, KeyedService.Bearer(keyed.Admin)));
        foreach (var rank in (Task<Answer>[])[first, second]) (await rank).Expect(200);
        Assert.Equal(1, await BatchesAsync(keyed));
    }

    [Fact]
    public async Task A_body_that_still_comes_when_its_key_is_revoked_changes_nothing()
    {
        using var keyed = await OpenAsync();
        var key = KeyedService.Bearer(await keyed.KeyAsync("trainer"));
        using var connection = await keyed.Service.ConnectAsync();
        await connection.WriteHeadAsync("POST", "/v1/sessions/s/train-step", ("Content-Type", "application/json"), ("Content-Length", $"{Step.Length}"), key);
        await connection.WriteAsync(Step[..10]);
        await Eventually.EqualAsync(1, () => keyed.Service.Held(Place.Request));
        (await keyed.Client.DeleteAsync($"/v1/keys/{KeyedService.IdOf(key.Value[7..])}", KeyedService.Bearer(keyed.Admin))).Expect(204);
        Assert.Equal(401, (await connection.ReadAnswerAsync()).Status);
        Assert.Equal(0, await BatchesAsync(keyed));
    }

    [Fact]
    public async Task Whoever_rotates_or_revokes_the_own_key_gets_the_answer()
    {
        using var keyed = await OpenAsync();
        var own = await keyed.KeyAsync("admin");
        var rotated = (await keyed.Client.PostAsync($"/v1/keys/{KeyedService.IdOf(own)}/rotate", null, KeyedService.Bearer(own))).Expect(200)["key"].GetString()!;
        (await keyed.Client.GetAsync("/v1/keys", KeyedService.Bearer(own))).ExpectProblem("unauthorized");
        (await keyed.Client.DeleteAsync($"/v1/keys/{KeyedService.IdOf(own)}", KeyedService.Bearer(rotated))).Expect(204);
    }

    [Fact]
    public async Task Streams_on_another_node_end_when_it_looks_for_keys_and_only_those_of_keys_that_have_changed()
    {
        var store = new SharedKeys();
        using var one = Service.OnKestrel(store.Replace);
        using var other = Service.OnKestrel(store.Replace);
        var admin = await KeyedService.CreateAsync(one.Client, "admin", null, null);
        var (key, kept) = (await KeyedService.CreateAsync(one.Client, "reader", null, admin), await KeyedService.CreateAsync(one.Client, "reader", null, admin));
        await Eventually.EqualAsync(401, () => other.Unchecked.GetAsync("/v1/sessions").GetAwaiter().GetResult().Status);
        await Eventually.EqualAsync(200, () => other.Unchecked.GetAsync("/v1/sessions", KeyedService.Bearer(kept)).GetAwaiter().GetResult().Status);
        using var ending = await Events.OpenAsync(other.Address, "/v1/events", KeyedService.Bearer(key));
        using var going = await Events.OpenAsync(other.Address, "/v1/events", KeyedService.Bearer(kept));
        var waited = Stopwatch.StartNew();
        (await one.Client.DeleteAsync($"/v1/keys/{KeyedService.IdOf(key)}", KeyedService.Bearer(admin))).Expect(204);
        Assert.True(await ending.HasEndedAsync());
        Assert.InRange(waited.Elapsed, TimeSpan.Zero, Patience);
        (await other.Client.PostAsync("/v1/sessions", """{"name":"s","num_features":2}""", KeyedService.Bearer(admin))).Expect(201);
        Assert.Equal("activity", (await going.NextAsync()).Name);
    }

    private static async Task<KeyedService> OpenAsync()
    {
        var keyed = await KeyedService.OnKestrelAsync();
        (await keyed.Client.PostAsync("/v1/sessions", """{"name":"s","num_features":2}""", KeyedService.Bearer(keyed.Admin))).Expect(201);
        return keyed;
    }

    private static Task<Answer> RankAsync(KeyedService keyed, int rank, (string Name, string Value) key) =>
        keyed.Client.PostAsync($"/v1/sessions/s/sync/g/train-step?rank={rank}&world_size=2", Step, key);

    private static async Task<int> BatchesAsync(KeyedService keyed) =>
        (await keyed.Client.GetAsync("/v1/sessions/s/stats", KeyedService.Bearer(keyed.Admin))).Expect(200)["num_batches_tracked"].GetInt32();
}
