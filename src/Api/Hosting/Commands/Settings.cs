using System.Collections;
using System.ComponentModel;
using System.Reflection;

namespace BnService.Api.Hosting.Commands;

/// <summary>A section of the configuration and the record that it is bound to.</summary>
/// <param name="Name">The section, as <c>Telemetry:Otlp</c>.</param>
/// <param name="Options">The record.</param>
internal sealed record SettingsSection(string Name, Type Options);

/// <summary>A setting of this service.</summary>
/// <param name="Name">As the command line has it: <c>Retention:MaxBytes</c>.</param>
/// <param name="Property">The property that it is bound to.</param>
internal sealed record Setting(string Name, PropertyInfo Property)
{
    /// <summary>Whether it has entries, each with a number, and no value of its own.</summary>
    public bool IsList => Property.PropertyType != typeof(string) && Property.PropertyType.IsAssignableTo(typeof(IEnumerable));

    /// <summary>The name as it is written: of a list, that of its first entry, as <c>Cors:Origins:0</c>.</summary>
    public string Written => IsList ? $"{Name}:0" : Name;

    /// <summary>What a value must be that is none of the property's type; null where the value is one.</summary>
    /// <param name="value">The value, as it was written.</param>
    public string? Expectation(string value)
    {
        var type = Nullable.GetUnderlyingType(Property.PropertyType);
        if (IsList || (type is not null && value.Length == 0)) return null;
        type ??= Property.PropertyType;
        try
        {
            TypeDescriptor.GetConverter(type).ConvertFromInvariantString(value);
            return null;
        }
        // Converters fail with exceptions of their own, which they wrap or not.
        catch (Exception)
        {
            return type == typeof(bool) ? "true or false" : type == typeof(TimeSpan) ? "a time as hh:mm:ss, of days as d.hh:mm:ss"
                : type == typeof(int) || type == typeof(long) ? "a whole number" : "a number";
        }
    }
}

/// <summary>
/// A setting or an argument that this service does not have, or a value that is none of a setting's type: the start ends with it.
/// </summary>
/// <param name="message">What it is, and what was probably meant.</param>
internal sealed class UnknownSettingException(string message) : Exception(message);

/// <summary>The settings that there are, by their options' types, and a check of the configuration for those that there are not.</summary>
internal static class Settings
{
    // What ASP.NET Core and Serilog read of the command line: sections as a whole, and single keys.
    private static readonly string[] HostSections =
        ["Kestrel", "Logging", "Serilog", "Metrics", "ConnectionStrings", "HostBuilder", "HostOptions", "ASPNETCORE", "DOTNET"];

    private static readonly string[] HostKeys =
    [
        "Urls", "server.urls", "http_ports", "https_ports", "https_port", "preferHostingUrls", "AllowedHosts", "environment", "contentRoot",
            "webRoot",
        "applicationName", "detailedErrors", "captureStartupErrors", "shutdownTimeoutSeconds", "suppressStatusMessages", "startupAssembly",
        "hostingStartupAssemblies", "hostingStartupExcludeAssemblies", "preventHostingStartup", "forwardedHeaders_enabled",
    ];

    /// <summary>The sections of this service.</summary>
    public static IReadOnlyList<SettingsSection> Sections { get; } = SectionsOf(new ServiceCollection());

    /// <summary>All settings of this service.</summary>
    public static IReadOnlyList<Setting> All { get; } =
        [.. Sections.SelectMany(section => section.Options.GetProperties()
            .Where(property => property.SetMethod is not null)
            .Select(property => new Setting($"{section.Name}:{property.Name}", property)))];

    /// <summary>
    /// Whether a key of the command line is a setting of this service, or one of those that ASP.NET Core and Serilog read.
    /// </summary>
    public static bool IsKnown(string key) => IsOurs(key)
        || HostKeys.Contains(key, StringComparer.OrdinalIgnoreCase)
        || HostSections.Contains(SectionOf(key), StringComparer.OrdinalIgnoreCase)
        || key.StartsWith("ASPNETCORE_", StringComparison.OrdinalIgnoreCase)
            || key.StartsWith("DOTNET_", StringComparison.OrdinalIgnoreCase);

    /// <summary>What was probably meant by a key of the command line, as a question for people; empty where nothing is like it.</summary>
    public static string Suggestion(string key) => key.ToUpperInvariant() is "PORT" or "PORTS" or "P" or "HOST" or "URL" or "ADDRESS"
        ? " Did you mean --Urls http://localhost:5000?"
        : Near(key) is { } near ? $" Did you mean --{near}?" : "";

    /// <summary>
    /// Refuses what the configuration holds in a section of this service, or in one whose name is nearly that of one, and is none of its
    /// settings, and values that are none of their settings' types. What lies elsewhere belongs to somebody else, as most variables of the
    /// environment do.
    /// </summary>
    /// <exception cref="UnknownSettingException">There is such a setting, or such a value.</exception>
    public static void Require(IConfiguration configuration)
    {
        RequireNames(configuration);
        var wrong = All.Select(setting => (setting.Name, Value: configuration[setting.Name], setting))
            .Where(entry => entry.Value is not null && entry.setting.Expectation(entry.Value) is not null)
            .Select(entry => $"{entry.Name} must be {entry.setting.Expectation(entry.Value!)}, got '{entry.Value}'").ToList();
        if (wrong.Count > 0) throw new UnknownSettingException(string.Join('\n', wrong));
    }

    private static void RequireNames(IConfiguration configuration)
    {
        var unknown = configuration.AsEnumerable().Where(entry => entry.Value is not null && IsMistaken(entry.Key))
            .Select(entry => entry.Key).ToList();
        if (unknown.Count == 0) return;
        var variables = Environment.GetEnvironmentVariables().Keys.Cast<string>().ToList();
        throw new UnknownSettingException(string.Join('\n', unknown.Order(StringComparer.Ordinal).Select(key =>
        {
            var (name, near) = (key.Replace(":", "__", StringComparison.Ordinal), Near(key));
            var variable = variables.FirstOrDefault(known => known.Equals(name, StringComparison.OrdinalIgnoreCase));
            return variable is not null
                ? $"{variable} in the environment is no setting"
                    + (near is null ? "" : $"; did you mean {near.Replace(":", "__", StringComparison.Ordinal)}?")
                : $"{key} is no setting{(near is null ? "" : $"; did you mean {near}?")}";
        }).Append("--help lists the settings")));
    }

    private static bool IsMistaken(string key)
    {
        // A variable of the environment is meant for this service only if it has a section.
        if (!key.Contains(':', StringComparison.Ordinal) || IsOurs(key)) return false;
        var section = SectionOf(key);
        return Sections.Any(own => SectionOf(own.Name).Equals(section, StringComparison.OrdinalIgnoreCase))
            || (!IsKnown(key) && Near(key) is not null);
    }

    private static bool IsOurs(string key) => All.Any(setting => setting.IsList
        ? key.StartsWith(setting.Name + ":", StringComparison.OrdinalIgnoreCase)
        : setting.Name.Equals(key, StringComparison.OrdinalIgnoreCase));

    private static string SectionOf(string key) => key.Split(':')[0];

    // By the whole name, or where a section was left out, by the rest.
    private static string? Near(string key)
    {
        var names = All.Select(setting => setting.Written).Concat(HostKeys).ToList();
        return Nearest.Of(key, names)
            ?? (key.Contains(':', StringComparison.Ordinal) ? null
                : names.Find(name => name.EndsWith(":" + key, StringComparison.OrdinalIgnoreCase)));
    }

    private static IReadOnlyList<SettingsSection> SectionsOf(ServiceCollection services)
    {
        services.AddServiceOptions();
        return [.. services.Select(service => service.ImplementationInstance).OfType<SettingsSection>()];
    }
}
