using BnService.Api.Hosting;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Commands;
using BnService.Api.Hosting.Memory;

try
{
    if (await CommandLine.RunAsync(args) is { } exitCode) return exitCode;
    HeapLimit.Set();
    var builder = ServiceComposition.CreateBuilder(args);
    builder.AddBnService();
    await using var app = builder.Build();
    await app.OpenStorageAsync();
    app.RestrictListening();
    app.UseBnService();
    try
    {
        await app.StartAsync();
    }
    catch
    {
        // What runs in the background is to end, and not to fail.
        app.Lifetime.StopApplication();
        throw;
    }
    await app.WaitForShutdownAsync();
    return 0;
}
catch (Exception exception) when (StartFailure.LinesOf(exception) is { } lines)
{
    foreach (var line in lines) await Console.Error.WriteLineAsync($"configuration: {PlainText.Of(line)}");
    return 1;
}
