namespace BnService.Api.Tests.Memory;

/// <summary>Large sessions that are not in memory come into it within the budget, whatever asks for them; small ones come as ever.</summary>
public sealed class ColdSessionsTests : IDisposable
{
    private const int Features = 10_000;
    private const long Budget = 16 << 20, LeastBytes = 4 * Features * sizeof(double);

    private readonly WatchedStore _store = new() { IsShared = false };
    private readonly Service _service;

    // One of them has room in memory, beside others that are small.
    public ColdSessionsTests() => _service = Service.Node(_store, "one", null,
        ("Memory:BudgetBytes", $"{Budget}"), ("Memory:WaitTime", "00:00:00.050"), ("Sessions:MaxResidentBytes", "750000"));

    public void Dispose() => _service.Dispose();

    [Theory]
    [InlineData("GET", "")]
    [InlineData("GET", "/stats")]
    [InlineData("GET", "/state")]
    [InlineData("GET", "/diagnostics")]
    [InlineData("GET", "/snapshots")]
    [InlineData("GET", "/snapshots/2")]
    [InlineData("GET", "/state?version=2")]
    [InlineData("POST", "/snapshots/2/restore")]
    [InlineData("POST", "/reset")]
    [InlineData("POST", "/inference")]
    [InlineData("POST", "/inference?version=2")]
    [InlineData("POST", "/train-step")]
    [InlineData("DELETE", "")]
    public async Task What_has_no_room_is_refused_before_it_is_read(string method, string path)
    {
        var session = await LargeAsync("a");
        (await session.SnapshotAsync()).Expect(201);
        await LargeAsync("b");
        Task<Answer> SendAsync() => path is "" or "/reset" || method == "GET" || path.StartsWith("/snap", StringComparison.Ordinal)
            ? _service.Unchecked.SendAsync(new HttpMethod(method), $"{session.Path}{path}", null)
            : _service.Unchecked.PostAsync($"{session.Path}{path}", Forms.Npy, ArrayFile.Of(Batch.Random(3, 4, Features)));
        var finds = _store.Finds;
        using (_service.Occupy(Budget - (1 << 20)))
        {
            (await SendAsync()).ExpectProblem("overloaded", "Memory:BudgetBytes");
            Assert.Equal(finds, _store.Finds);
        }
        Assert.InRange((await SendAsync()).Status, 200, 204);
        await Eventually.TrueAsync(() => _service.UsedMemory <= _service.RetainedBytes, "what was read is counted still");
    }

    [Fact]
    public async Task What_is_read_is_counted_as_it_is_read()
    {
        var session = await LargeAsync("a");
        await LargeAsync("b");
        var used = 0L;
        _store.AfterNextFind = () =>
        {
            used = _service.UsedMemory;
            return Task.CompletedTask;
        };
        (await session.StatsAsync()).Expect(200);
        Assert.InRange(used, 2 * LeastBytes, Budget / 2);
    }

    [Fact]
    public async Task Many_who_ask_for_the_same_one_have_it_read_once()
    {
        var session = await LargeAsync("a");
        await LargeAsync("b");
        var (finds, looks) = (_store.Finds, _store.Withheld);
        _store.AfterNextFind = () => Eventually.EqualAsync(looks + 40, () => _store.Withheld);
        var answers = await Task.WhenAll(Enumerable.Range(0, 40).Select(i => i % 2 == 0 ? session.GetAsync() : session.StatsAsync()));
        Assert.All(answers, answer => answer.Expect(200));
        Assert.Equal(finds + 1, _store.Finds);
    }

    [Fact]
    public async Task Who_began_it_may_go()
    {
        var session = await LargeAsync("a");
        await LargeAsync("b");
        using var gone = new CancellationTokenSource();
        var rest = new TaskCompletionSource();
        _store.AfterNextFind = () => rest.Task;
        using var http = _service.NewHttp();
        var first = http.GetAsync(new Uri(session.Path, UriKind.Relative), gone.Token);
        await Eventually.TrueAsync(() => _store.AfterNextFind is null, "nobody reads");
        var looks = _store.Withheld;
        var second = session.GetAsync();
        await Eventually.EqualAsync(looks + 1, () => _store.Withheld);
        await gone.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => first);
        rest.SetResult();
        (await second).Expect(200);
    }

    [Fact]
    public async Task A_small_one_is_found_with_its_state_at_once()
    {
        var session = await _service.CreateAsync("""{"num_features":1000}""");
        (await session.TrainAsync(Batch.Random(1, 4, 1000))).Expect(200);
        using var cold = Service.Node(_store, "two");
        _store.TakeAsked();
        (await cold.Client.GetAsync(session.Path)).Expect(200);
        Assert.Single(_store.TakeAsked().Split(' '), call => call == "FindAsync");
        Assert.Equal(0, _store.Withheld);
    }

    // Its state has more than four arrays, none of which holds one value throughout.
    private async Task<SessionClient> LargeAsync(string name)
    {
        var session = await _service.CreateAsync($$"""{"name":"{{name}}","num_features":{{Features}}}""");
        (await session.PostAsync("train-step", Message.Of(Batch.Random(1, 4, Features)).With("retain", "false"), Forms.Safetensors)).Expect(200);
        return session;
    }
}
