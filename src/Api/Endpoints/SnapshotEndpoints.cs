using BnService.Api.Contracts;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Errors;
using BnService.Api.Sessions;

namespace BnService.Api.Endpoints;

/// <summary>States frozen under their versions.</summary>
internal static class SnapshotEndpoints
{
    private const int LongestDescription = 256;

    public static void MapSnapshots(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/sessions/{session}/snapshots").WithTags("Snapshots");
        group.MapPost("", Create).WithName("CreateSnapshot").Needs(Role.Trainer).FindsSession().ChangesState()
            .Reads<CreateSnapshotRequest>(isOptional: true).Answers<SnapshotResource>(201).Answers<SnapshotResource>()
            .Fails(ProblemCode.InvalidOption, ProblemCode.LimitReached);
        group.MapGet("", List).WithName("ListSnapshots").Needs(Role.Reader).Answers<SnapshotList>().FindsSession();
        group.MapGet("/{version}", Get).WithName("GetSnapshot").Needs(Role.Reader).Answers<SnapshotDetails>().FindsVersion();
        group.MapDelete("/{version}", Delete).WithName("DeleteSnapshot").Needs(Role.Trainer).Answers(204).FindsVersion();
        group.MapPost("/{version}/restore", Restore).WithName("RestoreSnapshot").Needs(Role.Trainer).Answers<StateResponse>()
            .FindsVersion().ChangesState();
    }

    /// <summary>Freeze the state</summary>
    /// <remarks>
    /// Freezes the session's newest state under its version, which inference, fold and state can ask for from then on while training goes
    /// on, and which is a version of the model to the Open Inference Protocol. A version that is frozen already stays as it is and is
    /// answered with 200.
    /// </remarks>
    internal static async Task<IResult> Create(
        [AsParameters] SessionCall call, Body<CreateSnapshotRequest> body, Precondition ifMatch, Snapshots snapshots)
    {
        var found = await call.GetAsync();
        var description = (await body.ReadAsync(isOptional: true)).Description;
        if (description?.Length > LongestDescription)
            throw new ProblemException(ProblemCode.InvalidOption,
                $"description has at most {LongestDescription} characters, got {description.Length}");
        var (snapshot, isNew) = await snapshots.CreateAsync(found, description, ifMatch.Check, call.Ended);
        return new Answer<SnapshotResource>(snapshot.ToResource(), snapshot.Version)
        {
            Status = isNew ? 201 : 200,
            Location = isNew ? $"/v1/sessions/{found.Current.Name}/snapshots/{snapshot.Version}" : null,
        };
    }

    /// <summary>List snapshots</summary>
    /// <remarks>The snapshots of the session, newest first.</remarks>
    internal static async Task<IResult> List([AsParameters] SessionCall call, Snapshots snapshots)
    {
        var found = await call.GetToReplaceAsync();
        var list = await snapshots.ListAsync(found, call.Ended);
        return new Answer<SnapshotList>(list.ToResource(), found.Current.Layer.Version)
        {
            HeldBytes = MemoryNeed.OfSnapshots(list),
        };
    }

    /// <summary>Get a snapshot</summary>
    /// <remarks>A snapshot with its whole state.</remarks>
    internal static async Task<IResult> Get([AsParameters] SessionCall call, string version, Snapshots snapshots)
    {
        var found = await call.GetToReplaceAsync();
        var (snapshot, layer) = await snapshots.GetAsync(found, VersionOf(version), call.Ended);
        return new Answer<SnapshotDetails>(snapshot.ToDetails(layer), snapshot.Version) { Holds = layer };
    }

    /// <summary>Delete a snapshot</summary>
    /// <remarks>Deletes the snapshot; the session stays as it is.</remarks>
    internal static async Task<IResult> Delete([AsParameters] SessionCall call, string version, Snapshots snapshots)
    {
        var found = await call.GetToReplaceAsync();
        await snapshots.DeleteAsync(found, VersionOf(version), call.Ended);
        return TypedResults.NoContent();
    }

    /// <summary>Restore a snapshot</summary>
    /// <remarks>
    /// Makes the frozen state, its options included, the session's newest one, under a new version: nothing that came after the snapshot is
    /// in it any more, and the version goes on growing.
    /// </remarks>
    internal static async Task<IResult> Restore([AsParameters] SessionCall call, string version, Precondition ifMatch, Snapshots snapshots)
    {
        var found = await call.GetToReplaceAsync();
        var restored = await snapshots.RestoreAsync(found, VersionOf(version), ifMatch.Check, call.Ended);
        return new Answer<StateResponse>(restored.Layer.ToState(), restored.Layer.Version);
    }

    private static long VersionOf(string text) => QueryNumber.Version(text)!.Value;
}
