using BnService.Api.Hosting.Commands;

namespace BnService.Api.Tests.Running;

/// <summary>What the program does with its arguments, and with settings that there are not.</summary>
public sealed class CommandLineTests
{
    [Theory]
    [InlineData("--help")]
    [InlineData("-h")]
    [InlineData("help")]
    [InlineData("--Storage:Engine", "memory", "--help")]
    [InlineData("healthcheck", "--help")]
    public async Task Help_lists_the_verbs_and_every_setting_with_its_default_and_what_it_allows(params string[] arguments)
    {
        var (exitCode, output, errors) = await ServiceProcess.RunAsync(arguments);
        Assert.Equal((0, ""), (exitCode, errors));
        var text = string.Join(' ', output.Select(line => line.Trim()));
        foreach (var word in (string[])["serve", "healthcheck", "keys create --name <name> --role reader|trainer|admin", "--version", "--Urls", "--AllowedHosts",
            "--Retention:MaxBytes (1073741824)", "must be from 0 to 2^50 bytes", "--Storage:Path (data/bn.db)", "The file of sqlite.", "--Cors:Origins:0 (none)",
            "--Telemetry:Otlp:Protocol (grpc)"])
            Assert.Contains(word, text, StringComparison.Ordinal);
        Assert.All(Settings.All, setting => Assert.Contains($"--{setting.Written} (", text, StringComparison.Ordinal));
        Assert.True(Settings.All.Count >= 40);
        Assert.All(output, line => Assert.InRange(line.Length, 0, 140));
    }

    [Theory]
    [InlineData("--version")]
    [InlineData("version")]
    public async Task Version_is_the_programs(string argument)
    {
        var (exitCode, output, _) = await ServiceProcess.RunAsync([argument]);
        Assert.Equal(0, exitCode);
        Assert.Matches(@"\ABnService \d+\.\d+\.\d+", Assert.Single(output));
    }

    [Fact]
    public async Task A_verb_has_help_of_its_own()
    {
        var (exitCode, output, _) = await ServiceProcess.RunAsync(["keys", "--help"]);
        Assert.Equal(0, exitCode);
        Assert.Contains("usage: keys create", output[0], StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("there is no command 'serv'. Did you mean serve?", "serv")]
    [InlineData("there is no command 'helthcheck'. Did you mean healthcheck?", "helthcheck")]
    [InlineData("there is no command 'frobnicate'.", "frobnicate")]
    [InlineData("'now' is neither a command nor a setting", "serve", "now")]
    [InlineData("there is no option '--Frobnicate'.", "--Frobnicate")]
    [InlineData("there is no option '--port'. Did you mean --Urls http://localhost:5000?", "--port", "80")]
    [InlineData("there is no option '--Retention:MaxByte'. Did you mean --Retention:MaxBytes?", "--Retention:MaxByte", "1")]
    [InlineData("there is no option '--retenton:maxbytes'. Did you mean --Retention:MaxBytes?", "--retenton:maxbytes=1")]
    [InlineData("there is no option '--MaxBodyBytes'. Did you mean --Limits:MaxBodyBytes?", "--MaxBodyBytes", "1")]
    [InlineData("there is no option '--Cors:Origins'. Did you mean --Cors:Origins:0?", "--Cors:Origins", "https://example.org")]
    [InlineData("there is no option '--url'. Did you mean --Urls", "--url=http://localhost:80")]
    [InlineData("--Storage:Path needs a value", "--Storage:Path")]
    [InlineData("there is no option '-x'.", "-x")]
    [InlineData("healthcheck takes no arguments", "healthcheck", "now")]
    [InlineData("there is no option '--nme'. Did you mean --name?", "keys", "create", "--nme", "a", "--role", "admin")]
    [InlineData("there is no option '--Storage:Pth'. Did you mean --Storage:Path?", "keys", "list", "--Storage:Pth", "a")]
    public async Task What_there_is_not_is_refused_with_what_was_probably_meant(string words, params string[] arguments)
    {
        var (exitCode, output, errors) = await ServiceProcess.RunAsync(arguments, ("ASPNETCORE_URLS", "http://127.0.0.1:0"));
        Assert.Equal((2, 0), (exitCode, output.Count));
        Assert.StartsWith(words, errors, StringComparison.Ordinal);
        Assert.Contains("See --help", errors, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("Retention:MaxBytes must be a whole number, got 'foo'", "--Retention:MaxBytes", "foo")]
    [InlineData("Retention:MaxBytes must be a whole number, got ''", "--Retention:MaxBytes=")]
    [InlineData("Retention:TimeToLive must be a time as hh:mm:ss, of days as d.hh:mm:ss, got 'ten minutes'", "--Retention:TimeToLive=ten minutes")]
    [InlineData("Storage:Notifications must be true or false, got 'yes'", "--storage:notifications=yes")]
    public async Task A_value_of_another_type_ends_the_start_in_one_line(string words, params string[] arguments)
    {
        var (exitCode, output, errors) = await ServiceProcess.RunAsync(arguments, ("ASPNETCORE_URLS", "http://127.0.0.1:0"));
        Assert.Equal((1, 0, $"configuration: {words}"), (exitCode, output.Count, errors.Trim()));
    }

    [Theory]
    [InlineData("Retenton__MaxBytes", "Retenton__MaxBytes in the environment is no setting; did you mean Retention__MaxBytes?")]
    [InlineData("Retention__MaxByte", "did you mean Retention__MaxBytes?")]
    [InlineData("TELEMETRY__OTLP__ENDPONT", "did you mean Telemetry__Otlp__Endpoint?")]
    [InlineData("Storage__Frobnicate", "Storage__Frobnicate in the environment is no setting")]
    public async Task A_variable_that_is_nearly_a_setting_ends_the_start(string name, string words)
    {
        var (exitCode, _, errors) = await ServiceProcess.RunAsync([], (name, "1"), ("ASPNETCORE_URLS", "http://127.0.0.1:0"));
        Assert.Equal(1, exitCode);
        Assert.Contains(words, errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", errors, StringComparison.Ordinal);
    }

    /// <summary>Kubernetes describes services in variables, and machines have hundreds of others.</summary>
    [Fact]
    public async Task Variables_and_settings_of_others_are_left_alone()
    {
        using var service = await ServiceProcess.StartAsync(("STORAGE_PORT", "tcp://10.0.0.1:80"), ("STORAGE", "x"), ("AUTH_SERVICE_HOST", "10.0.0.1"),
            ("LIMITS_PORT_80_TCP_ADDR", "10.0.0.1"), ("NODE_ENV", "production"), ("MODE__FOO", "x"), ("my__own__thing", "x"), ("Logging__LogLevel__Default", "Debug"),
            ("Serilog__MinimumLevel__Default", "Information"), ("Kestrel__Limits__MaxConcurrentConnections", "100"), ("AllowedHosts", "*"),
            ("ConnectionStrings__Main", "x"), ("DOTNET_gcServer", "0"), ("CORS__ORIGINS__0", "https://example.org"));
        (await service.Client.GetAsync("/v1/sessions")).Expect(200);
    }
}
