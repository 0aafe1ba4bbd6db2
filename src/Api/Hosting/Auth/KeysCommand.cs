using System.Globalization;
using BnService.Api.Endpoints;
using BnService.Api.Errors;
using BnService.Api.Hosting.Commands;
using BnService.Api.Storage;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Auth;

/// <summary>
/// The command-line verb <c>keys</c>: creates, lists, rotates and revokes keys in the configured storage, without a running service. The
/// first key is made with it. What it prints on the standard output is what was asked for and nothing else.
/// </summary>
internal static class KeysCommand
{
    private const int Refused = 1, Misused = 2;

    /// <summary>How it is used.</summary>
    public const string Usage = """
        usage: keys create --name <name> --role reader|trainer|admin [--prefix <prefix>]
               keys generate    prints a key for Auth:AdminKey and stores nothing
               keys list
               keys rotate <id>
               keys revoke <id>
        Settings of the service, as --Storage:Path <file>, may follow.
        """;

    /// <summary>Runs it, and returns the process's exit code.</summary>
    /// <param name="arguments">What comes behind <c>keys</c>.</param>
    /// <exception cref="StorageUnusableException">The storage cannot be used.</exception>
    public static async Task<int> RunAsync(string[] arguments)
    {
        // The first words are the verb's own; settings begin with dashes.
        var own = arguments.TakeWhile(argument => !argument.StartsWith('-')).ToArray();
        if (own is ["generate"]) return await PrintAsync(KeyText.New(KeyText.NewId()), "a key for Auth:AdminKey; it is stored nowhere");
        string[] options = own is ["create"] ? ["name", "role", "prefix"] : [];
        if (own is not (["create"] or ["list"] or ["rotate", _] or ["revoke", _])) return await FailAsync(Usage, Misused);
        if (CommandLine.Mistake(arguments[own.Length..], options) is { } mistake) return await CommandLine.RefuseAsync(mistake);
        var builder = ServiceComposition.CreateBuilder(arguments[own.Length..]);
        // The standard output is for keys alone.
        builder.Logging.ClearProviders().AddConsole(console => console.LogToStandardErrorThreshold = LogLevel.Trace)
            .SetMinimumLevel(LogLevel.Warning);
        builder.Services.AddServiceOptions();
        builder.Services.AddStorage();
        await using var app = builder.Build();
        if (app.Services.GetRequiredService<IOptions<StorageOptions>>().Value.Engine == "memory")
            return await FailAsync(
                "keys: Storage:Engine is memory, which ends with the process that it belongs to: name another one, or create the key " +
                "with POST /v1/keys of the running service", Refused);
        try
        {
            await app.OpenStorageAsync();
            return await RunAsync(own, app.Configuration, app.Services.GetRequiredService<KeyRing>());
        }
        catch (StorageUnusableException exception) when (exception.IsInUse)
        {
            return await FailAsync(
                $"keys: {exception.Message}, a running service: ask that one, with an admin's key (or without any from this machine, " +
                $"while it has none): POST /v1/keys, GET /v1/keys, DELETE /v1/keys/<id>", Refused);
        }
        catch (Exception exception) when (exception is ProblemException or StorageUnavailableException)
        {
            return await FailAsync($"keys: {exception.Message}", Refused);
        }
    }

    private static async Task<int> RunAsync(string[] arguments, IConfiguration options, KeyRing keys)
    {
        switch (arguments)
        {
            case ["create"] when options["name"] is { } name && options["role"] is { } text:
                SessionEndpoints.RequireName(name);
                if (options["prefix"] is { } prefix) KeyEndpoints.RequirePrefix(prefix);
                var role = Roles.Parse(text) ?? throw new ProblemException(
                    ProblemCode.InvalidOption, $"role must be one of {Roles.Names}, got '{Excerpt.Of(text)}'");
                // Who types this, and reads what it prints, is not somebody who has clicked on an example.
                var (created, key, isFirst) = await keys.CreateAsync(
                    name, role, options["prefix"], isKept: true, isOpen: false, CancellationToken.None);
                return await PrintAsync(key, $"key {created.Id} has been created. {KeyNotice.OfCreated(isFirst)}");
            case ["list"]:
                foreach (var known in await keys.ListAsync(CancellationToken.None))
                    await Console.Out.WriteLineAsync(LineOf(known));
                return 0;
            case ["rotate", var id]:
                return await PrintAsync((await keys.RotateAsync(id, CancellationToken.None)).Text,
                    $"key {id} has a new secret. {KeyNotice.OfRotated}");
            case ["revoke", var id]:
                // Who has the storage may do what nobody could undo over the network.
                await keys.RevokeAsync(id, isLastAllowed: true, CancellationToken.None);
                return 0;
            default:
                return await FailAsync(Usage, Misused);
        }
    }

    private static string LineOf(AccessKey key) => string.Join('\t', ((string?[])
        [key.Id, key.Name, key.StoredRole, key.Scope.Prefix ?? "-", key.CreatedAt.ToString("u", CultureInfo.InvariantCulture),
            key.Flaw is null ? null : $"lets nobody in: {key.Flaw}"])
        .OfType<string>().Select(PlainText.Of));

    private static async Task<int> PrintAsync(string key, string remark)
    {
        await Console.Error.WriteLineAsync(remark);
        await Console.Out.WriteLineAsync(key);
        return 0;
    }

    private static async Task<int> FailAsync(string message, int exitCode)
    {
        await Console.Error.WriteLineAsync(message == Usage ? message : PlainText.Of(message));
        return exitCode;
    }
}
