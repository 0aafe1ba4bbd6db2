using System.Globalization;
using BnService.Api.Errors;
using BnService.Api.Sessions;
using Microsoft.AspNetCore.Mvc;

namespace BnService.Api.Endpoints;

/// <summary>A call on a session: which one, and who asks for it.</summary>
/// <remarks>
/// In a record of parameters services are marked, or the generator of request delegates takes them for JSON bodies; and parameters have no
/// comments, which the generator of the OpenAPI document would take for those of the request's body.
/// </remarks>
internal readonly record struct SessionCall(
    [property: FromRoute(Name = "session")] string Name,
    SessionScope Scope,
    [property: FromServices] SessionCatalog Catalog,
    CancellationToken Ended)
{
    /// <summary>The session.</summary>
    public ValueTask<LayerSession> GetAsync() => Catalog.GetAsync(Scope, Name, Ended);

    /// <summary>The session, even a damaged one: for calls that repair or delete it.</summary>
    public async ValueTask<LayerSession> GetToReplaceAsync() =>
        await Catalog.FindToReplaceAsync(Scope, Name, Ended) ?? throw SessionCatalog.NotFound(Name);

    /// <summary>Changes the session if it has a version that the caller expects.</summary>
    public async Task<SessionRecord> ChangeAsync(LayerSession found, Precondition ifMatch, Func<SessionRecord, SessionRecord> change) =>
        await Catalog.ChangeAsync(found, record =>
        {
            ifMatch.Check(record.Layer.Version);
            return change(record);
        }, Ended);

    /// <summary>Refuses to create a session of this name where that is not the caller's, no name, or expected to exist.</summary>
    public void RequireCreatable(Precondition ifMatch)
    {
        // Another's name is not there to be created, as what it names is not there to be replaced.
        if (!Scope.Contains(Name)) throw SessionCatalog.NotFound(Name);
        ifMatch.CheckAbsent(Name);
        SessionEndpoints.RequireName(Name);
    }
}

/// <summary>Whole numbers in paths and queries.</summary>
internal static class QueryNumber
{
    /// <summary>A number that may be absent.</summary>
    public static long? Parse(string? text, string name, long least, long most)
    {
        if (text is null) return null;
        if (long.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var number) && number >= least && number <= most)
            return number;
        var allowed = most == long.MaxValue ? $"of {least} or more" : $"from {least} to {most}";
        throw new ProblemException(ProblemCode.InvalidOption, $"{name} must be a whole number {allowed}, got '{Excerpt.Of(text)}'");
    }

    /// <summary>The version of a snapshot, or null where none is named.</summary>
    public static long? Version(string? text) => Parse(text, "version", 1, long.MaxValue);
}
