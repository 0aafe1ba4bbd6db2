using System.ComponentModel.DataAnnotations;
using System.Globalization;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Commands;
using BnService.Api.Hosting.Edge;
using BnService.Api.Hosting.Memory;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Sessions;
using BnService.Api.Storage;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting;

/// <summary>Binds each record of options to its section of the configuration and checks it at start.</summary>
internal static class OptionsBinding
{
    /// <summary>Registers all sections.</summary>
    public static void AddServiceOptions(this IServiceCollection services)
    {
        services.AddSection<StorageOptions>("Storage");
        services.AddSection<AuthOptions>("Auth");
        services.AddSection<NodeOptions>("Node");
        services.AddSection<SyncOptions>("Sync");
        services.AddSection<ResidencyOptions>("Sessions");
        services.AddSection<RetentionOptions>("Retention");
        services.AddSection<MemoryOptions>("Memory");
        services.AddSection<LimitOptions>("Limits");
        services.AddSingleton<IValidateOptions<LimitOptions>, RequestTimeValidation>();
        services.AddSection<ComputeOptions>("Compute");
        services.AddSection<ShutdownOptions>("Shutdown");
        services.AddSection<TlsOptions>("Tls");
        services.AddSection<CorsOptions>("Cors");
        services.AddSection<TelemetryOptions>("Telemetry");
        services.AddSection<OtlpOptions>("Telemetry:Otlp");
    }

    private static void AddSection<T>(this IServiceCollection services, string section)
        where T : class
    {
        services.AddSingleton(new SettingsSection(section, typeof(T)));
        services.AddOptions<T>().BindConfiguration(section).ValidateOnStart();
        services.AddSingleton<IValidateOptions<T>>(provider =>
            new SectionValidation<T>(section, provider.GetRequiredService<IConfiguration>()));
    }

    // A request whose ranks are waited for must not be given up before they are.
    private sealed class RequestTimeValidation(IConfiguration configuration) : IValidateOptions<LimitOptions>
    {
        public ValidateOptionsResult Validate(string? name, LimitOptions options) =>
            // A text that is no time is refused where it belongs.
            (TimeSpan.TryParse(configuration["Sync:Timeout"], CultureInfo.InvariantCulture, out var sync) ? sync
                : new SyncOptions().Timeout) is var timeout
                && options.RequestTime < timeout
                ? ValidateOptionsResult.Fail($"Limits:RequestTime must be at least Sync:Timeout, {timeout}, got '{options.RequestTime}'")
                : ValidateOptionsResult.Success;
    }

    // Says which key is wrong, what it holds and what is allowed, in the form in which operators write keys.
    private sealed class SectionValidation<T>(string section, IConfiguration configuration) : IValidateOptions<T>
        where T : class
    {
        public ValidateOptionsResult Validate(string? name, T options)
        {
            var results = new List<ValidationResult>();
            if (Validator.TryValidateObject(options, new ValidationContext(options), results, validateAllProperties: true))
                return ValidateOptionsResult.Success;
            return ValidateOptionsResult.Fail(results.Select(result =>
            {
                var member = result.MemberNames.First();
                var key = $"{section}:{member}";
                return $"{key} {result.ErrorMessage}, got {(IsSecret(member) ? "something else" : $"'{configuration[key]}'")}";
            }));
        }

        private static bool IsSecret(string member) =>
            typeof(T).GetProperty(member)?.GetCustomAttributes(
                typeof(DataTypeAttribute), inherit: false) is [DataTypeAttribute { DataType: DataType.Password }];
    }
}
