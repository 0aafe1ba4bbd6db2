using System.Net;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Limits;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace BnService.Api.Tests.Limits;

/// <summary>Wrong keys as fast as they come: counted by address, while right ones from the same address are served.</summary>
public sealed class WrongKeyTests
{
    private const string Configured = "bn_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    public static TheoryData<(string, string)[], int> Settings => new()
    {
        { [], 1000 },
        { [("Limits:WrongKeysPerSecond", "7")], 70 },
        { [("Limits:RequestsPerSecond", "50")], 50 },
        { [("Limits:RequestsPerSecond", "50"), ("Limits:RequestBurst", "20")], 20 },
        { [("Limits:RequestsPerSecond", "50"), ("Limits:WrongKeysPerSecond", "0")], 50 },
        { [("Limits:RequestsPerSecond", "100000"), ("Limits:WrongKeysPerSecond", "7")], 70 },
    };

    [Theory]
    [MemberData(nameof(Settings))]
    public async Task Only_so_many_of_one_address_are_looked_at((string, string)[] settings, int most)
    {
        var time = new ManualTime();
        using var service = Service.At(time, [("Auth:AdminKey", Configured), .. settings]);
        // Whatever is wrong with it, and wherever it goes to.
        (string Path, (string, string)[] Headers)[] wrong =
        [
            ("/v1/sessions", [KeyedService.Bearer("bn_0123456789abcdef_" + new string('B', 43))]), ("/v1/keys", [("X-Api-Key", "bn_ffffffffffffffff_" + new string('A', 43))]),
            ("/nosuch", []), ("/v1/sessions/a/stats", [("Authorization", "Basic YTpi")]), ("/v2/models/a", []), ("/metrics", [KeyedService.Bearer(Configured), ("X-Api-Key", "bn_x")]),
        ];
        for (var i = 0; i < most; i++) Assert.Equal(401, (await service.Client.GetAsync(wrong[i % wrong.Length].Path, wrong[i % wrong.Length].Headers)).Status);
        foreach (var (path, headers) in wrong)
        {
            var refused = await service.Client.GetAsync(path, headers);
            Assert.Equal(429, refused.Status);
            Assert.Equal("1", refused.Headers["Retry-After"]);
            Assert.Contains("Limits:WrongKeysPerSecond", refused.Text, StringComparison.Ordinal);
        }
        // Who has a key, from the same address, and what needs none.
        (await service.Client.GetAsync("/v1/sessions", KeyedService.Bearer(Configured))).Expect(200);
        (await service.Client.GetAsync("/health/ready")).Expect(200);
        (await service.Client.GetAsync("/")).Expect(200);
        time.AdvanceBy(TimeSpan.FromSeconds(1));
        Assert.Equal(401, (await service.Client.GetAsync("/v1/sessions")).Status);
    }

    [Fact]
    public async Task Any_number_is_allowed_where_that_is_asked_for()
    {
        using var service = Service.With(("Auth:AdminKey", Configured), ("Limits:WrongKeysPerSecond", "0"));
        for (var i = 0; i < 1100; i++) Assert.Equal(401, (await service.Client.GetAsync("/v1/sessions")).Status);
    }

    [Fact]
    public void Each_address_is_counted_by_itself_and_a_network_of_IPv6_as_one()
    {
        var wrong = new WrongKeys(Options.Create(new LimitOptions { WrongKeysPerSecond = 1 }), new ManualTime(), NullLogger<WrongKeys>.Instance);
        for (var i = 0; i < 10; i++) Assert.Null(wrong.SecondsUntilAllowed(IPAddress.Parse("10.0.0.1")));
        Assert.Equal(1, wrong.SecondsUntilAllowed(IPAddress.Parse("10.0.0.1")));
        Assert.Equal(1, wrong.SecondsUntilAllowed(IPAddress.Parse("::ffff:10.0.0.1")));
        // Of a few hundred others hardly any lies in its place.
        Assert.InRange(Enumerable.Range(0, 256).Count(i => wrong.SecondsUntilAllowed(IPAddress.Parse($"10.0.1.{i}")) is null), 250, 256);
        for (var i = 0; i < 10; i++) Assert.Null(wrong.SecondsUntilAllowed(IPAddress.Parse($"2001:db8:1:2:{i}::1")));
        Assert.Equal(1, wrong.SecondsUntilAllowed(IPAddress.Parse("2001:db8:1:2:ffff::ffff")));
        Assert.Equal(1, wrong.SecondsUntilAllowed(IPAddress.Parse("2001:db8:1:2::%3")));
    }

    /// <summary>A million addresses take no more memory than one.</summary>
    [Fact]
    public void Addresses_take_a_bounded_memory()
    {
        var wrong = new WrongKeys(Options.Create(new LimitOptions()), TimeProvider.System, NullLogger<WrongKeys>.Instance);
        var (bytes, context, callers, allocated) = (new byte[16], new DefaultHttpContext(), new HashSet<string>(), 0L);
        for (var i = 0; i < 1_000_000; i++)
        {
            BitConverter.TryWriteBytes(bytes, i);
            var address = new IPAddress(bytes);
            // By this thread alone, whatever runs beside it.
            var before = GC.GetAllocatedBytesForCurrentThread();
            wrong.SecondsUntilAllowed(address);
            allocated += GC.GetAllocatedBytesForCurrentThread() - before;
            if (i % 16 != 0) continue;
            context.Connection.RemoteIpAddress = address;
            callers.Add(RequestRate.CallerOf(context));
        }
        Assert.InRange(allocated, 0, 64 << 10);
        Assert.InRange(callers.Count, 1 << 13, 1 << 14);
    }

    /// <summary>A flood of them is a line of the log, and not one each.</summary>
    [Fact]
    public async Task What_comes_too_often_is_told_once()
    {
        using var service = await ServiceProcess.StartAsync(("Auth__AdminKey", Configured), ("Limits__WrongKeysPerSecond", "1"));
        var refused = 0;
        for (var i = 0; i < 300; i++) refused += (await service.Client.GetAsync("/v1/sessions")).Status == 429 ? 1 : 0;
        (await service.Client.GetAsync("/v1/sessions", KeyedService.Bearer(Configured))).Expect(200);
        service.Terminate();
        await service.ExitAsync();
        Assert.InRange(refused, 200, 290);
        Assert.Single(service.Output, line => line.Contains("more than 1 times per second from 127.0.0.1", StringComparison.Ordinal));
        Assert.Equal(301 - refused, service.Output.Count(line => line.Contains("GET /v1/sessions", StringComparison.Ordinal)));
    }

    /// <summary>Whatever needs no key, and whatever it is called: without one nobody fills a disk with the log.</summary>
    [Fact]
    public async Task Requests_of_strangers_are_logged_one_by_one_only_so_often_and_shortly()
    {
        const int Requests = 3000;
        using var service = await ServiceProcess.StartAsync(("Auth__AdminKey", Configured));
        using var stranger = await service.ConnectAsync();
        string[] heads = ["GET /health/live", "GET /", "GET /problems/not-found", $"{new string('A', 4000)} /", $"GET /v1/sessions/{new string('b', 4000)}"];
        for (var i = 0; i < Requests; i++)
        {
            await stranger.WriteAsync($"{heads[i % heads.Length]} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            await stranger.ReadAnswerAsync();
        }
        (await service.Client.GetAsync("/v1/sessions", KeyedService.Bearer(Configured))).Expect(200);
        service.Terminate();
        await service.ExitAsync();
        Assert.InRange(service.Output.Count(line => line.Contains(" answered ", StringComparison.Ordinal)), 1000, Requests - 500);
        Assert.All(service.Output, line => Assert.InRange(line.Length, 0, 400));
        Assert.Single(service.Output, line => line.Contains("were not logged one by one since", StringComparison.Ordinal));
        Assert.Contains("GET /v1/sessions session null answered 200", string.Join('\n', service.Output), StringComparison.Ordinal);
    }
}
