using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Sessions;

namespace BnService.Api.Endpoints;

/// <summary>States frozen under their versions.</summary>
internal static class SnapshotEndpoints
{
    private const int LongestDescription = 256;

    private const long BytesBeside = 200;

    /// <summary>Maps the calls.</summary>
    public static void MapSnapshots(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/sessions/{session}/snapshots").WithTags("Snapshots");
        group.MapPost("", Create).Needs(Role.Trainer).Reads<CreateSnapshotRequest>(isOptional: true).Answers<SnapshotResource>(201).Answers<SnapshotResource>().FindsSession().ChangesState()
            .Fails(ProblemCode.InvalidOption, ProblemCode.LimitReached)
            .Describe("CreateSnapshot", "Freeze the state", "Freezes the session's newest state under its version, which inference, fold and state can ask for from then on while training goes on, and which is a version of the model to the Open Inference Protocol. A version that is frozen already stays as it is and is answered with 200.");
        group.MapGet("", List).Needs(Role.Reader).Answers<SnapshotList>().FindsSession()
            .Describe("ListSnapshots", "List snapshots", "The snapshots of the session, newest first.");
        group.MapGet("/{version}", Get).Needs(Role.Reader).Answers<SnapshotDetails>().FindsVersion()
            .Describe("GetSnapshot", "Get a snapshot", "A snapshot with its whole state.");
        group.MapDelete("/{version}", Delete).Needs(Role.Trainer).Answers(204).FindsVersion()
            .Describe("DeleteSnapshot", "Delete a snapshot", "Deletes the snapshot; the session stays as it is.");
        group.MapPost("/{version}/restore", Restore).Needs(Role.Trainer).Answers<StateResponse>().FindsVersion().ChangesState()
            .Describe("RestoreSnapshot", "Restore a snapshot", "Makes the frozen state, its options included, the session's newest one, under a new version: nothing that came after the snapshot is in it any more, and the version goes on growing.");
    }

    private static async Task<IResult> Create(
        string session, [OptionalBody] Body<CreateSnapshotRequest> body, Precondition ifMatch, SessionScope scope, SessionCatalog catalog, Snapshots snapshots,
        CancellationToken cancellationToken)
    {
        if (body.Value.Description?.Length > LongestDescription)
            throw new ProblemException(ProblemCode.InvalidOption, $"description has at most {LongestDescription} characters, got {body.Value.Description.Length}");
        var found = await catalog.GetAsync(scope, session, cancellationToken);
        var (snapshot, isNew) = await snapshots.CreateAsync(found, body.Value.Description, ifMatch.Check, cancellationToken);
        return new Answer<SnapshotResource>(snapshot.ToResource(), snapshot.Version)
        {
            Status = isNew ? 201 : 200,
            Location = isNew ? $"/v1/sessions/{found.Current.Name}/snapshots/{snapshot.Version}" : null,
        };
    }

    private static async Task<IResult> List(string session, SessionScope scope, SessionCatalog catalog, Snapshots snapshots, CancellationToken cancellationToken)
    {
        var found = await catalog.FindToReplaceAsync(scope, session, cancellationToken) ?? throw SessionCatalog.NotFound(session);
        var list = await snapshots.ListAsync(found, cancellationToken);
        return new Answer<SnapshotList>(list.ToResource(), found.Current.Layer.Version)
        {
            HeldBytes = list.Sum(snapshot => BytesBeside + ((snapshot.Description?.Length ?? 0) * sizeof(char))),
        };
    }

    private static async Task<IResult> Get(
        string session, string version, SessionScope scope, SessionCatalog catalog, Snapshots snapshots, CancellationToken cancellationToken)
    {
        var found = await catalog.FindToReplaceAsync(scope, session, cancellationToken) ?? throw SessionCatalog.NotFound(session);
        var (snapshot, layer) = await snapshots.GetAsync(found, QueryNumber.Version(version)!.Value, cancellationToken);
        return new Answer<SnapshotDetails>(snapshot.ToDetails(layer), snapshot.Version) { Holds = layer };
    }

    private static async Task<IResult> Delete(string session, string version, SessionScope scope, SessionCatalog catalog, Snapshots snapshots, CancellationToken cancellationToken)
    {
        var found = await catalog.FindToReplaceAsync(scope, session, cancellationToken) ?? throw SessionCatalog.NotFound(session);
        await snapshots.DeleteAsync(found, QueryNumber.Version(version)!.Value, cancellationToken);
        return TypedResults.NoContent();
    }

    private static async Task<IResult> Restore(
        string session, string version, Precondition ifMatch, SessionScope scope, SessionCatalog catalog, Snapshots snapshots, CancellationToken cancellationToken)
    {
        var found = await catalog.FindToReplaceAsync(scope, session, cancellationToken) ?? throw SessionCatalog.NotFound(session);
        var restored = await snapshots.RestoreAsync(found, QueryNumber.Version(version)!.Value, ifMatch.Check, cancellationToken);
        return new Answer<StateResponse>(restored.Layer.ToState(), restored.Layer.Version);
    }
}
