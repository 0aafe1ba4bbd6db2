using System.Globalization;
using System.Text.Json;
using BnService.EndToEnd.Harness;

namespace BnService.EndToEnd.Faults;

/// <summary>The service on a disk that is full, read-only or holds something else.</summary>
[Trait("Needs", "root")]
public sealed class DiskTests : IDisposable
{
    private const string Step = """{"x":[[1,2,3,4],[5,6,7,8]]}""", Batch = """{"x":[[1,2,3,4]]}""";

    private readonly SmallDisk _disk = new(8);
    private readonly Replay _replay = new();

    private string File => Path.Combine(_disk.Folder, "deep", "bn.db");

    public void Dispose()
    {
        _replay.Dispose();
        _disk.Dispose();
    }

    [Theory]
    [InlineData("step")]
    [InlineData("interval")]
    public async Task A_full_disk_is_503_until_there_is_room_again_and_nothing_is_lost(string durability)
    {
        using var service = await ServiceProcess.StartAsync(("Storage__Path", File), ("Storage__Durability", durability), ("Storage__IntervalMs", "5"));
        using var http = new HttpClient { BaseAddress = service.Address };
        (await service.Client.PostAsync("/v1/sessions", Operation.Options("s"))).Expect(201);
        var made = 0;
        for (var round = 0; round < 3; round++)
        {
            for (var i = 0; i < 20; i++) Assert.NotNull(await new Operation("s", made++).TryAsync(http, CancellationToken.None));
            _disk.Fill();
            // What the log has room for is still made; then nothing is, however often it is asked for.
            while (await new Operation("s", made).TryAsync(http, CancellationToken.None) is not null) made++;
            for (var i = 0; i < 5; i++) Assert.Null(await new Operation("s", made).TryAsync(http, CancellationToken.None));
            var refused = await SendAsync(http, HttpMethod.Post, "/v1/sessions", $$"""{"name":"other{{round}}","num_features":100000}""");
            Assert.Equal(503, refused.Status);
            Assert.Contains("\"overloaded\"", refused.Text, StringComparison.Ordinal);
            Assert.Contains("full", refused.Text, StringComparison.Ordinal);
            var session = new SessionClient(service.Client, "s");
            (await session.InferAsync("""{"x":[[1,2,3,4]]}""")).Expect(200);
            Assert.Equal(await _replay.StateAfterAsync("s", made), (await session.GetStateAsync()).Expect(200).Text);
            _disk.Empty();
            Assert.Equal(made + 2, await new Operation("s", made).TryAsync(http, CancellationToken.None));
            made++;
        }
        service.Kill();
        using var again = await ServiceProcess.StartAsync(("Storage__Path", File));
        Assert.Equal(await _replay.StateAfterAsync("s", made), (await new SessionClient(again.Client, "s").GetStateAsync()).Expect(200).Text);
        Soak.Report(string.Create(CultureInfo.InvariantCulture, $"a disk filled 3 times ({durability}): {made} changes answered, 0 lost"));
    }

    [Fact]
    public async Task A_read_only_folder_without_a_file_is_503_until_it_can_be_written()
    {
        _disk.MakeReadOnly(true);
        using var service = await ServiceProcess.StartAsync(("Storage__Path", File));
        using var http = new HttpClient { BaseAddress = service.Address };
        foreach (var (method, path, body) in new (HttpMethod, string, string?)[]
        {
            (HttpMethod.Post, "/v1/sessions", Operation.Options("s")), (HttpMethod.Get, "/v1/sessions", null), (HttpMethod.Get, "/v1/sessions/s", null),
            (HttpMethod.Post, "/v1/sessions/s/train-step", Step),
        })
        {
            var answer = await SendAsync(http, method, path, body);
            Assert.Equal(503, answer.Status);
            Assert.Contains($"Storage:Path '{File}' cannot be written", answer.Text, StringComparison.Ordinal);
            Assert.True(answer.HasRetryAfter);
        }
        Assert.Equal(503, (await SendAsync(http, HttpMethod.Get, "/health/ready", null)).Status);
        Assert.Equal(200, (await SendAsync(http, HttpMethod.Get, "/health/live", null)).Status);
        _disk.MakeReadOnly(false);
        await Eventually.TrueAsync(() => SendAsync(http, HttpMethod.Get, "/health/ready", null).GetAwaiter().GetResult().Status == 200, "never ready");
        (await service.Client.PostAsync("/v1/sessions", Operation.Options("s"))).Expect(201);
        Assert.Equal(2, await new Operation("s", 0).TryAsync(http, CancellationToken.None));
    }

    /// <summary>With the log that a killed process leaves, without one, and where there is a file and no room for a log.</summary>
    [Theory]
    [InlineData(true, false)]
    [InlineData(false, false)]
    [InlineData(false, true)]
    public async Task A_service_that_starts_where_it_cannot_write_serves_what_is_stored_to_keys_and_goes_on_when_it_can(bool isKilled, bool isFull)
    {
        var (key, y) = ("", "");
        using (var before = await ServiceProcess.StartAsync(("Storage__Path", File)))
        {
            using var first = new HttpClient { BaseAddress = before.Address };
            var created = await SendAsync(first, HttpMethod.Post, "/v1/keys", """{"name":"first","role":"admin","i_will_keep_the_key":true}""");
            using (var document = JsonDocument.Parse(created.Text)) key = document.RootElement.GetProperty("key").GetString()!;
            using var keyed = Keyed(before, key);
            Assert.Equal(201, (await SendAsync(keyed, HttpMethod.Post, "/v1/sessions", Operation.Options("s"))).Status);
            Assert.Equal(200, (await SendAsync(keyed, HttpMethod.Post, "/v1/sessions/s/train-step", Step)).Status);
            y = (await SendAsync(keyed, HttpMethod.Post, "/v1/sessions/s/inference", Batch)).Text;
            if (isKilled) before.Kill();
            else
            {
                before.Terminate();
                Assert.Equal(0, await before.ExitAsync());
            }
        }
        if (isFull) _disk.Fill();
        else _disk.MakeReadOnly(true);
        using var service = await ServiceProcess.StartAsync(("Storage__Path", File));
        using HttpClient open = new() { BaseAddress = service.Address }, http = Keyed(service, key);
        Assert.Equal(401, (await SendAsync(open, HttpMethod.Post, "/v1/sessions/s/inference", Batch)).Status);
        foreach (var path in (string[])["/v1/sessions?include=health,total", "/v1/sessions/s", "/v1/sessions/s/stats", "/v1/sessions/s/state", "/v1/sessions/s/diagnostics", "/v1/keys", "/health/ready"])
            Assert.Equal(200, (await SendAsync(http, HttpMethod.Get, path, null)).Status);
        Assert.Equal(y, (await SendAsync(http, HttpMethod.Post, "/v1/sessions/s/inference", Batch)).Text);
        foreach (var (method, path, body) in new (HttpMethod, string, string?)[]
        {
            (HttpMethod.Post, "/v1/sessions/s/train-step", Step), (HttpMethod.Post, "/v1/sessions", Operation.Options("t")), (HttpMethod.Delete, "/v1/sessions/s", null),
            (HttpMethod.Post, "/v1/keys", """{"name":"more","role":"reader"}"""), (HttpMethod.Post, "/v1/sessions/s/snapshots", null),
        })
        {
            var answer = await SendAsync(http, method, path, body);
            Assert.True(answer is { Status: 503, HasRetryAfter: true }, $"{path} is {answer.Status}: {answer.Text}");
            if (!isFull) Assert.Contains($"Storage:Path '{File}' cannot be written", answer.Text, StringComparison.Ordinal);
        }
        if (isFull) _disk.Empty();
        else _disk.MakeReadOnly(false);
        await Eventually.TrueAsync(() => new Operation("s", 0).TryAsync(http, CancellationToken.None).GetAwaiter().GetResult() == 3, "never written");
        Assert.Equal(201, (await SendAsync(http, HttpMethod.Post, "/v1/keys", """{"name":"more","role":"reader"}""")).Status);
    }

    private static HttpClient Keyed(ServiceProcess service, string key) =>
        new() { BaseAddress = service.Address, DefaultRequestHeaders = { { "X-Api-Key", key } } };

    private static async Task<(int Status, string Text, bool HasRetryAfter)> SendAsync(HttpClient http, HttpMethod method, string path, string? body)
    {
        using var request = new HttpRequestMessage(method, path) { Content = body is null ? null : ServiceClient.JsonContent(body) };
        using var answer = await http.SendAsync(request);
        return ((int)answer.StatusCode, await answer.Content.ReadAsStringAsync(), answer.Headers.Contains("Retry-After"));
    }
}

/// <summary>What ends the start, and says why.</summary>
public sealed class RefusedStartTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("bn-start").FullName;

    private string File => Path.Combine(_folder, "bn.db");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_second_process_on_one_file_refuses_to_start()
    {
        using var first = await ServiceProcess.StartAsync(("Storage__Path", File));
        var (exitCode, _, errors) = await ServiceProcess.RunAsync([], ("Storage__Path", File), ("ASPNETCORE_URLS", "http://127.0.0.1:0"));
        Assert.NotEqual(0, exitCode);
        Assert.Contains($"Storage:Path '{File}' is in use by another process", errors, StringComparison.Ordinal);
        // The first one has not noticed.
        (await first.Client.PostAsync("/v1/sessions", Operation.Options("s"))).Expect(201);
        first.Kill();
        using var next = await ServiceProcess.StartAsync(("Storage__Path", File));
        (await new SessionClient(next.Client, "s").GetAsync()).Expect(200);
    }

    [Theory]
    [InlineData("no database", 0, 100)]
    [InlineData("a damaged head", 16, 100)]
    [InlineData("a damaged page", 4096, 3000)]
    [InlineData("a damaged end", -2000, 2000)]
    public async Task A_damaged_file_refuses_to_start_and_is_left_as_it_is(string flaw, int begin, int length)
    {
        using (var service = await ServiceProcess.StartAsync(("Storage__Path", File)))
        {
            for (var i = 0; i < 20; i++) (await service.Client.PostAsync("/v1/sessions", Operation.Options($"s{i}"))).Expect(201);
            service.Terminate();
            Assert.Equal(0, await service.ExitAsync());
        }
        var bytes = await System.IO.File.ReadAllBytesAsync(File);
        var start = begin < 0 ? bytes.Length + begin : begin;
        new Random(5).NextBytes(bytes.AsSpan(start, Math.Min(length, bytes.Length - start)));
        await System.IO.File.WriteAllBytesAsync(File, bytes);
        var (exitCode, _, errors) = await ServiceProcess.RunAsync([], ("Storage__Path", File), ("ASPNETCORE_URLS", "http://127.0.0.1:0"));
        Assert.True(exitCode != 0, flaw);
        Assert.Contains($"Storage:Path '{File}' cannot be used", errors, StringComparison.Ordinal);
        Assert.Equal(bytes, await System.IO.File.ReadAllBytesAsync(File));
    }

    /// <summary>A file that had keys and is empty must not become a service without any.</summary>
    [Fact]
    public async Task An_empty_file_refuses_to_start()
    {
        Assert.Equal(0, (await ServiceProcess.RunAsync(["keys", "create", "--name", "first", "--role", "admin"], ("Storage__Path", File))).ExitCode);
        await System.IO.File.WriteAllBytesAsync(File, []);
        var (exitCode, _, errors) = await ServiceProcess.RunAsync([], ("Storage__Path", File), ("ASPNETCORE_URLS", "http://127.0.0.1:0"));
        Assert.NotEqual(0, exitCode);
        Assert.Contains($"Storage:Path '{File}' cannot be used: it is empty", errors, StringComparison.Ordinal);
        Assert.Equal(0, new FileInfo(File).Length);
    }

    [Fact]
    public async Task A_folder_is_no_file()
    {
        var (exitCode, _, errors) = await ServiceProcess.RunAsync([], ("Storage__Path", _folder), ("ASPNETCORE_URLS", "http://127.0.0.1:0"));
        Assert.NotEqual(0, exitCode);
        Assert.Contains("must name a file", errors, StringComparison.Ordinal);
    }
}
