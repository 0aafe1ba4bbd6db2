using System.Net;

namespace BnService.Api.Tests.Limits;

/// <summary>HTTP/2: a few bytes that name the compression's table are the longest head, a hundred of them on each connection, whose answers are not taken.</summary>
public sealed class StreamHeadTests
{
    private const int Streams = 100;
    private const string Key = "bn_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    // Whoever holds this takes no byte of a body (SETTINGS_INITIAL_WINDOW_SIZE).
    private static readonly byte[] Preface = [.. "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"u8, 0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];

    /// <summary>With 256 MiB and 500 descriptors; without counting heads 61 connections and 360 KB ended the process.</summary>
    [Theory]
    [InlineData("/v1/sessions")]
    [InlineData("/health/live")]
    public async Task A_small_process_survives_long_heads_of_few_bytes_and_answers_that_nobody_takes(string path)
    {
        using var group = MemoryGroup.TryCreate(256 << 20);
        using var service = await ServiceProcess.StartAsync((ServiceProcess.DescriptorsVariable, "500"), ("Kestrel__EndpointDefaults__Protocols", "Http2"), ("Auth__AdminKey", Key),
            group is null ? ("DOTNET_GCHeapHardLimit", "0xC000000") : (ServiceProcess.GroupVariable, group.Path));
        using var old = ClientOf(service);
        await AskAsync(old);
        var heads = Enumerable.Range(0, Streams).SelectMany(stream => Head(path, stream)).ToArray();
        for (var round = 0; round < Soak.Of(1, 10); round++)
        {
            var strangers = new List<RawConnection>();
            for (var i = 0; i < 90; i++)
            {
                strangers.Add(await service.ConnectAsync());
                await strangers[^1].WriteAsync(Preface);
            }
            await Parallel.ForEachAsync(strangers, async (stranger, _) =>
            {
                try
                {
                    await stranger.WriteAsync(heads);
                }
                catch (System.Net.Sockets.SocketException)
                {
                    // It was closed for what it holds.
                }
            });
            await AskAsync(old);
            await AskAnewAsync(service);
            strangers.ForEach(stranger => stranger.Dispose());
        }
        // What was held is given back.
        while (await UsedAsync(old) > 512 << 10) await Task.Delay(20);
        if (group is not null) Assert.Equal(0, group.OutOfMemoryKills);
    }

    /// <summary>CVE-2023-44487: the server ends the connection, and says of it nothing that an operator would have to look at.</summary>
    [Fact]
    public async Task Streams_that_are_reset_at_once_are_no_error_of_the_service()
    {
        using var service = await ServiceProcess.StartAsync(("Kestrel__EndpointDefaults__Protocols", "Http2"));
        // RST_STREAM with CANCEL (RFC 9113, 6.4).
        byte[] streams = [.. Enumerable.Range(0, 20_000).SelectMany(stream => (byte[])[.. Head("/v1/sessions", stream, isLong: false), 0, 0, 4, 3, 0, .. Number(stream), 0, 0, 0, 8])];
        for (var i = 0; i < 4; i++)
        {
            using var stranger = await service.ConnectAsync();
            try
            {
                await stranger.WriteAsync(Preface);
                await stranger.WriteAsync(streams);
            }
            catch (System.Net.Sockets.SocketException)
            {
                // It was closed.
            }
        }
        using var caller = ClientOf(service);
        await AskAsync(caller);
        service.Terminate();
        await service.ExitAsync();
        Assert.DoesNotContain(service.Output, line => line.Contains(" FTL ", StringComparison.Ordinal) || line.Contains(" ERR ", StringComparison.Ordinal));
    }

    private static HttpClient ClientOf(ServiceProcess service) => new()
    {
        BaseAddress = service.Address,
        DefaultRequestVersion = HttpVersion.Version20,
        DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
        DefaultRequestHeaders = { Authorization = new("Bearer", Key) },
    };

    private static async Task AskAsync(HttpClient client)
    {
        using var answer = await client.GetAsync(new Uri("/v1/sessions", UriKind.Relative));
        Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
    }

    // Whoever is new in the middle of it is a stranger as well, and may lose the connection before it is read.
    private static async Task AskAnewAsync(ServiceProcess service)
    {
        for (var tries = 1; ; tries++)
        {
            using var caller = ClientOf(service);
            try
            {
                await AskAsync(caller);
                return;
            }
            catch (HttpRequestException) when (tries < 10)
            {
                await Task.Delay(100);
            }
        }
    }

    private static async Task<long> UsedAsync(HttpClient client)
    {
        const string Series = "bnservice_memory_budget_bytes{state=\"used\"} ";
        var page = await client.GetStringAsync(new Uri("/metrics", UriKind.Relative));
        var line = page.Split('\n').Single(text => text.StartsWith(Series, StringComparison.Ordinal));
        return long.Parse(line.AsSpan(Series.Length), System.Globalization.CultureInfo.InvariantCulture);
    }

    // HEADERS with END_HEADERS and END_STREAM (RFC 9113, 6.2). The first one puts a long value into the table (RFC 7541, 6.2.1), all name it.
    private static byte[] Head(string path, int stream, bool isLong = true)
    {
        const int Value = 3900, NameLength = 3, Continued = 127;
        byte[] first = stream > 0 || !isLong ? [] :
            [0x40, NameLength, .. "x-a"u8, Continued, ((Value - Continued) & 127) | 128, (Value - Continued) >> 7, .. Enumerable.Repeat((byte)'v', Value)];
        byte[] block = [0x82, 0x86, 0x04, (byte)path.Length, .. Encoding(path), 0x01, 9, .. "localhost"u8, .. first, .. Enumerable.Repeat((byte)0xBE, isLong ? 7 : 0)];
        return [0, (byte)(block.Length >> 8), (byte)block.Length, 1, 5, .. Number(stream), .. block];
    }

    private static byte[] Number(int stream) => [0, (byte)(stream >> 15), (byte)(stream >> 7), (byte)((2 * stream) + 1)];

    private static byte[] Encoding(string text) => System.Text.Encoding.ASCII.GetBytes(text);
}
