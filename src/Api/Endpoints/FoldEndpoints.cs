using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Sessions;
using BnService.Api.Wire;
using BnService.Core.Normalizers;

namespace BnService.Api.Endpoints;

/// <summary>Folding a session's normalization into the layer before or after it.</summary>
internal static class FoldEndpoints
{
    /// <summary>Maps the call.</summary>
    public static void MapFold(this IEndpointRouteBuilder routes) =>
        routes.MapPost("/sessions/{session}/fold", Fold).Needs(Role.Reader).WithTags("Layer").Reads<FoldRequest>(MediaTypes.Named).Answers<FoldResponse>(forms: MediaTypes.Named).FindsVersion()
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.InvalidOption, ProblemCode.NonFiniteInput, ProblemCode.NoRunningStatistics, ProblemCode.LimitReached)
            .Describe("Fold", "Fold into a layer", "Weight and bias of one layer that does the work of two: of a linear layer or a convolution, and of the normalization by running statistics `after` it (the default) or `before` it. Changes nothing. Not for padded convolutions after the normalization, whose padding is not normalized.");

    private static async Task<IResult> Fold(
        string session, Incoming<FoldRequest> body, SessionScope scope, SessionCatalog catalog, Snapshots snapshots, CancellationToken cancellationToken)
    {
        var found = await catalog.GetAsync(scope, session, cancellationToken);
        var request = await body.ReadAsync(null, found.Current.Layer.Options.Precision);
        if (request.Version < 1) throw new ProblemException(ProblemCode.InvalidOption, $"version must be a whole number of 1 or more, got {request.Version}");
        var layer = await snapshots.LayerAsync(found, request.Version, cancellationToken);
        var toFold = new LayerToFold(request.Layer, request.Weight, request.Bias, request.Groups, request.Position, request.Padding?.Values, request.Layout);
        var folded = FoldedSession.Of(layer, toFold);
        return new Answer<FoldResponse>(new FoldResponse
        {
            Weight = folded.Weight,
            Bias = folded.Bias,
            MaxRelativeDifference = folded.MaxRelativeDifference,
            Activation = layer.Options.Activation,
            Version = layer.Version,
        }, layer.Version);
    }
}
