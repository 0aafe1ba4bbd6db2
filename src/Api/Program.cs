using BnService.Api.Hosting;
using BnService.Api.Hosting.Auth;

if (args is ["healthcheck"]) return await HealthCheckCommand.RunAsync();

try
{
    if (args is ["keys", .. var command]) return await KeysCommand.RunAsync(command);
    var builder = WebApplication.CreateBuilder(args);
    builder.AddBnService();
    await using var app = builder.Build();
    await app.OpenStorageAsync();
    app.RestrictListening();
    app.UseBnService();
    await app.RunAsync();
    return 0;
}
catch (Exception exception) when (StartFailure.LinesOf(exception) is { } lines)
{
    foreach (var line in lines) await Console.Error.WriteLineAsync($"configuration: {line}");
    return 1;
}
