namespace BnService.Api.Tests.Limits;

/// <summary>Strangers who hold connections open: they lose them to whoever comes after them, and cost little.</summary>
public sealed class ConnectionTests
{
    private const int Most = 8;
    private static readonly string HalfHead = "GET /v1/sessions HTTP/1.1\r\nHost: localhost\r\nX-A: " + new string('a', 31_000);

    [Theory]
    [InlineData("")]
    [InlineData("GET /v1/sessions HTTP/1.1\r\nHost: localhost\r\nX-A: ")]
    [InlineData("GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n")]
    public async Task A_new_caller_is_served_when_strangers_hold_every_connection(string sent)
    {
        using var service = Service.OnKestrel(("Limits:MaxConnections", $"{Most}"));
        using var old = await service.ConnectAsync();
        await AskAsync(old);
        var strangers = await OpenAsync(service, 3 * Most, sent);
        for (var i = 0; i < 3; i++)
        {
            using var caller = await service.ConnectAsync();
            await AskAsync(caller);
        }
        // A request was let in on it before they came.
        await AskAsync(old);
        Assert.InRange(service.Connections.Guests + service.Connections.Known, 2, Most);
        Assert.InRange(service.Connections.Evicted, 2 * Most, 3 * Most);
        await strangers[0].ReadToEndAsync();
        strangers.ForEach(stranger => stranger.Dispose());
        await Eventually.EqualAsync(0, () => service.Connections.Guests);
    }

    [Fact]
    public async Task Idle_callers_leave_a_quarter_of_the_connections_to_new_ones()
    {
        using var service = Service.OnKestrel(("Limits:MaxConnections", $"{Most}"));
        var callers = await OpenAsync(service, 2 * Most, "");
        callers.ForEach(caller => caller.Dispose());
        await Eventually.EqualAsync(0, () => service.Connections.Open);
        callers.Clear();
        for (var i = 0; i < 2 * Most; i++)
        {
            callers.Add(await service.ConnectAsync());
            await AskAsync(callers[^1]);
        }
        Assert.Equal(6, service.Connections.Known);
        await AskAsync(callers[^6]);
        await callers[0].ReadToEndAsync();
        callers.ForEach(caller => caller.Dispose());
    }

    [Fact]
    public async Task A_caller_who_opens_ever_more_connections_pushes_out_their_own()
    {
        using var service = Service.OnKestrel(("Limits:MaxConnections", $"{Most}"));
        var admin = await KeyedService.CreateAsync(service.Client, "admin", null, null);
        var greedy = await KeyedService.CreateAsync(service.Client, "reader", null, admin);
        using var idle = await service.ConnectAsync();
        await AskAsync(idle, admin);
        var callers = new List<RawConnection>();
        for (var i = 0; i < 2 * Most; i++)
        {
            callers.Add(await service.ConnectAsync());
            await AskAsync(callers[^1], greedy);
        }
        // The longest idle of all of them.
        await AskAsync(idle, admin);
        await callers[0].ReadToEndAsync();
        await AskAsync(callers[^1], greedy);
        callers.ForEach(caller => caller.Dispose());
    }

    [Fact]
    public async Task Streams_of_greedy_keys_end_before_the_idle_connection_of_another()
    {
        using var service = Service.OnKestrel(("Limits:MaxConnections", "40"));
        var admin = await KeyedService.CreateAsync(service.Client, "admin", null, null);
        var keys = new List<string>();
        for (var i = 0; i < 3; i++) keys.Add(await KeyedService.CreateAsync(service.Client, "reader", null, admin));
        using var idle = await service.ConnectAsync();
        await AskAsync(idle, admin);
        var opened = new List<RawConnection>();
        // Streams, calls and refusals whose bodies do not come: together more than three quarters of the connections, all at work.
        foreach (var key in keys)
        {
            foreach (var (method, path) in ((string, string)[])[("GET", "/v1/events"), ("POST", "/v1/normalize"), ("POST", "/v1/keys")])
            {
                for (var i = 0; i < 8; i++)
                {
                    opened.Add(await service.ConnectAsync());
                    await opened[^1].WriteHeadAsync(method, path, KeyedService.Bearer(key), ("Content-Type", "application/json"), ("Content-Length", method == "GET" ? "0" : "900"));
                }
            }
        }
        await Eventually.TrueAsync(() => service.Connections.Evicted > 0, "no connection was closed");
        await AskAsync(idle, admin);
        opened.ForEach(connection => connection.Dispose());
    }

    [Theory]
    [InlineData("")]
    [InlineData("GET /v1/sessions HTTP/1.1\r\nHost: localhost\r\nX-A: ")]
    public async Task A_connection_without_a_request_ends_in_time(string sent)
    {
        using var service = Service.OnKestrel(("Limits:HeadTime", "00:00:01"));
        using var asked = await service.ConnectAsync();
        await AskAsync(asked);
        using var silent = await service.ConnectAsync();
        await silent.WriteAsync(sent);
        await silent.ReadToEndAsync().WaitAsync(TimeSpan.FromSeconds(30));
        // Between two requests a connection may be idle for longer.
        await AskAsync(asked);
    }

    [Fact]
    public async Task What_connections_hold_is_part_of_the_memory_budget_and_is_bounded()
    {
        using var service = await ServiceProcess.StartAsync(("Memory__BudgetBytes", $"{32 << 20}"), ("Limits__MaxConnections", "2000"));
        using var old = await service.ConnectAsync();
        await AskAsync(old);
        using var first = await service.ConnectAsync();
        await first.WriteAsync(HalfHead);
        Assert.InRange(await SeriesAsync(service, UsedMemory), 32 << 10, 256 << 10);
        // 31 KB each would be 9 MB, and 19 in blocks of 64 KiB; an eighth of the budget is 4 MiB.
        var strangers = new List<RawConnection>();
        for (var i = 0; i < 300; i++)
        {
            strangers.Add(await service.ConnectAsync());
            await strangers[^1].WriteAsync(HalfHead);
        }
        // They are closed in steps.
        while (await SeriesAsync(service, UsedMemory) > 4 << 20) await Task.Delay(20);
        Assert.InRange(await SeriesAsync(service, "bnservice_connections{state=\"guest\"}"), 32, 250);
        await AskAsync(old);
        using var caller = await service.ConnectAsync();
        await AskAsync(caller);
        strangers.ForEach(stranger => stranger.Dispose());
        first.Dispose();
        while (await SeriesAsync(service, UsedMemory) > 256 << 10) await Task.Delay(20);
    }

    [Fact]
    public async Task Connections_are_counted_on_the_page_of_metrics()
    {
        using var service = Service.OnKestrel(("Limits:MaxConnections", $"{Most}"));
        var strangers = await OpenAsync(service, Most + 2, "");
        using var caller = await service.ConnectAsync();
        await caller.WriteHeadAsync("GET", "/metrics");
        var page = (await caller.ReadAnswerAsync()).Text;
        Assert.Contains("bnservice_connections{state=\"guest\"} 7\n", page, StringComparison.Ordinal);
        Assert.Contains("bnservice_connections{state=\"known\"} 1\n", page, StringComparison.Ordinal);
        Assert.Contains("bnservice_connections_limit 8\n", page, StringComparison.Ordinal);
        Assert.Contains("bnservice_connections_accepted_total 11\n", page, StringComparison.Ordinal);
        Assert.Contains("bnservice_connections_closed_total{reason=\"evicted\"} 3\n", page, StringComparison.Ordinal);
        strangers.ForEach(stranger => stranger.Dispose());
    }

    /// <summary>With 256 MiB and 500 descriptors; without bounds the former ended with 3,800 half heads, and the latter with 300 connections of any kind.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task A_small_process_survives_more_connections_than_it_has_memory_and_descriptors_for(bool sendsHalfHead)
    {
        var sent = sendsHalfHead ? HalfHead : "";
        using var group = MemoryGroup.TryCreate(256 << 20);
        List<(string, string)> environment = [(ServiceProcess.DescriptorsVariable, sendsHalfHead && Soak.IsAskedFor ? "20000" : "500")];
        environment.Add(group is null ? ("DOTNET_GCHeapHardLimit", "0xC000000") : (ServiceProcess.GroupVariable, group.Path));
        using var service = await ServiceProcess.StartAsync([.. environment]);
        using var old = await service.ConnectAsync();
        await AskAsync(old);
        var strangers = new List<RawConnection>();
        for (var i = 0; i < Soak.Of(600, 8000); i++)
        {
            strangers.Add(await service.ConnectAsync());
            try
            {
                await strangers[^1].WriteAsync(sent);
            }
            catch (System.Net.Sockets.SocketException)
            {
                // It was closed for one that came after it.
            }
            if (i % 100 != 99) continue;
            using var caller = await service.ConnectAsync();
            await AskAsync(caller);
            await AskAsync(old);
        }
        strangers.ForEach(stranger => stranger.Dispose());
        (await service.Client.GetAsync("/health/ready")).Expect(200);
        if (group is not null) Assert.Equal(0, group.OutOfMemoryKills);
    }

    private const string UsedMemory = "bnservice_memory_budget_bytes{state=\"used\"}";

    private static async Task<long> SeriesAsync(ServiceProcess service, string series)
    {
        var page = (await service.Client.GetAsync("/metrics")).Text;
        var line = page.Split('\n').Single(text => text.StartsWith(series + ' ', StringComparison.Ordinal));
        return long.Parse(line.AsSpan(series.Length + 1), System.Globalization.CultureInfo.InvariantCulture);
    }

    private static async Task AskAsync(RawConnection connection, string? key = null)
    {
        await connection.WriteHeadAsync("GET", "/v1/sessions", key is null ? [] : [KeyedService.Bearer(key)]);
        var answer = await connection.ReadAnswerAsync().WaitAsync(TimeSpan.FromSeconds(20));
        Assert.Equal(200, answer.Status);
    }

    private static async Task<List<RawConnection>> OpenAsync(Service service, int count, string sent)
    {
        var connections = new List<RawConnection>();
        for (var i = 0; i < count; i++)
        {
            connections.Add(await service.ConnectAsync());
            await connections[^1].WriteAsync(sent);
        }
        return connections;
    }
}
