using System.Net.Sockets;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Commands;
using BnService.Api.Storage;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting;

/// <summary>
/// What ends a start, or a verb of the command line, and is the operator's to change: told in a line each, without a stack trace.
/// </summary>
internal static class StartFailure
{
    private const string Addresses = "Microsoft.AspNetCore.Http", Server = "Microsoft.AspNetCore.Server.Kestrel.Core";

    /// <summary>What is wrong; null where it is nothing that an operator could change.</summary>
    public static IReadOnlyList<string>? LinesOf(Exception exception) => exception switch
    {
        OptionsValidationException options => [.. options.Failures],
        // More than one section is wrong.
        AggregateException several when several.InnerExceptions.All(inner => inner is OptionsValidationException) =>
            [.. several.InnerExceptions.SelectMany(inner => LinesOf(inner)!)],
        UnknownSettingException => exception.Message.Split('\n'),
        InvalidDataException { InnerException: { } cause } when exception.Message.StartsWith(
            "Failed to load configuration", StringComparison.Ordinal) =>
            [$"{exception.Message} {cause.Message}"],
        // An address that the server cannot parse, or cannot have.
        IOException { InnerException: AddressInUseException } or SocketException or FormatException { Source: Addresses }
            or InvalidOperationException { Source: Server } or ArgumentOutOfRangeException { ParamName: "port" } =>
            [$"the service cannot listen: {exception.Message.Split('\n')[0].TrimEnd('.')}. Another address is given by --Urls " +
                $"http://localhost:5001"],
        StorageUnusableException or ListeningRefusedException => [exception.Message],
        _ => null,
    };
}

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
