using System.Net.Sockets;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Commands;
using BnService.Api.Storage;
using Microsoft.AspNetCore.Connections;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting;

/// <summary>What ends a start, or a verb of the command line, and is the operator's to change: told in a line each, without a stack trace.</summary>
internal static class StartFailure
{
    private const string Addresses = "Microsoft.AspNetCore.Http", Server = "Microsoft.AspNetCore.Server.Kestrel.Core";

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
        // An address that the server cannot parse, or cannot have.
        IOException { InnerException: AddressInUseException } or SocketException or FormatException { Source: Addresses }
            or InvalidOperationException { Source: Server } or ArgumentOutOfRangeException { ParamName: "port" } =>
            [$"the service cannot listen: {exception.Message.Split('\n')[0].TrimEnd('.')}. Another address is given by --Urls http://localhost:5001"],
        StorageUnusableException or ListeningRefusedException => [exception.Message],
        _ => null,
    };
}
