using BnService.Api.Hosting;
using BnService.Api.Storage;
using Microsoft.Extensions.Options;

if (args is ["healthcheck"]) return await HealthCheckCommand.RunAsync();

try
{
    var builder = WebApplication.CreateBuilder(args);
    builder.AddBnService();
    await using var app = builder.Build();
    await app.OpenStorageAsync();
    app.UseBnService();
    await app.RunAsync();
    return 0;
}
catch (OptionsValidationException exception)
{
    foreach (var failure in exception.Failures) await Console.Error.WriteLineAsync($"configuration: {failure}");
    return 1;
}
catch (StorageUnusableException exception)
{
    await Console.Error.WriteLineAsync($"configuration: {exception.Message}");
    return 1;
}
catch (AggregateException several) when (several.InnerExceptions.All(exception => exception is OptionsValidationException))
{
    // More than one section is wrong.
    foreach (var failure in several.InnerExceptions.Cast<OptionsValidationException>().SelectMany(exception => exception.Failures))
        await Console.Error.WriteLineAsync($"configuration: {failure}");
    return 1;
}
catch (InvalidOperationException exception) when (exception.Message.StartsWith("Failed to convert configuration value", StringComparison.Ordinal))
{
    await Console.Error.WriteLineAsync($"configuration: {exception.Message}");
    return 1;
}
