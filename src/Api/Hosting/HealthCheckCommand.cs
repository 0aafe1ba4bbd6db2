namespace BnService.Api.Hosting;

/// <summary>
/// The command-line verb <c>healthcheck</c>: asks the service in the same container whether it is ready. The image has no shell tool
/// that could.
/// </summary>
internal static class HealthCheckCommand
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(3);

    /// <summary>Asks, and returns the process's exit code: 0 for ready, 1 for anything else.</summary>
    public static async Task<int> RunAsync()
    {
        using var client = new HttpClient { Timeout = Patience };
        try
        {
            using var answer = await client.GetAsync($"http://127.0.0.1:{Port()}/health/ready");
            await Console.Out.WriteLineAsync($"{(int)answer.StatusCode} {answer.StatusCode}");
            return answer.IsSuccessStatusCode ? 0 : 1;
        }
        catch (Exception exception) when (exception is HttpRequestException or TaskCanceledException)
        {
            await Console.Error.WriteLineAsync(exception.Message);
            return 1;
        }
    }

    // The port that the container's own configuration names, as the service reads it.
    private static string Port()
    {
        var urls = Environment.GetEnvironmentVariable("ASPNETCORE_URLS")?.Split(';')[0];
        if (urls is not null && urls.LastIndexOf(':') is var colon and >= 0) return urls[(colon + 1)..].TrimEnd('/');
        return Environment.GetEnvironmentVariable("ASPNETCORE_HTTP_PORTS")?.Split(';')[0] ?? "8080";
    }
}
