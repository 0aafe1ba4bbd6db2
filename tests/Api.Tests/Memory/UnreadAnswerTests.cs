using System.Globalization;
using System.Net.Sockets;

namespace BnService.Api.Tests.Memory;

/// <summary>
/// Clients that ask for large answers and take nothing of them, on a process that has no more than 256 MiB: it lives, what they hold is counted,
/// and others are answered.
/// </summary>
[Collection(WholeProcess.Name)]
public sealed class UnreadAnswerTests
{
    private const int Features = 1 << 20;

    private static readonly int Clients = Soak.IsAskedFor ? 40 : 8;

    private static readonly (string Call, string Accept, string Coding)[] Calls =
    [
        ("GET /v1/sessions/large/stats", "*/*", ""), ("GET /v1/sessions/large/state", "*/*", ""), ("GET /v1/sessions/large/state", Forms.Safetensors, ""),
        ("GET /v1/sessions/large/snapshots/1", "*/*", ""), ("GET /v1/sessions?limit=1000", "*/*", ""), ("POST /v2/repository/index", "*/*", ""),
        ("GET /openapi/v1.json", "*/*", "gzip"), ("GET /openapi/v1.json", "*/*", "br"),
    ];

    [Fact]
    public async Task A_small_process_outlives_them()
    {
        using var group = MemoryGroup.TryCreate(256 << 20);
        using var service = await StartSmallAsync(group);
        var small = await service.Client.CreateAsync("""{"num_features":2}""");
        await CreateLargeAsync(service.Client, Features);
        (await service.Client.PostAsync("/v1/sessions/large/snapshots", null)).Expect(201);
        await CreateLabelledAsync(service.Client);
        var before = await UsedAsync(service);
        var connections = new List<RawConnection>();
        try
        {
            foreach (var (call, accept, coding) in Calls)
            {
                for (var i = 0; i < Clients; i++)
                {
                    var connection = await service.ConnectAsync();
                    connections.Add(connection);
                    await connection.WriteHeadAsync(call.Split(' ')[0], call.Split(' ')[1], ("Accept", accept), ("Accept-Encoding", coding), ("Content-Length", "0"));
                }
                (await service.Client.PostAsync($"{small.Path}/inference", """{"x":[[1,2]]}""")).Expect(200);
            }
            for (var i = 0; i < 20; i++)
            {
                (await service.Client.PostAsync($"{small.Path}/train-step", """{"x":[[1,2],[3,5]],"retain":false}""")).Expect(200);
                await Task.Delay(50);
            }
            Assert.True(await UsedAsync(service) > before + (16 << 20), "what they hold is not counted");
        }
        finally
        {
            connections.ForEach(connection => connection.Dispose());
        }
        await Eventually.TrueAsync(() => UsedAsync(service).GetAwaiter().GetResult() <= before + (1 << 20), "what they held is counted still");
        if (group is not null) Assert.Equal(0, group.OutOfMemoryKills);
    }

    /// <summary>Bodies of kilobytes that become hundreds of megabytes, of several forms at once.</summary>
    [Fact]
    public async Task A_small_process_outlives_what_is_large_when_it_is_decoded()
    {
        using var group = MemoryGroup.TryCreate(256 << 20);
        using var service = await StartSmallAsync(group);
        var small = await service.Client.CreateAsync("""{"num_features":2}""");
        (string Path, string Before, string Each, string After, int Length)[] bodies =
        [
            ("POST inference", """{"x":[""", "[1,2],", "[1,2]]}", 200 << 20), ("POST train-step", """{"mask":[""", "1,", "1],\"x\":[[1,2]]}", 30 << 20),
            ("PUT state", """{"gamma":[""", "1,", "1]}", 60 << 20), ("PUT state", """{"other.weight":[""", "1,", "1]}", 60 << 20),
            ("POST merge", """{"sessions":[""", "\"a\",", "\"a\"]}", 60 << 20), ("PATCH .", """{"labels":{"a":" """, "aaaa", "\"}}", 200 << 20),
        ];
        var bombs = bodies.SelectMany(body =>
        {
            var (method, path) = (new HttpMethod(body.Path.Split(' ')[0]), body.Path.Split(' ')[1]);
            var coded = Coded.Gzip(body.Before, body.Each, body.After, body.Length);
            return Enumerable.Range(0, Soak.IsAskedFor ? 40 : 4).Select(_ => SendAsync(service.Address, method, path == "." ? small.Path : $"{small.Path}/{path}", coded)).ToList();
        }).ToList();
        do
        {
            (await service.Client.PostAsync($"{small.Path}/inference", """{"x":[[1,2]]}""")).Expect(200);
        }
        while (!bombs.TrueForAll(bomb => bomb.IsCompleted));
        foreach (var bomb in bombs) Assert.InRange(await bomb, 400, 503);
        await Eventually.TrueAsync(() => TryUsedAsync(service).GetAwaiter().GetResult() <= 1 << 20, "what they held is counted still");
        if (group is not null) Assert.Equal(0, group.OutOfMemoryKills);
    }

    /// <summary>The server's own rate for answers would let each of them wait for an hour.</summary>
    [Theory]
    [InlineData("GET /v1/sessions/large/stats", "", "")]
    [InlineData("GET /v1/sessions/large/state", "application/x-safetensors", "")]
    [InlineData("POST /v1/sessions/one/inference", "application/x-npy", "")]
    [InlineData("POST /v1/sessions/one/inference", "application/json", "gzip")]
    public async Task A_client_that_takes_nothing_is_not_waited_for(string call, string form, string coding)
    {
        using var service = Service.OnKestrel(("Limits:UnreadTime", "00:00:01"));
        await service.CreateAsync("""{"name":"one","num_features":1}""");
        if (call.Contains("large", StringComparison.Ordinal))
            await CreateLargeAsync(service.Client, Features);
        await Eventually.EqualAsync(0, () => service.UsedMemory);
        var x = call.StartsWith("POST", StringComparison.Ordinal) ? ArrayFile.Of(Batch.Random(1, 3 << 20, 1)) : [];
        using var connection = await service.ConnectAsync();
        await connection.WriteHeadAsync(call.Split(' ')[0], call.Split(' ')[1], ("Accept", form.Length == 0 ? "*/*" : form), ("Accept-Encoding", coding),
            ("Content-Type", "application/x-npy"), ("Content-Length", $"{x.Length}"));
        await connection.WriteAsync(x);
        await Eventually.TrueAsync(() => service.UsedMemory > 256 << 10, "nothing is held");
        await Eventually.EqualAsync(0, () => service.UsedMemory);
    }

    [Fact]
    public async Task A_client_that_takes_it_slowly_gets_all_of_it()
    {
        using var service = Service.OnKestrel(("Limits:UnreadTime", "00:00:01"));
        await CreateLargeAsync(service.Client, Features / 4);
        using var http = new HttpClient { BaseAddress = service.Address };
        var whole = await http.GetByteArrayAsync(new Uri("/v1/sessions/large/stats", UriKind.Relative));
        using var client = new TcpClient { ReceiveBufferSize = 64 << 10 };
        await client.ConnectAsync("127.0.0.1", service.Address.Port);
        var stream = client.GetStream();
        await stream.WriteAsync("GET /v1/sessions/large/stats HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"u8.ToArray());
        var (buffer, read, paused) = (new byte[64 << 10], 0L, 0);
        for (int count; (count = await stream.ReadAsync(buffer)) > 0; read += count)
        {
            // Slow in the beginning, for several times as long as a client may take nothing.
            if (paused++ < 15) await Task.Delay(150);
        }
        Assert.True(read > whole.Length, $"{read} of {whole.Length} bytes have come");
    }

    // Without keys all callers share the places of requests, which follow the connections: memory is what is to run short here.
    private static Task<ServiceProcess> StartSmallAsync(MemoryGroup? group) => ServiceProcess.StartAsync(
        group is null ? ("DOTNET_GCHeapHardLimit", "0x8000000") : (ServiceProcess.GroupVariable, group.Path),
        ("Memory__WaitTime", "00:00:00.2"), ("Limits__MaxConnections", "3000"));

    private static Task CreateLargeAsync(ServiceClient client, int features) =>
        client.CreateAsync($$"""{"name":"large","num_features":{{features}},"gamma_init":0.12345678901234568,"beta_init":-0.98765432109876543}""");

    private static async Task<int> SendAsync(Uri address, HttpMethod method, string path, byte[] coded)
    {
        using var http = new HttpClient { BaseAddress = address };
        using var request = new HttpRequestMessage(method, new Uri(path, UriKind.Relative)) { Content = Coded.Content(coded) };
        try
        {
            using var response = await http.SendAsync(request);
            return (int)response.StatusCode;
        }
        catch (HttpRequestException exception) when (IsClosed(exception))
        {
            return 503;
        }
    }

    // A connection is closed for the memory that all of them hold, or hardly is one when it is.
    private static bool IsClosed(HttpRequestException exception) =>
        exception.InnerException is IOException or SocketException { SocketErrorCode: SocketError.ConnectionReset };

    private static async Task CreateLabelledAsync(ServiceClient client)
    {
        var labels = string.Join(',', Enumerable.Range(0, 64).Select(i => $"\"{new string('k', 60)}{i}\":\"{new string('v', 256)}\""));
        for (var i = 0; i < 300; i++) await client.CreateAsync($$$"""{"num_features":1,"labels":{{{{labels}}}}}""");
    }

    // Null as long as what others have sent costs new connections theirs.
    private static async Task<long?> TryUsedAsync(ServiceProcess service)
    {
        try
        {
            return await UsedAsync(service);
        }
        catch (HttpRequestException exception) when (IsClosed(exception))
        {
            return null;
        }
    }

    private static async Task<long> UsedAsync(ServiceProcess service)
    {
        using var http = new HttpClient { BaseAddress = service.Address };
        var metrics = await http.GetStringAsync(new Uri("/metrics", UriKind.Relative));
        var line = metrics.Split('\n').First(text => text.StartsWith("bnservice_memory_budget_bytes", StringComparison.Ordinal) && text.Contains("used", StringComparison.Ordinal));
        return (long)double.Parse(line.Split(' ')[^1], CultureInfo.InvariantCulture);
    }
}
