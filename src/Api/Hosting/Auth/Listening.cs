using System.Net;

namespace BnService.Api.Hosting.Auth;

/// <summary>The service would listen where it must not without a key: the start ends with this.</summary>
/// <param name="message">What to do.</param>
internal sealed class ListeningRefusedException(string message) : Exception(message);

/// <summary>
/// Where the service listens as long as no key is stored: on loopback only, whatever is configured. In a container, where nobody could
/// reach it there, it does not start.
/// </summary>
internal static partial class Listening
{
    private const string Endpoints = "Kestrel:Endpoints", Remedy =
        "create the first key with the verb 'keys create --name first --role admin', or set Auth:Mode to none on purpose";

    /// <summary>Takes the addresses back to loopback where it has to, and says so; belongs in front of the start.</summary>
    /// <exception cref="ListeningRefusedException">It runs in a container, and is to listen to the world outside.</exception>
    public static void RestrictListening(this WebApplication app)
    {
        var keys = app.Services.GetRequiredService<KeyRing>();
        if (keys.IsOff) LogOff(app.Logger);
        // Where the keys could not be read, whoever comes is asked for one.
        if (keys.IsOff || keys.HasKeys is not false) return;
        var (configuration, bound) = (app.Configuration, BoundAddresses(app.Configuration).ToList());
        var named = configuration.GetSection(Endpoints).GetChildren().Where(endpoint => endpoint["Url"] is not null).ToList();
        var outside = bound.Concat(named.Select(endpoint => endpoint["Url"]!)).Where(address => !IsLoopback(address)).ToList();
        if (outside.Count == 0)
        {
            LogOpen(app.Logger, Remedy);
            return;
        }
        if (ServiceComposition.IsInContainer(configuration))
            throw new ListeningRefusedException(
                $"the service would listen on {string.Join(", ", outside)}, where anybody could reach it, and no key is stored: {Remedy} " +
                "(Auth__Mode=none in the environment)");
        if (bound.Exists(address => !IsLoopback(address)))
        {
            // Where the server has addresses of its own, those of the configuration are not looked at.
            app.Urls.Clear();
            foreach (var address in bound.Select(OnLoopback).Distinct()) app.Urls.Add(address);
        }
        foreach (var endpoint in named.Where(endpoint => !IsLoopback(endpoint["Url"]!))) endpoint["Url"] = OnLoopback(endpoint["Url"]!);
        LogRestricted(app.Logger, string.Join(", ", outside), Remedy);
    }

    /// <summary>Whether an address of the configuration is reached from this machine alone.</summary>
    public static bool IsLoopback(string address)
    {
        var parsed = BindingAddress.Parse(address);
        return parsed.IsUnixPipe || parsed.IsNamedPipe || parsed.Host.Equals("localhost", StringComparison.OrdinalIgnoreCase)
            || (IPAddress.TryParse(parsed.Host, out var ip) && IPAddress.IsLoopback(ip));
    }

    /// <summary>An address of the same scheme and port on loopback.</summary>
    public static string OnLoopback(string address)
    {
        if (IsLoopback(address)) return address;
        var parsed = BindingAddress.Parse(address);
        // A free port cannot be asked for on both of localhost's addresses.
        return $"{parsed.Scheme}://{(parsed.Port == 0 ? "127.0.0.1" : "localhost")}:{parsed.Port}";
    }

    // As the host finds them: the addresses, and without any the ports, on all addresses; and without those localhost's.
    private static IEnumerable<string> BoundAddresses(IConfiguration configuration)
    {
        var urls = Parts(configuration["urls"]);
        return urls.Length > 0
            ? urls
            : Parts(configuration["http_ports"]).Select(port => $"http://*:{port}")
                .Concat(Parts(configuration["https_ports"]).Select(port => $"https://*:{port}"));
    }

    private static string[] Parts(string? value) => value?.Split(
        ';', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) ?? [];

    [LoggerMessage(Level = LogLevel.Warning, Message = "Auth:Mode is none: everybody who reaches this service may do everything")]
    private static partial void LogOff(ILogger logger);

    [LoggerMessage(Level = LogLevel.Warning,
        Message = "No key is stored: requests need none, and the service listens on loopback only. To open it to others {Remedy}")]
    private static partial void LogOpen(ILogger logger, string remedy);

    [LoggerMessage(Level = LogLevel.Warning,
        Message = "No key is stored: requests need none, and the service listens on loopback only, not on {Addresses}. To open it to " +
            "others {Remedy}, and start it again")]
    private static partial void LogRestricted(ILogger logger, string addresses, string remedy);
}
