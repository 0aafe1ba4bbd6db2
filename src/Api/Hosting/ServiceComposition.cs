using BnService.Api.Contracts;
using BnService.Api.Endpoints;
using BnService.Api.Errors;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Commands;
using BnService.Api.Hosting.Connections;
using BnService.Api.Hosting.Edge;
using BnService.Api.Hosting.Limits;
using BnService.Api.Hosting.Memory;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Sessions;
using BnService.Api.Storage;
using BnService.Api.Storage.Memory;
using BnService.Api.Storage.Postgres;
using BnService.Api.Storage.Sqlite;
using BnService.Core.Tensors;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Configuration.Json;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting;

/// <summary>What the service is made of, and in which order a request passes through it.</summary>
internal static partial class ServiceComposition
{
    private const string SettingsFile = "appsettings.json";

    /// <summary>
    /// Begins with the configuration: the settings beside the program, wherever it is started from, those in the working directory, the
    /// environment and the command line, the later before the earlier.
    /// </summary>
    /// <exception cref="UnknownSettingException">A section of this service has a setting that there is not.</exception>
    public static WebApplicationBuilder CreateBuilder(string[] arguments)
    {
        var options = new WebApplicationOptions { Args = arguments, ContentRootPath = AppContext.BaseDirectory };
        var builder = WebApplication.CreateBuilder(options);
        var (sources, own) = (builder.Configuration.Sources, Path.GetFullPath(SettingsFile));
        if (own != Path.Combine(AppContext.BaseDirectory, SettingsFile) && File.Exists(own))
        {
            var source = new JsonConfigurationSource { Path = own };
            source.ResolveFileProvider();
            sources.Insert(sources.IndexOf(sources.OfType<JsonConfigurationSource>().Last()) + 1, source);
        }
        Settings.Require(builder.Configuration);
        return builder;
    }

    /// <summary>Registers everything.</summary>
    public static void AddBnService(this WebApplicationBuilder builder)
    {
        builder.AddStructuredLogging();
        var services = builder.Services;
        services.AddServiceOptions();
        services.AddStorage();
        services.AddHostedService<KeyRefresh>();
        services.AddSingleton(provider => provider.GetRequiredService<IOptions<ComputeOptions>>().Value.ToSettings());
        services.AddSingleton<ResidentSessions>();
        services.AddSingleton<StateReads>();
        services.AddSingleton<NewestStates>();
        services.AddSingleton<SessionCount>();
        services.AddSingleton<LargeWrites>();
        services.AddSingleton<StoredBytes>();
        services.AddSingleton<LargeBodies>();
        services.AddSingleton<LongTexts>();
        services.AddSingleton<Snapshots>();
        services.AddSingleton(provider => new MemoryBudget(provider.GetRequiredService<IOptions<MemoryOptions>>().Value.BudgetBytes));
        services.AddSingleton<MemoryAdmission>();
        services.AddHostedService<IdleMemory>();
        services.AddSingleton<RetainedSteps>();
        services.AddSingleton<SessionActivity>();
        services.AddSingleton<SessionCatalog>();
        services.AddSingleton<Commits>();
        services.AddSingleton<Computing>();
        services.AddSingleton<Alone>();
        services.AddSingleton<LookingTurns>();
        services.AddSingleton<SessionLists>();
        services.AddSingleton<SessionOverview>();
        services.AddSingleton<TrainStep>();
        services.AddSingleton<Inference>();
        services.AddSingleton<OneShot>();
        services.AddSingleton<Differentiation>();
        services.AddSingleton<Calibration>();
        services.AddSingleton<StepWaits>();
        services.AddSingleton<SyncGroups>();
        services.AddSingleton<TrafficHistory>();
        services.AddHostedService(provider => provider.GetRequiredService<TrafficHistory>());
        services.AddSingleton<TrafficObserver>();
        services.AddSingleton<Readiness>();
        services.AddSingleton<DashboardFiles>();
        services.AddTelemetry();
        services.AddSingleton<RetryAfter>();
        services.AddExceptionHandler<ProblemAnswers>();
        services.ConfigureHttpJsonOptions(json => Adopt(ContractJson.Context.Options, json.SerializerOptions));
        services.AddRequestDecoding();
        services.AddAnswerCompression();
        services.AddServiceDocument();
        services.AddTransport();
        services.AddSingleton<ConnectionPlaces>();
        services.AddSingleton<IConnectionListenerFactory, BoundedListening>();
        services.AddHostedService<ConnectionGuard>();
        services.AddEdge();
        services.AddRequestRate();
        services.AddSingleton<WrongKeys>();
        services.AddSingleton<Places>();
        services.AddSingleton<ComputeGate>();
        services.AddOptions<HostOptions>().Configure<IOptions<ShutdownOptions>>(
            (host, shutdown) => host.ShutdownTimeout = shutdown.Value.Drain);
    }

    /// <summary>Registers what is kept, and where.</summary>
    public static void AddStorage(this IServiceCollection services)
    {
        services.AddSingleton(TimeProvider.System);
        services.AddSingleton<ISessionStore>(provider => provider.GetRequiredService<IOptions<StorageOptions>>().Value.Engine switch
        {
            "sqlite" => ActivatorUtilities.CreateInstance<SqliteSessionStore>(provider),
            "postgres" => ActivatorUtilities.CreateInstance<PostgresSessionStore>(provider),
            _ => new MemorySessionStore(provider.GetRequiredService<IOptions<ResidencyOptions>>().Value.MaxResidentBytes),
        });
        services.AddSingleton(provider => provider.GetRequiredService<ISessionStore>() as IContributions
            ?? new MemoryContributions(provider.GetRequiredService<TimeProvider>()));
        services.AddSingleton(provider => provider.GetRequiredService<ISessionStore>() as IKeyStore ?? new MemoryKeyStore());
        services.AddSingleton<KeyRing>();
    }

    /// <summary>Opens the store: what cannot be stored ends the start, not the first request.</summary>
    /// <exception cref="StorageUnusableException">It cannot be used.</exception>
    public static async Task OpenStorageAsync(this WebApplication app)
    {
        if (app.Services.GetRequiredService<ISessionStore>() is PostgresSessionStore shared) await shared.OpenAsync(CancellationToken.None);
        try
        {
            await app.Services.GetRequiredService<KeyRing>().RequireReadAsync(CancellationToken.None);
        }
        catch (StorageUnavailableException)
        {
            // A disk that cannot be written now: the store says so, and until the keys are read nobody is let in.
        }
    }

    /// <summary>Builds the way of a request.</summary>
    public static void UseBnService(this WebApplication app)
    {
        ReportStorage(app);
        // What waits for its next use lies beside the budget.
        NativeBuffer.MapLongBuffers();
        var services = app.Services;
        NativeBuffer.MostIdleBytes = Math.Min(NativeBuffer.MostIdleBytes, services.GetRequiredService<MemoryBudget>().Limit / 4);
        app.UseRequestLogging();
        if (services.GetRequiredService<IOptions<CorsOptions>>().Value.Origins.Count > 0) app.UseCors();
        app.UseExceptionHandler(_ => { });
        app.UseStatusCodePages(ProblemAnswers.WriteStatusAsync);
        app.UseAdmission();
        app.UseRouting();
        app.UseApiKeys();
        if (services.GetRequiredService<IOptions<LimitOptions>>().Value.RequestsPerSecond > 0) app.UseRateLimiter();
        app.Use(services.GetRequiredService<Places>().ServeAsync);
        app.UseRequestDecoding();
        app.UseAnswerCompression();
        app.MapService();
        app.MapServiceDocument();
    }

    // Lets a request in: not for the page of another origin, for a bounded time, and with an account of its memory.
    private static void UseAdmission(this WebApplication app)
    {
        var (services, most) = (app.Services, app.Services.GetRequiredService<IOptions<LimitOptions>>().Value.RequestTime);
        var (pages, time) = (services.GetRequiredService<ForeignPages>(), services.GetRequiredService<TimeProvider>());
        var admission = services.GetRequiredService<MemoryAdmission>();
        app.Use(next =>
        {
            RequestDelegate accounted = context => RequestMemory.CountAsync(context, next, admission);
            return context =>
            {
                pages.Refuse(context.Request);
                return RequestDeadline.ServeAsync(context, accounted, most, time);
            };
        });
    }

    /// <summary>Whether the process runs in a container, as the base images say.</summary>
    public static bool IsInContainer(IConfiguration configuration) => configuration["DOTNET_RUNNING_IN_CONTAINER"] is "true" or "1";

    private static void ReportStorage(WebApplication app)
    {
        var storage = app.Services.GetRequiredService<IOptions<StorageOptions>>().Value;
        switch (storage.Engine)
        {
            case "memory":
                LogMemory(app.Logger);
                break;
            case "sqlite":
                LogFile(app.Logger, Path.GetFullPath(storage.Path));
                break;
            default:
                LogDatabase(app.Logger);
                break;
        }
        if (storage is { Engine: not "memory", Durability: "interval" })
            LogInterval(app.Logger, storage.Engine == "postgres" ? "a power cut or a crash of the database server" : "a power cut");
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Sessions are kept in memory and end with this process (Storage:Engine is memory)")]
    private static partial void LogMemory(ILogger logger);

    [LoggerMessage(Level = LogLevel.Information, Message = "Sessions are kept in {File}")]
    private static partial void LogFile(ILogger logger, string file);

    [LoggerMessage(Level = LogLevel.Information, Message = "Sessions are kept in a PostgreSQL database")]
    private static partial void LogDatabase(ILogger logger);

    [LoggerMessage(Level = LogLevel.Warning,
        Message = "Answers come before the disk has what they tell: {Cause} loses the last moment (Storage:Durability is interval)")]
    private static partial void LogInterval(ILogger logger, string cause);

    // The document's schemas are made with the serializer options of ASP.NET Core: they must be the contract's.
    private static void Adopt(System.Text.Json.JsonSerializerOptions contract, System.Text.Json.JsonSerializerOptions target)
    {
        target.TypeInfoResolverChain.Insert(0, ContractJson.Context);
        target.PropertyNamingPolicy = contract.PropertyNamingPolicy;
        target.NumberHandling = contract.NumberHandling;
        target.RespectNullableAnnotations = contract.RespectNullableAnnotations;
        foreach (var converter in contract.Converters) target.Converters.Add(converter);
    }
}

/// <summary>Whether the service takes requests: from the end of start-up, with a store that is open, until it is told to stop.</summary>
internal sealed class Readiness(IHostApplicationLifetime lifetime, ISessionStore store)
{
    /// <summary>Whether the service takes requests now.</summary>
    public bool IsReady => lifetime.ApplicationStarted.IsCancellationRequested && !lifetime.ApplicationStopping.IsCancellationRequested
        && store.IsOpen;
}
