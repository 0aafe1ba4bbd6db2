using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Commands;
using BnService.Api.Storage;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting;

/// <summary>What ends a start, or a verb of the command line, and is the operator's to change: told in a line each, without a stack trace.</summary>
internal static class StartFailure
{
    /// <summary>What is wrong; null where it is nothing that an operator could change.</summary>
    public static IReadOnlyList<string>? LinesOf(Exception exception) => exception switch
    {
        OptionsValidationException options => [.. options.Failures],
        // More than one section is wrong.
        AggregateException several when several.InnerExceptions.All(inner => inner is OptionsValidationException) =>
            [.. several.InnerExceptions.SelectMany(inner => LinesOf(inner)!)],
        UnknownSettingException => exception.Message.Split('\n'),
        InvalidDataException { InnerException: { } cause } when exception.Message.StartsWith("Failed to load configuration", StringComparison.Ordinal) =>
            [$"{exception.Message} {cause.Message}"],
        StorageUnusableException or ListeningRefusedException => [exception.Message],
        _ => null,
    };
}
