using System.Globalization;
using BnService.Api.Errors;
using BnService.Api.Sessions;
using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Endpoints;

/// <summary>The model that a path of the Open Inference Protocol names: a session's live state, or one of its snapshots.</summary>
/// <param name="Layer">The state.</param>
/// <param name="Version">The snapshot's version as the protocol writes it; <see cref="Live"/> for the live state.</param>
internal sealed record Model(LayerSession Session, LayerState Layer, string Version)
{
    /// <summary>What the protocol calls whatever computes a model.</summary>
    public const string Platform = "bnservice";

    /// <summary>Version of the live state: none.</summary>
    public const string Live = "";

    /// <summary>A version as the protocol writes it.</summary>
    public static string VersionText(long version) => version.ToString(CultureInfo.InvariantCulture);

    public string Name => Session.Current.Name;

    /// <summary>Dimensions of a row: of a sample, for kinds over rows, and otherwise of its channels without positions.</summary>
    public IReadOnlyList<int> Row => Layer.Options is var options && options.NormalizedShape is { } row ? row : [options.NumFeatures];

    public Precision Precision => Layer.Options.Precision;

    /// <summary>Binds a handler's parameter: the only place where a model's name and version are resolved.</summary>
    /// <exception cref="ProblemException">There is no such model, or no such version of it.</exception>
    public static async ValueTask<Model?> BindAsync(HttpContext context)
    {
        var (name, version) = ((string)context.GetRouteValue("session")!, context.GetRouteValue("version") as string);
        var least = (await MinVersion.BindAsync(context))!.Value;
        var (services, scope) = (context.RequestServices, (await SessionScope.BindAsync(context))!);
        var session = await services.GetRequiredService<SessionCatalog>().FindRecentAsync(scope, name, least, context.RequestAborted)
            ?? throw new ProblemException(ProblemCode.SessionNotFound, $"there is no model '{Excerpt.Of(name, 128)}'");
        if (version is null) return new Model(session, session.Current.Layer, Live);
        // A version that is no number names nothing, as one that was never frozen.
        if (!long.TryParse(version, NumberStyles.None, CultureInfo.InvariantCulture, out var number))
            throw new ProblemException(ProblemCode.VersionNotFound,
                $"model '{session.Current.Name}' has no version '{Excerpt.Of(version, 128)}'");
        var layer = await services.GetRequiredService<Snapshots>().LayerAsync(session, number, context.RequestAborted);
        return new Model(session, layer, VersionText(number));
    }
}
