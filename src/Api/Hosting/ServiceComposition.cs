using BnService.Api.Contracts;
using BnService.Api.Endpoints;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Hosting.Problems;
using BnService.Api.Sessions;
using BnService.Api.Storage;
using BnService.Api.Storage.Memory;
using BnService.Api.Storage.Sqlite;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting;

/// <summary>What the service is made of, and in which order a request passes through it.</summary>
internal static class ServiceComposition
{
    /// <summary>Registers everything.</summary>
    public static void AddBnService(this WebApplicationBuilder builder)
    {
        builder.AddStructuredLogging();
        var services = builder.Services;
        services.AddServiceOptions();
        services.AddSingleton(TimeProvider.System);
        services.AddSingleton(provider => provider.GetRequiredService<IOptions<ComputeOptions>>().Value.ToSettings());
        services.AddSingleton<ISessionStore>(provider => provider.GetRequiredService<IOptions<StorageOptions>>() is { Value.Engine: "sqlite" } options
            ? new SqliteSessionStore(options, provider.GetRequiredService<TimeProvider>())
            : new MemorySessionStore(provider.GetRequiredService<IOptions<ResidencyOptions>>().Value.MaxResidentBytes));
        services.AddSingleton<IContributions, MemoryContributions>();
        services.AddSingleton<ResidentSessions>();
        services.AddSingleton<NewestStates>();
        services.AddSingleton<SessionCount>();
        services.AddSingleton<Snapshots>();
        services.AddSingleton<RetainedSteps>();
        services.AddSingleton<SessionCatalog>();
        services.AddSingleton<TrainStep>();
        services.AddSingleton<Inference>();
        services.AddSingleton<OneShot>();
        services.AddSingleton<BackwardPass>();
        services.AddSingleton<Calibration>();
        services.AddSingleton<StepWaits>();
        services.AddSingleton<SyncGroups>();
        services.AddSingleton<SyncTrainStep>();
        services.AddSingleton<SyncBackward>();
        services.AddSingleton<TrafficObserver>();
        services.AddSingleton<Readiness>();
        services.AddExceptionHandler<ProblemAnswers>();
        services.ConfigureHttpJsonOptions(json => Adopt(ContractJson.Context.Options, json.SerializerOptions));
        services.AddRequestDecoding();
        services.AddAnswerCompression();
        services.AddServiceDocument();
        services.AddTransport();
        services.AddOptions<HostOptions>().Configure<IOptions<ShutdownOptions>>((host, shutdown) => host.ShutdownTimeout = shutdown.Value.Drain);
    }

    /// <summary>Builds the way of a request.</summary>
    public static void UseBnService(this WebApplication app)
    {
        // What cannot be stored ends the start, not the first request.
        app.Services.GetRequiredService<ISessionStore>();
        app.UseRequestLogging();
        app.UseExceptionHandler(_ => { });
        app.UseStatusCodePages(ProblemAnswers.WriteStatusAsync);
        app.UseRouting();
        app.UseRouteMetering();
        app.UseRequestDecoding();
        app.UseAnswerCompression();
        app.Use(Negotiation.DecideAsync);
        app.Use(IdempotencyKey.ReadAsync);
        app.MapService();
        app.MapServiceDocument();
    }

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
