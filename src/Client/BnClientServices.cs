using BnService.Client;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;

namespace Microsoft.Extensions.DependencyInjection;

/// <summary>Registers <see cref="BnClient"/>.</summary>
public static class BnClientServices
{
    /// <summary>Registers <see cref="BnClient"/>, with connections of <see cref="IHttpClientFactory"/>.</summary>
    /// <param name="services">The services.</param>
    /// <param name="configure">Says where the service is and who calls it.</param>
    /// <returns>For further handlers and settings of its HttpClient.</returns>
    public static IHttpClientBuilder AddBnClient(this IServiceCollection services, Action<BnClientOptions> configure)
    {
        ArgumentNullException.ThrowIfNull(services);
        ArgumentNullException.ThrowIfNull(configure);
        services.AddOptions<BnClientOptions>().Configure(configure);
        return services
            .AddHttpClient(nameof(BnClient))
            .AddTypedClient((http, provider) =>
                new BnClient(http, provider.GetRequiredService<IOptions<BnClientOptions>>().Value, provider.GetService<ILogger<BnClient>>()))
            // The client has a limit of its own for each attempt, which may be longer.
            .ConfigureHttpClient(http => http.Timeout = Timeout.InfiniteTimeSpan)
            .ConfigurePrimaryHttpMessageHandler(BnClient.NewHandler)
            .RedactLoggedHeaders(["Authorization"]);
    }
}
