using System.Text.RegularExpressions;
using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Sessions;

namespace BnService.Api.Endpoints;

/// <summary>Creating, finding, changing and deleting sessions.</summary>
internal static partial class SessionEndpoints
{
    private const int MaxLabels = 64, MaxLabelKey = 64, MaxLabelValue = 256;

    private const int MostAttempts = 5;

    private static readonly TimeSpan WaitForOther = TimeSpan.FromMilliseconds(20);

    /// <summary>Maps the calls.</summary>
    public static void MapSessions(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/sessions").WithTags("Sessions");
        group.MapPost("", Create).Needs(Role.Trainer).Reads<CreateSessionRequest>().Answers<SessionResource>(201)
            .Fails(ProblemCode.InvalidOption, ProblemCode.SessionExists, ProblemCode.LimitReached)
            .Describe("CreateSession", "Create a session", "Creates a normalization layer. Only `num_features` (`normalized_shape` for layer_norm and rms_norm, and `num_groups` for group_norm) has no default; the other defaults are PyTorch's, or those of the framework that `convention` names. Options that do not belong to the kind are refused.");
        group.MapSessionList();
        group.MapPut("/{session}", Put).Needs(Role.Trainer).Reads<CreateSessionRequest>().Answers<SessionResource>().Answers<SessionResource>(201).FindsSession().ChangesState()
            .Fails(ProblemCode.InvalidOption, ProblemCode.SessionExists, ProblemCode.LimitReached)
            .Describe("PutSession", "Create a session, or get the one that is there", "For workers that start together: creates the session of this name, or answers the one that is there where it has the same options (as they are in this service's terms, with all defaults; labels are not compared and stay). Other options are 409, which says each of them; nothing has changed then. `If-None-Match: *` asks for a new one.");
        group.MapGet("/{session}", Get).Needs(Role.Reader).Answers<SessionResource>().FindsSession()
            .Describe("GetSession", "Get a session", "The session's options, version, counters and timestamps.");
        group.MapPatch("/{session}", Patch).Needs(Role.Trainer).Reads<PatchSessionRequest>().Answers<SessionResource>().FindsSession().ChangesState()
            .Fails(ProblemCode.InvalidOption, ProblemCode.LimitReached)
            .Describe("PatchSession", "Change a session's options", "Changes momentum, eps, mode, renorm limits or labels; what is absent stays. Nothing that changes shapes can be changed.");
        group.MapDelete("/{session}", Delete).Needs(Role.Trainer).Answers(204).FindsSession().ChangesState()
            .Describe("DeleteSession", "Delete a session", "Deletes the session, its state and the steps it retains.");
        group.MapPost("/{session}/reset", Reset).Needs(Role.Trainer).Reads<ResetRequest>(isOptional: true).Answers<SessionResource>().FindsSession().ChangesState()
            .Fails(ProblemCode.InvalidOption)
            .Describe("ResetSession", "Reset running statistics", "Takes the running statistics and counters back to their start; gamma and beta stay unless `parameters` is true.");
    }

    private static async Task<IResult> Create(Body<CreateSessionRequest> body, SessionScope scope, SessionCatalog catalog, CancellationToken cancellationToken)
    {
        var request = body.Value;
        if (request.Name is not null) RequireName(request.Name);
        var convention = request.MeantIn(request.Convention);
        var session = await catalog.CreateAsync(
            scope, request.Name, CheckedLabels(request.Labels) ?? [], request.ToOptions(convention), convention, null, cancellationToken);
        return Created(session);
    }

    private static async Task<IResult> Put(
        string session, Body<CreateSessionRequest> body, Precondition ifMatch, SessionScope scope, SessionCatalog catalog, HttpContext context,
        CancellationToken cancellationToken)
    {
        var request = body.Value;
        var convention = request.MeantIn(request.Convention);
        var (options, labels) = (request.ToOptions(convention), CheckedLabels(request.Labels) ?? []);
        for (var attempt = 1; ; attempt++)
        {
            if (await catalog.FindAsync(scope, session, cancellationToken) is { Current: var there })
            {
                RequireSameName(request.Name, session, there.Name);
                ifMatch.Check(there.Layer.Version);
                if (context.Request.Headers.IfNoneMatch.ToString().Trim() == "*")
                    throw new ProblemException(ProblemCode.VersionConflict, $"If-None-Match asks for a new session, but '{there.Name}' is there");
                var sent = Resource(there.Summary with { Options = options });
                return OptionDifferences.Between(Resource(there.Summary), sent) is not { } differences ? AnswerWith(there)
                    : throw new ProblemException(ProblemCode.SessionExists, $"session '{there.Name}' is there with other options: {differences}");
            }
            // Another's name is not there to be created.
            if (!scope.Contains(session)) throw SessionCatalog.NotFound(session);
            ifMatch.CheckAbsent(session);
            RequireName(session);
            RequireSameName(request.Name, session, session);
            try
            {
                var created = await catalog.CreateAsync(scope, session, labels, options, convention, null, cancellationToken);
                return Created(created);
            }
            catch (ProblemException problem)
                when ((problem.Code == ProblemCode.SessionExists || problem.Code == ProblemCode.LimitReached) && attempt < MostAttempts)
            {
                // Somebody else has taken the name meanwhile, or is about to, and with it the last place.
                if (problem.Code == ProblemCode.LimitReached) await Task.Delay(attempt * WaitForOther, cancellationToken);
            }
        }
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
        throw Invalid($"{field} must be 1 to 128 letters, digits, '.', '_' or '-', the first a letter or digit, got '{Excerpt.Of(name, 128)}'");
    }

    private static async Task<IResult> Get(string session, SessionScope scope, SessionCatalog catalog, CancellationToken cancellationToken) =>
        AnswerWith((await catalog.GetAsync(scope, session, cancellationToken)).Current);

    private static async Task<IResult> Patch(
        string session, Body<PatchSessionRequest> body, Precondition ifMatch, SessionScope scope, SessionCatalog catalog, CancellationToken cancellationToken)
    {
        var labels = CheckedLabels(body.Value.Labels);
        var found = await catalog.GetAsync(scope, session, cancellationToken);
        return AnswerWith(await catalog.ChangeAsync(found, record =>
        {
            ifMatch.Check(record.Layer.Version);
            var layer = record.Layer.WithOptions(body.Value.ApplyTo(record.Layer.Options));
            if (labels is null || SameLabels(labels, record.Labels)) return ReferenceEquals(layer, record.Layer) ? record : record with { Layer = layer };
            return record with { Layer = record.Layer.WithOptions(layer.Options) with { Version = record.Layer.Version + 1 }, Labels = labels };
        }, cancellationToken));
    }

    private static async Task<IResult> Delete(string session, Precondition ifMatch, SessionScope scope, SessionCatalog catalog, CancellationToken cancellationToken)
    {
        var found = await catalog.FindToReplaceAsync(scope, session, cancellationToken) ?? throw SessionCatalog.NotFound(session);
        await catalog.DeleteAsync(found, ifMatch.Check, cancellationToken);
        return TypedResults.NoContent();
    }

    private static async Task<IResult> Reset(
        string session, [OptionalBody] Body<ResetRequest> body, Precondition ifMatch, SessionScope scope, SessionCatalog catalog, CancellationToken cancellationToken)
    {
        var found = await catalog.GetAsync(scope, session, cancellationToken);
        return AnswerWith(await catalog.ChangeAsync(found, record =>
        {
            ifMatch.Check(record.Layer.Version);
            return record with { Layer = record.Layer.Reset(body.Value.Parameters) };
        }, cancellationToken));
    }

    private static Answer<SessionResource> AnswerWith(SessionRecord session) => new(Resource(session.Summary), session.Layer.Version);

    /// <summary>A session in the contract's terms.</summary>
    /// <param name="session">The session.</param>
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
                throw Invalid($"labels.{key} must be a string of at most {MaxLabelValue} characters, got {(value is null ? "null" : value.Length)}");
        }
        return labels;
    }

    private static bool SameLabels(Dictionary<string, string> a, IReadOnlyDictionary<string, string> b) =>
        a.Count == b.Count && a.All(label => b.GetValueOrDefault(label.Key) == label.Value);

    private static ProblemException Invalid(string detail) => new(ProblemCode.InvalidOption, detail);

    [GeneratedRegex(@"\A[A-Za-z0-9][A-Za-z0-9._-]{0,127}\z")]
    private static partial Regex SessionName { get; }
}
