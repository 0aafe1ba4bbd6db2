using BnService.Api.Hosting.Limits;

namespace BnService.Api.Tests.Limits;

/// <summary>Places of requests, streams and waiting ranks: nobody takes those that others need.</summary>
public sealed class PlacesTests
{
    private const string Step = """{"x":[[1,2],[3,5]],"retain":false}""";

    [Fact]
    public async Task A_key_that_opens_all_the_streams_it_gets_leaves_some_to_others_and_all_requests()
    {
        using var keyed = await OpenAsync(("Limits:MaxStreams", "6"), ("Limits:MaxStreamsPerKey", "4"), ("Limits:MaxConcurrentRequests", "2"));
        var (one, two) = (Bearer(await keyed.KeyAsync("reader")), Bearer(await keyed.KeyAsync("reader")));
        using var streams = new Streams(keyed);
        var refused = await streams.OpenUntilRefusedAsync(one);
        // Three are left to all others then.
        Assert.Equal((3, 429), (streams.Count, refused.Status));
        refused.ExpectProblem("too-many-requests", "one key may have no more streams of events at one time than are left to all others of the 6 that the service serves (Limits:MaxStreams), got 4");
        Assert.Equal("1", refused.Headers["Retry-After"]);
        Assert.Equal(429, (await streams.OpenUntilRefusedAsync(two)).Status);
        Assert.Equal(5, streams.Count);
        // However many take what they can get, there is one for the next.
        Assert.Null(await streams.OpenAsync(Bearer(keyed.Admin)));
        (await keyed.Client.PostAsync("/v1/sessions/s/train-step", Step, Bearer(keyed.Admin))).Expect(200);
        Assert.Equal((6, 0), (keyed.Service.Held(Place.Stream), await Eventually.SettledAsync(() => keyed.Service.Held(Place.Request))));
        (await keyed.Service.Unchecked.GetAsync("/v1/events", Bearer(await keyed.KeyAsync("reader")))).ExpectProblem("overloaded", "serves 6 streams of events at one time (Limits:MaxStreams)");
    }

    [Fact]
    public async Task A_key_has_no_more_streams_than_one_key_may()
    {
        using var keyed = await OpenAsync(("Limits:MaxStreamsPerKey", "2"));
        using var streams = new Streams(keyed);
        var refused = await streams.OpenUntilRefusedAsync(Bearer(keyed.Admin));
        refused.ExpectProblem("too-many-requests", "one key may have 2 streams of events at one time (Limits:MaxStreamsPerKey), got one more");
        Assert.Equal(2, streams.Count);
        // The streams of one session are counted with those of all.
        (await keyed.Service.Unchecked.GetAsync("/v1/sessions/s/events", Bearer(keyed.Admin))).ExpectProblem("too-many-requests", "(Limits:MaxStreamsPerKey)");
        streams.CloseOne();
        await Eventually.EqualAsync(1, () => keyed.Service.Held(Place.Stream));
        Assert.Null(await streams.OpenAsync(Bearer(keyed.Admin)));
    }

    [Fact]
    public async Task Waiting_ranks_hold_no_places_of_requests_and_a_key_not_all_of_ranks()
    {
        using var keyed = await OpenAsync(("Limits:MaxWaitingRanks", "4"), ("Limits:MaxConcurrentRequests", "1"));
        var (one, two) = (Bearer(await keyed.KeyAsync("trainer")), Bearer(await keyed.KeyAsync("trainer")));
        using var hangUp = new CancellationTokenSource();
        var waiting = Enumerable.Range(0, 2).Select(rank => keyed.Client.PostAsync(
            $"/v1/sessions/s/sync/g/train-step?rank={rank}&world_size=3", Step, hangUp.Token, one)).ToList();
        await Eventually.EqualAsync(2, () => keyed.Service.WaitingCalls);
        (await RankAsync(keyed, 2, 3, one)).ExpectProblem("too-many-requests", "(Limits:MaxWaitingRanks)");
        (await keyed.Client.PostAsync("/v1/sessions/s/train-step", Step, one)).Expect(200);
        // Another key's rank makes the step whole: all are answered.
        (await RankAsync(keyed, 2, 3, two)).Expect(200);
        foreach (var call in waiting) (await call).Expect(200);
        await Eventually.EqualAsync(0, () => keyed.Service.Held(Place.Rank));
    }

    [Fact]
    public async Task Slow_bodies_of_one_key_leave_places_to_others_and_calls_about_keys_need_none()
    {
        using var keyed = await OpenAsync(("Limits:MaxConcurrentRequests", "4"));
        var (one, two) = (Bearer(await keyed.KeyAsync("reader")), Bearer(await keyed.KeyAsync("reader")));
        var slow = new List<RawConnection>();
        try
        {
            for (var i = 0; i < 2; i++) slow.Add(await SlowAsync(keyed, one));
            await Eventually.EqualAsync(2, () => keyed.Service.Held(Place.Request));
            using var third = await SlowAsync(keyed, one);
            Assert.Equal(429, (await third.ReadAnswerAsync()).Status);
            slow.Add(await SlowAsync(keyed, two));
            await Eventually.EqualAsync(3, () => keyed.Service.Held(Place.Request));
            (await keyed.Client.PostAsync("/v1/sessions/s/train-step", Step, Bearer(keyed.Admin))).Expect(200);
            slow.Add(await SlowAsync(keyed, Bearer(keyed.Admin)));
            await Eventually.EqualAsync(4, () => keyed.Service.Held(Place.Request));
            (await keyed.Service.Unchecked.GetAsync("/v1/sessions", Bearer(keyed.Admin))).ExpectProblem("overloaded", "4 requests at one time");
            // All places of requests are held; the one who has taken them loses its key, and with it the places.
            Assert.Equal(200, (await keyed.Service.Unchecked.GetAsync("/metrics", Bearer(keyed.Admin))).Status);
            (await keyed.Client.DeleteAsync($"/v1/keys/{KeyedService.IdOf(one.Value[7..])}", Bearer(keyed.Admin))).Expect(204);
            foreach (var connection in slow.Take(2)) Assert.Equal(401, (await connection.ReadAnswerAsync()).Status);
            await Eventually.EqualAsync(2, () => keyed.Service.Held(Place.Request));
        }
        finally
        {
            slow.ForEach(connection => connection.Dispose());
        }
    }

    [Fact]
    public async Task A_stranger_holds_no_place_and_nobody_waits_for_its_body()
    {
        using var keyed = await OpenAsync(("Limits:MaxConcurrentRequests", "1"));
        using var stranger = await SlowAsync(keyed, ("X-Api-Key", "bn_0000000000000000_AAAA"));
        Assert.Equal(401, (await stranger.ReadAnswerAsync()).Status);
        using var creating = await keyed.Service.ConnectAsync();
        await creating.WriteHeadAsync("POST", "/v1/keys", ("Content-Type", "application/json"), ("Content-Length", "1000"));
        Assert.Equal(401, (await creating.ReadAnswerAsync()).Status);
        Assert.Equal(0, await Eventually.SettledAsync(() => Enum.GetValues<Place>().Where(place => place != Place.None).Sum(keyed.Service.Held)));
        (await keyed.Client.PostAsync("/v1/sessions/s/train-step", Step, Bearer(keyed.Admin))).Expect(200);
    }

    [Fact]
    public async Task The_rest_of_refused_bodies_is_waited_for_as_far_as_one_key_has_places()
    {
        using var keyed = await OpenAsync(("Limits:MaxConcurrentRequests", "4"), ("Limits:MaxRequestsPerKey", "1"));
        var one = Bearer(await keyed.KeyAsync("reader"));
        using var held = await SlowAsync(keyed, one);
        await Eventually.EqualAsync(1, () => keyed.Service.Held(Place.Request));
        var refused = new List<RawConnection>();
        for (var i = 0; i < 5; i++)
        {
            refused.Add(await SlowAsync(keyed, one));
            Assert.Equal(429, (await refused[^1].ReadAnswerAsync()).Status);
        }
        Assert.Equal(1, await Eventually.SettledAsync(() => keyed.Service.Held(Place.Refused)));
        refused.ForEach(connection => connection.Dispose());
        await Eventually.EqualAsync(0, () => keyed.Service.Held(Place.Refused));
    }

    private static async Task<KeyedService> OpenAsync(params (string Key, string Value)[] settings)
    {
        var keyed = await KeyedService.OnKestrelAsync(settings);
        (await keyed.Client.PostAsync("/v1/sessions", """{"name":"s","num_features":2}""", Bearer(keyed.Admin))).Expect(201);
        return keyed;
    }

    private static (string Name, string Value) Bearer(string key) => KeyedService.Bearer(key);

    private static Task<Answer> RankAsync(KeyedService keyed, int rank, int size, (string Name, string Value) key) =>
        keyed.Service.Unchecked.PostAsync($"/v1/sessions/s/sync/g/train-step?rank={rank}&world_size={size}", Step, key);

    private static async Task<RawConnection> SlowAsync(KeyedService keyed, (string Name, string Value) key)
    {
        var connection = await keyed.Service.ConnectAsync();
        await connection.WriteHeadAsync("POST", "/v1/sessions/s/inference", ("Content-Type", "application/json"), ("Content-Length", "1000"), key);
        await connection.WriteAsync("""{"x":""");
        return connection;
    }

    private sealed class Streams(KeyedService keyed) : IDisposable
    {
        private readonly HttpClient _http = keyed.Service.NewHttp();
        private readonly List<HttpResponseMessage> _open = [];

        public int Count => _open.Count;

        // Null where it is open; else the refusal.
        public async Task<Answer?> OpenAsync((string Name, string Value) key)
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, new Uri("/v1/events", UriKind.Relative));
            request.Headers.TryAddWithoutValidation(key.Name, key.Value);
            var response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
            if (response.IsSuccessStatusCode)
            {
                _open.Add(response);
                return null;
            }
            response.Dispose();
            return await keyed.Service.Unchecked.GetAsync("/v1/events", key);
        }

        public async Task<Answer> OpenUntilRefusedAsync((string Name, string Value) key)
        {
            while (true)
            {
                if (await OpenAsync(key) is { } refused) return refused;
            }
        }

        public void CloseOne()
        {
            _open[0].Dispose();
            _open.RemoveAt(0);
        }

        public void Dispose()
        {
            _open.ForEach(response => response.Dispose());
            _http.Dispose();
        }
    }
}
