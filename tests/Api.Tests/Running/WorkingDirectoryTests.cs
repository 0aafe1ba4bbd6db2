namespace BnService.Api.Tests.Running;

/// <summary>The program started from a folder that is not its own.</summary>
public sealed class WorkingDirectoryTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("bn-elsewhere").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Its_settings_are_beside_the_program_and_its_data_where_the_user_is()
    {
        using var service = await ServiceProcess.StartAsync((ServiceProcess.FolderVariable, _folder));
        (await service.Client.GetAsync("/v1/sessions")).Expect(200);
        Assert.True(File.Exists(Path.Combine(_folder, "data", "bn.db")));
        service.Terminate();
        Assert.Equal(0, await service.ExitAsync());
        // One event per request: without its settings ASP.NET Core's own come besides.
        Assert.Single(service.Output, line => line.Contains("/v1/sessions", StringComparison.Ordinal));
    }

    [Fact]
    public async Task Settings_in_the_working_directory_override_those_beside_the_program_and_are_overridden_by_the_environment()
    {
        await File.WriteAllTextAsync(Path.Combine(_folder, "appsettings.json"),
            """{"Storage":{"Path":"here.db"},"Limits":{"MaxFeatures":7,"MaxSnapshots":9},"Mine":{"Anything":1}}""");
        using var service = await ServiceProcess.StartAsync((ServiceProcess.FolderVariable, _folder), ("Limits__MaxFeatures", "8"));
        Assert.True(File.Exists(Path.Combine(_folder, "here.db")));
        (await service.Client.PostAsync("/v1/sessions", """{"num_features":8}""")).Expect(201);
        (await service.Client.PostAsync("/v1/sessions", """{"num_features":9}""")).ExpectProblem("limit-reached");
    }

    [Theory]
    [InlineData("""{"Retention":{"MaxByte":1}}""", "Retention:MaxByte is no setting; did you mean Retention:MaxBytes?")]
    [InlineData("""{"Retenton":{"MaxBytes":1}}""", "Retenton:MaxBytes is no setting; did you mean Retention:MaxBytes?")]
    [InlineData("""{"Retention":""", "appsettings.json")]
    public async Task Settings_that_there_are_not_end_the_start(string settings, string words)
    {
        await File.WriteAllTextAsync(Path.Combine(_folder, "appsettings.json"), settings);
        var (exitCode, _, errors) = await ServiceProcess.RunAsync([], (ServiceProcess.FolderVariable, _folder), ("ASPNETCORE_URLS", "http://127.0.0.1:0"));
        Assert.Equal(1, exitCode);
        Assert.Contains(words, errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", errors, StringComparison.Ordinal);
    }

    /// <summary>The README's command: the folder is the user's, not the project's.</summary>
    [Fact]
    public void Run_by_dotnet_run_the_data_lie_where_the_user_is() => Assert.Contains("<EnableDefaultRunWorkingDirectory>false</EnableDefaultRunWorkingDirectory>",
        File.ReadAllText(Path.Combine(Repository.Root, "src", "Api", "BnService.Api.csproj")), StringComparison.Ordinal);
}
