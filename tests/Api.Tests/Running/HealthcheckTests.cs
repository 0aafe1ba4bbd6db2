
namespace BnService.Api.Tests.Running;

/// <summary>The verb that the container's health check runs.</summary>
public sealed class HealthcheckTests
{
    [Fact]
    public async Task It_tells_whether_a_service_runs_on_the_port_that_the_environment_names()
    {
        var port = $"{Loopback.FreePort()}";
        using (await ServiceProcess.StartAsync(("ASPNETCORE_HTTP_PORTS", port)))
        {
            var (exitCode, output, errors) = await ServiceProcess.RunAsync(["healthcheck"], ("ASPNETCORE_HTTP_PORTS", port));
            Assert.True(exitCode == 0, errors);
            Assert.Equal("200 OK", Assert.Single(output));
            Assert.Equal(0, (await ServiceProcess.RunAsync(["healthcheck"], ("ASPNETCORE_URLS", $"http://+:{port}"))).ExitCode);
            Assert.Equal(0, (await ServiceProcess.RunAsync(["healthcheck"], ("ASPNETCORE_HTTP_PORTS", $"{port};1"))).ExitCode);
        }
        var gone = await ServiceProcess.RunAsync(["healthcheck"], ("ASPNETCORE_HTTP_PORTS", port));
        Assert.Equal(1, gone.ExitCode);
        Assert.NotEmpty(gone.Errors);
    }
}
