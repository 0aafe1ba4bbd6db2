using System.Net.Sockets;

namespace BnService.Api.Tests.Running;

public sealed class ShutdownTests
{
    private const string Body = """{"x":[[1,2],[3,4]]}""";

    [Fact]
    public async Task A_request_in_flight_is_answered_before_the_service_ends()
    {
        using var service = await ServiceProcess.StartAsync();
        var session = await service.Client.CreateAsync("""{"name":"in-flight","num_features":2}""");
        using var connection = await BeginAsync(service, session);
        service.Terminate();
        await Eventually.TrueAsync(() => !Accepts(service), "the service still takes connections");
        await connection.WriteAsync(Body[5..]);
        var answer = await connection.ReadToEndAsync();
        Assert.StartsWith("HTTP/1.1 200 ", answer, StringComparison.Ordinal);
        Assert.Contains("\"num_batches_tracked\":1", answer, StringComparison.Ordinal);
        Assert.Equal(0, await service.ExitAsync());
        const string logged = "POST /v1/sessions/{session}/train-step session in-flight answered 200";
        Assert.Contains(service.Output, line => line.Contains(logged, StringComparison.Ordinal));
    }

    [Fact]
    public async Task A_request_that_does_not_end_does_not_keep_the_service_for_ever()
    {
        using var service = await ServiceProcess.StartAsync(("Shutdown__Drain", "00:00:00.5"));
        var session = await service.Client.CreateAsync("""{"name":"in-flight","num_features":2}""");
        using var connection = await BeginAsync(service, session);
        service.Terminate();
        Assert.Equal(0, await service.ExitAsync());
        Assert.DoesNotContain("HTTP/1.1 200 ", await connection.ReadToEndAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_service_with_nothing_to_do_ends_at_once()
    {
        using var service = await ServiceProcess.StartAsync();
        (await service.Client.GetAsync("/health/ready")).Expect(200);
        service.Terminate();
        Assert.Equal(0, await service.ExitAsync());
        Assert.Equal("", service.Errors);
    }

    // In flight beyond doubt: the service has asked for the body and has the beginning of it.
    private static async Task<RawConnection> BeginAsync(ServiceProcess service, SessionClient session)
    {
        var connection = await service.ConnectAsync();
        await connection.WriteHeadAsync("POST", $"{session.Path}/train-step", ("Content-Type", "application/json"), ("Content-Length", $"{Body.Length}"),
            ("Expect", "100-continue"), ("Connection", "close"));
        await connection.ReadUntilAsync("100 Continue\r\n\r\n");
        await connection.WriteAsync(Body[..5]);
        return connection;
    }

    private static bool Accepts(ServiceProcess service)
    {
        try
        {
            using var client = new TcpClient("127.0.0.1", service.Address.Port);
            return true;
        }
        catch (SocketException)
        {
            return false;
        }
    }
}
