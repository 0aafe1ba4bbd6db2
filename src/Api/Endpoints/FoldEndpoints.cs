using BnService.Api.Contracts;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Errors;
using BnService.Api.Sessions;
using BnService.Api.Wire;
using BnService.Core.Normalizers;

namespace BnService.Api.Endpoints;

/// <summary>Folding a session's normalization into the layer before or after it.</summary>
internal static class FoldEndpoints
{
    public static void MapFold(this IEndpointRouteBuilder routes) =>
        routes.MapPost("/sessions/{session}/fold", Fold).WithName("Fold").WithTags("Layer").Needs(Role.Reader).FindsVersion()
            .Reads<FoldRequest>(MediaTypes.Named).Answers<FoldResponse>(forms: MediaTypes.Named)
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.InvalidOption, ProblemCode.NonFiniteInput, ProblemCode.NoRunningStatistics)
            .Fails(ProblemCode.LimitReached);

    /// <summary>Fold into a layer</summary>
    /// <remarks>
    /// Weight and bias of one layer that does the work of two: of a linear layer or a convolution, and of the normalization by running
    /// statistics `after` it (the default) or `before` it. Changes nothing. Not for padded convolutions after the normalization, whose
    /// padding is not normalized.
    /// </remarks>
    internal static async Task<IResult> Fold([AsParameters] SessionCall call, Body<FoldRequest> body, Snapshots snapshots)
    {
        var found = await call.GetAsync();
        await body.OpenAsync();
        var request = await body.ReadAsync(null, found.Current.Layer.Options.Precision);
        if (request.Version < 1)
            throw new ProblemException(ProblemCode.InvalidOption, $"version must be a whole number of 1 or more, got {request.Version}");
        var layer = await snapshots.LayerAsync(found, request.Version, call.Ended);
        var folded = FoldedSession.Of(layer, ToFold(request));
        return new Answer<FoldResponse>(new FoldResponse
        {
            Weight = folded.Weight,
            Bias = folded.Bias,
            MaxRelativeDifference = folded.MaxRelativeDifference,
            Activation = layer.Options.Activation,
            Version = layer.Version,
        }, layer.Version);
    }

    private static LayerToFold ToFold(FoldRequest request) => new(
        request.Layer, request.Weight, request.Bias, request.Groups, request.Position, request.Padding?.Values, request.Layout);
}
