using System.Buffers.Text;
using System.Globalization;
using System.Text;
using System.Text.Json;
using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.Memory;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Sessions;
using BnService.Api.Storage;
using BnService.Core.Layers;
using BnService.Core.Normalizers;

namespace BnService.Api.Endpoints;

/// <summary>Pages of sessions: by name, kind and health, as a program or a page shows them.</summary>
internal static class SessionListEndpoint
{
    private const int DefaultPage = 50, LargestPage = 1000, LongestSearch = 128, DriftShown = 32;

    private const int BytesExpected = 16 << 10;

    private static readonly string[] Extras = ["health", "drift", "total"];
    private static readonly Dictionary<string, NormalizerKind> Kinds =
        Enum.GetValues<NormalizerKind>().ToDictionary(kind => kind.WireName, StringComparer.OrdinalIgnoreCase);
    private static readonly Dictionary<string, Health> Marks =
        Enum.GetValues<Health>().ToDictionary(mark => JsonNamingPolicy.SnakeCaseLower.ConvertName($"{mark}"), StringComparer.OrdinalIgnoreCase);

    /// <summary>Maps the call.</summary>
    public static void MapSessionList(this RouteGroupBuilder sessions) =>
        sessions.MapGet("", List).Needs(Role.Reader).Answers<SessionList>().Fails(ProblemCode.InvalidOption)
            .Describe("ListSessions", "List sessions", $"Pages through the sessions, newest first. With `health` a call looks at {SessionOverview.MostLookedAt} sessions at most: a page may then hold fewer than there is room for, or none, and still have a next one. So may a page of sessions with long labels, which ends after {SessionOverview.MostBytes >> 20} MiB.");

    // What a caller can ask for is the contract's: the parameters are many because that is.
    private static async Task<IResult> List(
        HttpContext context, SessionScope scope, SessionCatalog catalog, SessionLists lists, SessionOverview overview, LookingTurns turns, string? prefix, string? kind, string? search, string? health, string? include, string? limit,
        string? cursor, CancellationToken cancellationToken)
    {
        if (kind is not null && !Kinds.ContainsKey(kind)) throw Invalid($"kind must be one of {string.Join(", ", Kinds.Keys)}, got '{Excerpt.Of(kind)}'");
        if (search?.Length > LongestSearch) throw Invalid($"search has at most {LongestSearch} characters, got {search.Length}");
        if (health is not null && !Marks.ContainsKey(health)) throw Invalid($"health must be one of {string.Join(", ", Marks.Keys)}, got '{Excerpt.Of(health)}'");
        var extras = (include?.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries) ?? []).ToHashSet(StringComparer.OrdinalIgnoreCase);
        if (extras.FirstOrDefault(extra => !Extras.Contains(extra, StringComparer.OrdinalIgnoreCase)) is { } unknown)
            throw Invalid($"include must be some of {string.Join(",", Extras)}, got '{Excerpt.Of(unknown)}'");
        var size = (int)(QueryNumber.Parse(limit, "limit", 1, LargestPage) ?? DefaultPage);
        var query = new SessionQuery(prefix, kind is null ? null : Kinds[kind].WireName, size, cursor is null ? null : Position(cursor)) { Search = string.IsNullOrEmpty(search) ? null : search };
        // As many as come at once are in memory several times for a moment: as they are stored, as they are read, and as they are answered.
        if (RequestMemory.Of(context) is { } memory) await memory.ReserveAsync(Math.Min(2 * SessionOverview.MostBytes, (long)size * BytesExpected));
        using var turn = turns.Of(scope);
        if (extras.Contains("total")) await turn.TakeAsync(cancellationToken);
        var page = await overview.ListAsync(scope, query, health is null ? null : Marks[health], withHealth: extras.Contains("health"), turn, cancellationToken);
        RequestMemory.Of(context)?.Settle(page.Bytes);
        return new Answer<SessionList>(new SessionList
        {
            Sessions = [.. page.Sessions.Where(found => found.Session.Damage == Damage.None).Select(found => SessionEndpoints.Resource(found.Session,
                extras.Contains("health") ? DiagnosticsEndpoints.Report(found.Health!) : null,
                extras.Contains("drift") ? catalog.TrafficOf(found.Session)?.RecentDrift(DriftShown) ?? [] : null))],
            Damaged = page.Sessions.Any(found => found.Session.Damage != Damage.None) ? [.. page.Sessions.Where(found => found.Session.Damage != Damage.None).Select(Remains)] : null,
            NextCursor = page.Next is { } next ? Cursor(next) : null,
            Total = extras.Contains("total") ? await lists.CountAsync(scope, query, turn, cancellationToken) : null,
        })
        { HeldBytes = page.Bytes };
    }

    private static DamagedSession Remains(SessionWithHealth found) =>
        new() { Id = found.Session.Id, Name = found.Session.Name, Version = found.Session.Version, CreatedAt = found.Session.CreatedAt };

    private static string Cursor(SessionPosition last) =>
        Base64Url.EncodeToString(Encoding.UTF8.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{last.CreatedAt.UtcTicks}.{last.Id}")));

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
