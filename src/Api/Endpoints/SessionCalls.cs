using System.Reflection;
using BnService.Api.Errors;
using BnService.Api.Sessions;
using BnService.Core.Layers;
using Microsoft.AspNetCore.Mvc;

namespace BnService.Api.Endpoints;

/// <summary>
/// The session that a call is going to change, alone or with the other ranks of a group. It is found before anything of the body is read.
/// </summary>
/// <param name="Session">The session.</param>
/// <param name="Join">With whom it is changed.</param>
/// <param name="Headers">The conditions.</param>
/// <param name="Aborted">Ends waiting.</param>
internal sealed record SessionToChange(LayerSession Session, IJoin Join, ChangeHeaders Headers, CancellationToken Aborted)
{
    /// <summary>The most ranks of a group.</summary>
    public const int MostRanks = 1024;

    /// <summary>Query parameters of a call that a rank of a group makes.</summary>
    public const string Rank = "rank", WorldSize = "world_size";

    /// <summary>The newest state of it.</summary>
    public LayerState Layer => Session.Current.Layer;

    /// <summary>The conditions, once the body has been read.</summary>
    public ChangeTerms Terms => Headers.Terms;

    /// <summary>Binds a handler's parameter.</summary>
    /// <exception cref="ProblemException">There is no such session, or it has another version than the call may change.</exception>
    public static async ValueTask<SessionToChange?> BindAsync(HttpContext context, ParameterInfo _)
    {
        var services = context.RequestServices;
        IJoin join = context.GetRouteValue("group") is string group
            ? new Ranks(services.GetRequiredService<SyncGroups>(), RankOf(group, context.Request.Query))
            : services.GetRequiredService<Alone>();
        var headers = (await ChangeHeaders.BindAsync(context))!;
        var scope = (await SessionScope.BindAsync(context))!;
        var session = await services.GetRequiredService<SessionCatalog>().GetAsync(
            scope, (string)context.GetRouteValue("session")!, context.RequestAborted);
        // A repetition is answered as the first time, whatever version there is meanwhile.
        if (headers.Key is null) headers.IfMatch.Check(session.Current.Layer.Version);
        return new(session, join, headers, context.RequestAborted);
    }

    private static SyncRank RankOf(string group, IQueryCollection query)
    {
        SessionEndpoints.RequireName(group, "group");
        var size = QueryNumber.Parse(query[WorldSize], WorldSize, 1, MostRanks) ?? throw Missing(WorldSize, $"from 1 to {MostRanks}");
        var number = QueryNumber.Parse(query[Rank], Rank, 0, size - 1) ?? throw Missing(Rank, $"from 0 to {WorldSize} - 1");
        return new SyncRank(group, (int)number, (int)size);
    }

    private static ProblemException Missing(string name, string allowed) =>
        new(ProblemCode.InvalidOption, $"{name} must be a whole number {allowed} in the query, got none");
}

/// <summary>A state to read: a session's, perhaps not as new as another node has it, or a snapshot's.</summary>
internal sealed record StateToRead(LayerSession Session, LayerState Layer, HttpContext Context)
{
    /// <summary>Binds a handler's parameter.</summary>
    /// <exception cref="ProblemException">There is no such session or snapshot, or none as new as Bn-Min-Version asks for.</exception>
    public static async ValueTask<StateToRead?> BindAsync(HttpContext context, ParameterInfo _)
    {
        var (services, aborted) = (context.RequestServices, context.RequestAborted);
        var (scope, least) = ((await SessionScope.BindAsync(context))!, (await MinVersion.BindAsync(context))!.Value);
        var session = await services.GetRequiredService<SessionCatalog>().GetRecentAsync(
            scope, (string)context.GetRouteValue("session")!, least, aborted);
        var version = QueryNumber.Version(context.Request.Query["version"]);
        return new(session, await services.GetRequiredService<Snapshots>().LayerAsync(session, version, aborted), context);
    }
}

/// <summary>The parameters of a call that changes a session.</summary>
internal sealed class ChangingCall
{
    public required string Session { get; init; }

    public required SessionToChange Found { get; init; }
}

/// <summary>The parameters of a call that a rank of a group makes.</summary>
internal sealed class RankCall
{
    public required string Session { get; init; }

    public required string Group { get; init; }

    [FromQuery(Name = SessionToChange.Rank)]
    public string? Rank { get; init; }

    [FromQuery(Name = SessionToChange.WorldSize)]
    public string? WorldSize { get; init; }

    public required SessionToChange Found { get; init; }
}

/// <summary>The parameters of a call that reads a session's state or a snapshot's.</summary>
internal sealed class ReadingCall
{
    public required string Session { get; init; }

    [FromQuery(Name = "version")]
    public string? Version { get; init; }

    public required StateToRead Found { get; init; }
}
