using BnService.Api.Hosting.Connections;
using BnService.Api.Hosting.Limits;
using BnService.Api.Sessions;
using BnService.Api.Storage;
using BnService.Api.Storage.Memory;
using BnService.Core.Tensors;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.AspNetCore.Mvc.Testing;
using Microsoft.AspNetCore.Routing;
using Microsoft.AspNetCore.TestHost;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;

namespace BnService.Harness;

/// <summary>The whole service, in this process, with a client that holds every answer against the contract.</summary>
public sealed class Service : IDisposable
{
    private readonly Application _application;
    private readonly HttpClient _http, _unchecked;

    public Service()
        : this([], null, onKestrel: false)
    {
    }

    private Service((string Key, string Value)[] settings, Action<IServiceCollection>? replace, bool onKestrel)
    {
        _application = new Application(settings, replace);
        if (onKestrel)
        {
            // With a port of its own choice it would set the address after the server may have started.
            _application.UseKestrel();
            _application.StartServer();
        }
        _http = _application.CreateDefaultClient(new ContractHandler());
        _unchecked = _application.CreateDefaultClient();
        Client = new ServiceClient(_http);
        Unchecked = new ServiceClient(_unchecked);
    }

    public ServiceClient Client { get; }

    /// <summary>A client for answers that the service should never give, which a test has provoked by breaking a part of it.</summary>
    public ServiceClient Unchecked { get; }

    /// <summary>Bytes of the activations that are retained.</summary>
    public long RetainedBytes => _application.Services.GetRequiredService<RetainedSteps>().Bytes;

    /// <summary>Bytes of its memory budget that are in use.</summary>
    public long UsedMemory => _application.Services.GetRequiredService<MemoryBudget>().Used;

    /// <summary>Its connections; needs Kestrel.</summary>
    internal ConnectionPlaces Connections => _application.Services.GetRequiredService<ConnectionPlaces>();

    /// <summary>The most bytes of its memory budget that ever were.</summary>
    public long PeakMemory => _application.Services.GetRequiredService<MemoryBudget>().Peak;

    /// <summary>Takes so much of its memory budget that this many bytes are in use, until it is disposed.</summary>
    public IDisposable Occupy(long bytes)
    {
        var budget = _application.Services.GetRequiredService<MemoryBudget>();
        var account = new MemoryAccount(budget);
        account.TryReserve(Math.Max(0, bytes - budget.Used), budget.Limit);
        return account;
    }

    /// <summary>Bytes that sessions take in memory.</summary>
    public long ResidentBytes => _application.Services.GetRequiredService<ResidentSessions>().Bytes;

    /// <summary>Number of sessions that are in memory.</summary>
    public int ResidentCount => _application.Services.GetRequiredService<ResidentSessions>().Count;

    /// <summary>Number of changes of a session that wait for the one that is being stored.</summary>
    public int WaitingChanges(string session) => _application.Services.GetRequiredService<SessionCatalog>()
        .GetAsync(SessionScope.Everything, session, CancellationToken.None).AsTask().GetAwaiter().GetResult().Commits.Waiting;

    /// <summary>Number of ranks that have come to a step which is not over.</summary>
    public int WaitingRanks => ((MemoryContributions)_application.Services.GetRequiredService<IContributions>()).Count;

    /// <summary>Whether nothing is kept of any step of several ranks.</summary>
    public bool HasNoSteps => ((MemoryContributions)_application.Services.GetRequiredService<IContributions>()).IsEmpty;

    /// <summary>Number of calls on this node that wait for the other ranks of a step.</summary>
    public int WaitingCalls => _application.Services.GetRequiredService<StepWaits>().Count;

    /// <summary>Number of places of a kind that are held.</summary>
    internal int Held(Place place) => _application.Services.GetRequiredService<Places>().Held(place);

    /// <summary>Every route.</summary>
    public IReadOnlyList<RouteEndpoint> Routes =>
        [.. _application.Services.GetServices<EndpointDataSource>().SelectMany(source => source.Endpoints).OfType<RouteEndpoint>().Distinct()];

    /// <summary>Native memory in use in the whole process.</summary>
    public static long RentedBytes => NativeBuffer.RentedBytes;

    /// <summary>Where Kestrel listens.</summary>
    public Uri Address => new(_application.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First());

    /// <summary>The service with its own settings.</summary>
    public static Service With(params (string Key, string Value)[] settings) => new(settings, null, onKestrel: false);

    /// <summary>The service with a clock of the test's.</summary>
    public static Service At(TimeProvider time, params (string Key, string Value)[] settings) =>
        new(settings, services => services.AddSingleton(time), onKestrel: false);

    /// <summary>The service with a part of the test's.</summary>
    public static Service Replacing(Action<IServiceCollection> replace, params (string Key, string Value)[] settings) =>
        new(settings, replace, onKestrel: false);

    /// <summary>A node among those that use one store, with a clock of the test's where it has one.</summary>
    public static Service Node(ISessionStore store, string name, TimeProvider? time = null, params (string Key, string Value)[] settings) =>
        Replacing(services =>
        {
            services.AddSingleton(store);
            if (time is not null) services.AddSingleton(time);
        }, [("Node:Name", name), .. settings]);

    /// <summary>One of several services that share what is stored, as nodes share a database.</summary>
    public static Service Node(string name, SharedStorage storage, params (string Key, string Value)[] settings) =>
        new([("Node:Name", name), .. settings], storage.Replace, onKestrel: false);

    /// <summary>One of several services that share what is stored, with a clock of the test's.</summary>
    public static Service Node(string name, SharedStorage storage, TimeProvider time) => new([("Node:Name", name)], services =>
    {
        storage.Replace(services);
        services.AddSingleton(time);
    }, onKestrel: false);

    /// <summary>The service behind a real server on a free port: for what happens before ASP.NET Core sees a request.</summary>
    public static Service OnKestrel(params (string Key, string Value)[] settings) => new(settings, null, onKestrel: true);

    /// <summary>The service behind a real server, with a part of the test's.</summary>
    public static Service OnKestrel(Action<IServiceCollection> replace, params (string Key, string Value)[] settings) =>
        new(settings, replace, onKestrel: true);

    /// <summary>The OpenAPI document as the service makes it, fetched without holding the answer against the document.</summary>
    public static string ServedDocument()
    {
        using var application = new Application([], null);
        using var http = application.CreateDefaultClient();
        return http.GetStringAsync(new Uri("/openapi/v1.json", UriKind.Relative)).GetAwaiter().GetResult();
    }

    /// <summary>A client of HTTP with handlers of the test's before the service; without a check of the answers.</summary>
    public HttpClient NewHttp(params DelegatingHandler[] handlers) => _application.CreateDefaultClient(handlers);

    public Task<SessionClient> CreateAsync(string options) => Client.CreateAsync(options);

    /// <summary>A connection on which a test writes what it likes; needs Kestrel.</summary>
    public Task<RawConnection> ConnectAsync() => RawConnection.OpenAsync(Address.Port);

    public void Dispose()
    {
        _http.Dispose();
        _unchecked.Dispose();
        _application.Dispose();
    }

    private sealed class Application((string Key, string Value)[] settings, Action<IServiceCollection>? replace) : WebApplicationFactory<Program>
    {
        protected override void ConfigureWebHost(IWebHostBuilder builder)
        {
            builder.UseSetting("hostBuilder:reloadConfigOnChange", "false");
            builder.UseUrls("http://127.0.0.1:0");
            // Each test has sessions of its own, and thousands of them no file.
            builder.ConfigureAppConfiguration(configuration => configuration
                // Of thousands of requests only what went wrong is worth reading.
                .AddInMemoryCollection([KeyValuePair.Create("Storage:Engine", (string?)"memory"),
                    KeyValuePair.Create("Serilog:MinimumLevel:Default", (string?)"Error"), KeyValuePair.Create("Serilog:MinimumLevel:Override:Microsoft.AspNetCore", (string?)"Error")])
                .AddInMemoryCollection(settings.Select(setting => KeyValuePair.Create(setting.Key, (string?)setting.Value))));
            if (replace is not null) builder.ConfigureTestServices(replace);
        }
    }
}
