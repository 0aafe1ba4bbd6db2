using System.Buffers.Text;
using System.Globalization;
using System.Text;
using System.Text.Json;
using BnService.Api.Contracts;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Memory;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Errors;
using BnService.Api.Sessions;
using BnService.Api.Storage;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using Microsoft.AspNetCore.Mvc;

namespace BnService.Api.Endpoints;

/// <summary>Pages of sessions: by name, kind and health, as a program or a page shows them.</summary>
internal static class SessionListEndpoint
{
    private const int DefaultPage = 50, LargestPage = 1000, LongestSearch = 128, DriftShown = 32;

    private static readonly string[] Extras = ["health", "drift", "total"];
    private static readonly Dictionary<string, NormalizerKind> Kinds =
        Enum.GetValues<NormalizerKind>().ToDictionary(kind => kind.WireName, StringComparer.OrdinalIgnoreCase);
    private static readonly Dictionary<string, Health> Marks =
        Enum.GetValues<Health>()
            .ToDictionary(mark => JsonNamingPolicy.SnakeCaseLower.ConvertName($"{mark}"), StringComparer.OrdinalIgnoreCase);

    public static void MapSessionList(this RouteGroupBuilder sessions) =>
        sessions.MapGet("", List).WithName("ListSessions").Needs(Role.Reader).Answers<SessionList>().Fails(ProblemCode.InvalidOption);

    /// <summary>List sessions</summary>
    /// <remarks>
    /// Pages through the sessions, newest first. With `health` a call looks at 5000 sessions at most: a page may then hold fewer than there
    /// is room for, or none, and still have a next one. So may a page of sessions with long labels, which ends after 4 MiB.
    /// </remarks>
    internal static async Task<IResult> List([AsParameters] SessionListQuery asked, [AsParameters] SessionListCall call)
    {
        var (query, mark, extras) = Read(asked);
        var (withHealth, withTotal) = (extras.Contains("health"), extras.Contains("total"));
        var memory = RequestMemory.Of(call.Context);
        if (memory is not null) await memory.ReserveAsync(MemoryNeed.OfSessions(query.Limit));
        using var turn = call.Turns.Of(call.Scope);
        if (withTotal) await turn.TakeAsync(call.Context.RequestAborted);
        var page = await call.Overview.ListAsync(call.Scope, query, mark, withHealth, turn, call.Context.RequestAborted);
        memory?.Settle(page.Bytes);
        var sound = page.Sessions.ToLookup(found => found.Session.Damage == Damage.None);
        return new Answer<SessionList>(new SessionList
        {
            Sessions = [.. sound[true].Select(found => Resource(found, withHealth, extras.Contains("drift"), call.Catalog))],
            Damaged = sound.Contains(false) ? [.. sound[false].Select(Remains)] : null,
            NextCursor = page.Next is { } next ? Cursor(next) : null,
            Total = withTotal ? await call.Lists.CountAsync(call.Scope, query, turn, call.Context.RequestAborted) : null,
        })
        { HeldBytes = page.Bytes };
    }

    private static (SessionQuery Query, Health? Mark, HashSet<string> Extras) Read(SessionListQuery asked)
    {
        var (kind, search, health) = (asked.Kind, asked.Search, asked.Health);
        if (kind is not null && !Kinds.ContainsKey(kind))
            throw Invalid($"kind must be one of {string.Join(", ", Kinds.Keys)}, got '{Excerpt.Of(kind)}'");
        if (search?.Length > LongestSearch) throw Invalid($"search has at most {LongestSearch} characters, got {search.Length}");
        if (health is not null && !Marks.ContainsKey(health))
            throw Invalid($"health must be one of {string.Join(", ", Marks.Keys)}, got '{Excerpt.Of(health)}'");
        var extras = (asked.Include?.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) ?? [])
            .ToHashSet(StringComparer.OrdinalIgnoreCase);
        if (extras.FirstOrDefault(extra => !Extras.Contains(extra, StringComparer.OrdinalIgnoreCase)) is { } unknown)
            throw Invalid($"include must be some of {string.Join(",", Extras)}, got '{Excerpt.Of(unknown)}'");
        var size = (int)(QueryNumber.Parse(asked.Limit, "limit", 1, LargestPage) ?? DefaultPage);
        SessionPosition? after = asked.Cursor is null ? null : Position(asked.Cursor);
        var query = new SessionQuery(asked.Prefix, kind is null ? null : Kinds[kind].WireName, size, after)
        {
            Search = string.IsNullOrEmpty(search) ? null : search,
        };
        return (query, health is null ? null : Marks[health], extras);
    }

    private static SessionResource Resource(SessionWithHealth found, bool withHealth, bool withDrift, SessionCatalog catalog)
    {
        var health = withHealth ? DiagnosticsEndpoints.Report(found.Health!) : null;
        var drift = withDrift ? catalog.TrafficOf(found.Session)?.RecentDrift(DriftShown) ?? [] : null;
        return SessionEndpoints.Resource(found.Session, health, drift);
    }

    private static DamagedSession Remains(SessionWithHealth found) =>
        new() { Id = found.Session.Id, Name = found.Session.Name, Version = found.Session.Version, CreatedAt = found.Session.CreatedAt };

    private static string Cursor(SessionPosition last) =>
        Base64Url.EncodeToString(
            Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{last.CreatedAt.UtcTicks}.{last.Id}")));

    private static SessionPosition Position(string cursor)
    {
        if (Base64Url.IsValid(cursor)
            && Encoding.UTF8.GetString(Base64Url.DecodeFromChars(cursor)).Split('.') is [var ticks, var id]
            && long.TryParse(ticks, NumberStyles.None, CultureInfo.InvariantCulture, out var value)
            && value <= DateTimeOffset.MaxValue.UtcTicks)
        {
            return new SessionPosition(new DateTimeOffset(value, TimeSpan.Zero), id);
        }
        throw Invalid("cursor must be a next_cursor of an earlier page");
    }

    private static ProblemException Invalid(string detail) => new(ProblemCode.InvalidOption, detail);
}

/// <summary>
/// What a page of sessions is asked for. No positional record: the generator of request delegates cannot build one of nullable texts.
/// </summary>
internal sealed class SessionListQuery
{
    [FromQuery(Name = "prefix")]
    public string? Prefix { get; init; }

    [FromQuery(Name = "kind")]
    public string? Kind { get; init; }

    [FromQuery(Name = "search")]
    public string? Search { get; init; }

    [FromQuery(Name = "health")]
    public string? Health { get; init; }

    [FromQuery(Name = "include")]
    public string? Include { get; init; }

    [FromQuery(Name = "limit")]
    public string? Limit { get; init; }

    [FromQuery(Name = "cursor")]
    public string? Cursor { get; init; }
}

/// <summary>What a page of sessions is made with.</summary>
internal sealed record SessionListCall(
    HttpContext Context,
    SessionScope Scope,
    [property: FromServices] SessionCatalog Catalog,
    [property: FromServices] SessionLists Lists,
    [property: FromServices] SessionOverview Overview,
    [property: FromServices] LookingTurns Turns);
