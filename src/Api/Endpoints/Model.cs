using BnService.Api.Hosting.Problems;
using BnService.Api.Sessions;

namespace BnService.Api.Endpoints;

/// <summary>The model that a path of the Open Inference Protocol names: a session's live state.</summary>
/// <param name="Session">The session.</param>
internal sealed record Model(LayerSession Session)
{
    /// <summary>What the protocol calls whatever computes a model.</summary>
    public const string Platform = "bnservice";

    /// <summary>Version of the live state: none.</summary>
    public const string Live = "";

    /// <summary>Name of the model.</summary>
    public string Name => Session.Current.Name;

    /// <summary>Dimensions of a row: of a sample, for kinds over rows, and otherwise of its channels without positions.</summary>
    public IReadOnlyList<int> Row => Session.Current.Layer.Options is var options && options.NormalizedShape is { } row ? row : [options.NumFeatures];

    /// <summary>Binds a handler's parameter: the only place where a model's name and version are resolved.</summary>
    /// <exception cref="ProblemException">There is no such model, or no such version of it.</exception>
    public static async ValueTask<Model?> BindAsync(HttpContext context)
    {
        var (name, version) = ((string)context.GetRouteValue("session")!, context.GetRouteValue("version") as string);
        var session = await context.RequestServices.GetRequiredService<SessionCatalog>().FindAsync(name, context.RequestAborted)
            ?? throw new ProblemException(ProblemCode.SessionNotFound, $"there is no model '{Excerpt.Of(name, 128)}'");
        if (version is null) return new Model(session);
        throw new ProblemException(ProblemCode.NotFound,
            $"model '{session.Current.Name}' has no version '{Excerpt.Of(version, 128)}'; it has no versions but its live state, whose paths name none");
    }
}
