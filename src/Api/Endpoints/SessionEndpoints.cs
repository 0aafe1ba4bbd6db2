using System.Text.RegularExpressions;
using BnService.Api.Contracts;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Errors;
using BnService.Api.Sessions;
using BnService.Core.Normalizers;

namespace BnService.Api.Endpoints;

/// <summary>Creating, finding, changing and deleting sessions.</summary>
internal static partial class SessionEndpoints
{
    private const int MaxLabels = 64, MaxLabelKey = 64, MaxLabelValue = 256;

    private const int MostAttempts = 5;

    private static readonly TimeSpan WaitForOther = TimeSpan.FromMilliseconds(20);

    public static void MapSessions(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/sessions").WithTags("Sessions");
        group.MapPost("", Create).WithName("CreateSession").Needs(Role.Trainer)
            .Reads<CreateSessionRequest>().Answers<SessionResource>(201)
            .Fails(ProblemCode.InvalidOption, ProblemCode.SessionExists, ProblemCode.LimitReached);
        group.MapSessionList();
        group.MapPut("/{session}", Put).WithName("PutSession").Needs(Role.Trainer).FindsSession().ChangesState()
            .Reads<CreateSessionRequest>().Answers<SessionResource>().Answers<SessionResource>(201)
            .Fails(ProblemCode.InvalidOption, ProblemCode.SessionExists, ProblemCode.LimitReached);
        group.MapGet("/{session}", Get).WithName("GetSession").Needs(Role.Reader).FindsSession().Answers<SessionResource>();
        group.MapPatch("/{session}", Patch).WithName("PatchSession").Needs(Role.Trainer).FindsSession().ChangesState()
            .Reads<PatchSessionRequest>().Answers<SessionResource>().Fails(ProblemCode.InvalidOption, ProblemCode.LimitReached);
        group.MapDelete("/{session}", Delete).WithName("DeleteSession").Needs(Role.Trainer).FindsSession().ChangesState().Answers(204);
        group.MapPost("/{session}/reset", Reset).WithName("ResetSession").Needs(Role.Trainer).FindsSession().ChangesState()
            .Reads<ResetRequest>(isOptional: true).Answers<SessionResource>().Fails(ProblemCode.InvalidOption);
    }

    /// <summary>Create a session</summary>
    /// <remarks>
    /// Creates a normalization layer. Only `num_features` (`normalized_shape` for layer_norm and rms_norm, and `num_groups` for group_norm)
    /// has no default; the other defaults are PyTorch's, or those of the framework that `convention` names. Options that do not belong to
    /// the kind are refused.
    /// </remarks>
    internal static async Task<IResult> Create(
        Body<CreateSessionRequest> body, SessionScope scope, SessionCatalog catalog, CancellationToken cancellationToken)
    {
        var request = await body.ReadAsync();
        if (request.Name is not null) RequireName(request.Name);
        var convention = request.MeantIn(request.Convention);
        return Created(await catalog.CreateAsync(
            scope, request.Name, CheckedLabels(request.Labels) ?? [], request.ToOptions(convention), convention, null, cancellationToken));
    }

    /// <summary>Create a session, or get the one that is there</summary>
    /// <remarks>
    /// For workers that start together: creates the session of this name, or answers the one that is there where it has the same options
    /// (as they are in this service's terms, with all defaults; labels are not compared and stay). Other options are 409, which says each
    /// of them; nothing has changed then. `If-None-Match: *` asks for a new one.
    /// </remarks>
    internal static async Task<IResult> Put(
        [AsParameters] SessionCall call, Body<CreateSessionRequest> body, Precondition ifMatch, HttpRequest http)
    {
        var request = await body.ReadAsync();
        var convention = request.MeantIn(request.Convention);
        var (options, labels) = (request.ToOptions(convention), CheckedLabels(request.Labels) ?? []);
        for (var attempt = 1; ; attempt++)
        {
            if (await call.Catalog.FindAsync(call.Scope, call.Name, call.Ended) is { Current: var there })
            {
                RequireSameName(request.Name, call.Name, there.Name);
                ifMatch.Check(there.Layer.Version);
                RequireSame(there, options, http);
                return AnswerWith(there);
            }
            call.RequireCreatable(ifMatch);
            RequireSameName(request.Name, call.Name, call.Name);
            var creating = call.Catalog.CreateAsync(call.Scope, call.Name, labels, options, convention, null, call.Ended);
            if (await TryCreateAsync(creating, attempt, call.Ended) is { } created) return Created(created);
        }
    }

    // Null if somebody else has taken the name meanwhile, or is about to, and with it the last place.
    private static async Task<SessionRecord?> TryCreateAsync(Task<SessionRecord> creating, int attempt, CancellationToken cancellationToken)
    {
        try
        {
            return await creating;
        }
        catch (ProblemException problem) when (problem.Code == ProblemCode.SessionExists && attempt < MostAttempts)
        {
            return null;
        }
        catch (ProblemException problem) when (problem.Code == ProblemCode.LimitReached && attempt < MostAttempts)
        {
            await Task.Delay(attempt * WaitForOther, cancellationToken);
            return null;
        }
    }

    private static void RequireSame(SessionRecord there, NormalizerOptions options, HttpRequest http)
    {
        if (http.Headers.IfNoneMatch.ToString().Trim() == "*")
            throw new ProblemException(ProblemCode.VersionConflict, $"If-None-Match asks for a new session, but '{there.Name}' is there");
        if (OptionDifferences.Between(Resource(there.Summary), Resource(there.Summary with { Options = options })) is { } differences)
            throw new ProblemException(ProblemCode.SessionExists, $"session '{there.Name}' is there with other options: {differences}");
    }

    private static void RequireSameName(string? sent, string path, string name)
    {
        if (sent is not null && sent != path && sent != name)
            throw Invalid($"name must be absent, or the one in the path, '{Excerpt.Of(path, 128)}', got '{Excerpt.Of(sent, 128)}'");
    }

    private static Answer<SessionResource> Created(SessionRecord session) =>
        new(Resource(session.Summary), session.Layer.Version) { Status = 201, Location = $"/v1/sessions/{session.Name}" };

    /// <summary>Refuses what cannot be a name, of a session or of what belongs to it.</summary>
    internal static void RequireName(string name, string field = "name")
    {
        // Names are written into files, logs and metrics: what is a secret must not become one.
        if (KeyText.Mask(name) != name) throw Invalid($"{field} must not be an API key");
        if (SessionName.IsMatch(name)) return;
        throw Invalid($"{field} must be 1 to 128 letters, digits, '.', '_' or '-', the first a letter or digit, got " +
            $"'{Excerpt.Of(name, 128)}'");
    }

    /// <summary>Get a session</summary>
    /// <remarks>The session's options, version, counters and timestamps.</remarks>
    internal static async Task<IResult> Get([AsParameters] SessionCall call) => AnswerWith((await call.GetAsync()).Current);

    /// <summary>Change a session's options</summary>
    /// <remarks>
    /// Changes momentum, eps, mode, renorm limits or labels; what is absent stays. Nothing that changes shapes can be changed.
    /// </remarks>
    internal static async Task<IResult> Patch([AsParameters] SessionCall call, Body<PatchSessionRequest> body, Precondition ifMatch)
    {
        var found = await call.GetAsync();
        var request = await body.ReadAsync();
        var labels = CheckedLabels(request.Labels);
        return AnswerWith(await call.ChangeAsync(found, ifMatch, record =>
        {
            var layer = record.Layer.WithOptions(request.ApplyTo(record.Layer.Options));
            if (labels is not null && !SameLabels(labels, record.Labels))
                return record with { Layer = layer with { Version = record.Layer.Version + 1 }, Labels = labels };
            return ReferenceEquals(layer, record.Layer) ? record : record with { Layer = layer };
        }));
    }

    /// <summary>Delete a session</summary>
    /// <remarks>Deletes the session, its state and the steps it retains.</remarks>
    internal static async Task<IResult> Delete([AsParameters] SessionCall call, Precondition ifMatch)
    {
        await call.Catalog.DeleteAsync(await call.GetToReplaceAsync(), ifMatch.Check, call.Ended);
        return TypedResults.NoContent();
    }

    /// <summary>Reset running statistics</summary>
    /// <remarks>Takes the running statistics and counters back to their start; gamma and beta stay unless `parameters` is true.</remarks>
    internal static async Task<IResult> Reset([AsParameters] SessionCall call, Body<ResetRequest> body, Precondition ifMatch)
    {
        var found = await call.GetAsync();
        var withParameters = (await body.ReadAsync(isOptional: true)).Parameters;
        return AnswerWith(await call.ChangeAsync(found, ifMatch, record => record with { Layer = record.Layer.Reset(withParameters) }));
    }

    private static Answer<SessionResource> AnswerWith(SessionRecord session) => new(Resource(session.Summary), session.Layer.Version);

    /// <summary>A session as the contract has it.</summary>
    /// <param name="health">How it is, where that was asked for.</param>
    /// <param name="drift">Its last divergences, where they were asked for.</param>
    internal static SessionResource Resource(SessionSummary session, HealthReport? health = null, IReadOnlyList<double>? drift = null)
    {
        var options = session.Options;
        return new SessionResource
        {
            Id = session.Id,
            Name = session.Name,
            Kind = options.Kind,
            NumFeatures = options.NumFeatures,
            NormalizedShape = options.NormalizedShape,
            NumGroups = options.NumGroups,
            Eps = options.Eps,
            Momentum = options.Momentum,
            Affine = options.Affine,
            Bias = options.Bias,
            Scale = !options.OmitsGamma,
            GammaOffset = options.GammaOffset,
            TrackRunningStats = options.TrackRunningStats,
            UnbiasedRunningVar = options.UnbiasedRunningVar,
            ZeroDebias = options.ZeroDebias,
            ChannelAxis = options.AxisOf(),
            Granularity = options.Granularity,
            Mode = options.Mode,
            Activation = options.Activation,
            GammaInit = options.GammaInit,
            BetaInit = options.BetaInit,
            GhostBatchSize = options.GhostBatchSize,
            Renorm = options.Renorm?.ToContract(),
            NonFinite = options.NonFinite,
            Precision = options.Precision,
            RequireStatistics = options.RequireStatistics,
            Labels = session.Labels,
            Convention = session.Convention?.ToReport(),
            NumBatchesTracked = session.BatchesTracked,
            Version = session.Version,
            CreatedAt = session.CreatedAt,
            UpdatedAt = session.UpdatedAt,
            Health = health,
            Drift = drift,
        };
    }

    private static Dictionary<string, string>? CheckedLabels(Dictionary<string, string>? labels)
    {
        if (labels is null) return null;
        if (labels.Count > MaxLabels) throw Invalid($"labels has at most {MaxLabels} entries, got {labels.Count}");
        foreach (var (key, value) in labels)
        {
            if (key.Length is 0 or > MaxLabelKey) throw Invalid($"a key of labels has 1 to {MaxLabelKey} characters, got {key.Length}");
            if (value is null || value.Length > MaxLabelValue)
                throw Invalid($"labels.{key} must be a string of at most {MaxLabelValue} characters, got " +
                    $"{(value is null ? "null" : value.Length)}");
        }
        return labels;
    }

    private static bool SameLabels(Dictionary<string, string> a, IReadOnlyDictionary<string, string> b) =>
        a.Count == b.Count && a.All(label => b.GetValueOrDefault(label.Key) == label.Value);

    private static ProblemException Invalid(string detail) => new(ProblemCode.InvalidOption, detail);

    [GeneratedRegex(@"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\z")]
    private static partial Regex SessionName { get; }
}
