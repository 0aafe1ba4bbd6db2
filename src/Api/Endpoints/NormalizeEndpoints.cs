using BnService.Api.Contracts;
using BnService.Api.Hosting.Auth;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Errors;
using BnService.Api.Sessions;
using BnService.Api.Wire;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Endpoints;

/// <summary>Normalization without a session.</summary>
internal static class NormalizeEndpoints
{
    public static void MapNormalize(this IEndpointRouteBuilder routes) =>
        routes.MapPost("/normalize", Normalize).WithName("Normalize").WithTags("Layer").Needs(Role.Reader)
            .Reads<NormalizeRequest>(MediaTypes.Tensors).Answers<NormalizeResponse>(forms: MediaTypes.Tensors)
            .Fails(ProblemCode.ShapeMismatch, ProblemCode.BatchTooSmall, ProblemCode.NonFiniteInput, ProblemCode.InvalidOption)
            .Fails(ProblemCode.LimitReached);

    private static NormalizeResponse Response(OneShotResult result, LayerState layer, AppliedConvention? convention, Finding? rounding)
    {
        var moments = result.Statistics.Moments;
        var variance = moments.Variance(unbiased: false);
        return new NormalizeResponse
        {
            Y = result.Y,
            Mean = layer.Options.Kind.HasMean ? moments.Mean : null,
            Var = variance,
            InvStd = Array.ConvertAll(variance, value => value + layer.Options.Eps is var sum && sum == 0 ? 0 : 1 / Math.Sqrt(sum)),
            Count = moments.Count,
            Dx = result.Backward?.Dx,
            Dresidual = result.Backward?.Dresidual,
            Dgamma = layer.Gamma is null ? null : result.Backward?.Gradients.DGamma,
            Dbeta = layer.Beta is null ? null : result.Backward?.Gradients.DBeta,
            Convention = convention?.ToReport(),
            ParameterShape = layer.Options.ParameterShape(result.Y.Shape),
            Warnings = DiagnosticsEndpoints.Warnings(rounding),
        };
    }

    /// <summary>Normalize once</summary>
    /// <remarks>
    /// Any kind of layer, one shot, no session: y with the tensor's own statistics, and with `backward` the gradients as well.
    /// </remarks>
    internal static async Task<IResult> Normalize(Body<NormalizeRequest> body, OneShot oneShot, CancellationToken cancellationToken)
    {
        await body.OpenAsync();
        var precision = body.AsksForFloat64 ? Precision.Float64 : Precision.Float32;
        var digits = body.MayBeRounded && precision == Precision.Float32 ? DigitsOf(body) : null;
        var request = await body.ReadAsync(digits, precision, keepsText: digits is not null);
        var (options, convention) = Options(request, request.X.Shape);
        if (request.X.Precision != options.Precision)
        {
            digits = options.Precision == Precision.Float32 ? new SentDigits(SentDigits.LayoutOf(options, usesBatch: true)) : null;
            TensorRounding.Bring(request, ContractJson.Context.NormalizeRequest, options.Precision, arrivals: digits);
        }
        var layer = LayerState.Create(options);
        var result = await oneShot.RunAsync(layer, sized => WithParameters(request, sized),
            new BatchInput(request.X, request.Residual, request.Mask), request.Backward?.Dy, cancellationToken);
        var rounding = digits?.FindingFrom(layer, result.Statistics);
        return new Answer<NormalizeResponse>(Response(result, layer, convention, rounding)) { Rounding = rounding };
    }

    // How the tensor lies is said by the body itself: by what is there of it before its tensors, or by its text.
    private static SentDigits DigitsOf(Body<NormalizeRequest> body)
    {
        NormalizerOptions? options = null;
        return body.Digits(shape => SentDigits.LayoutOf(options ?? Announced(shape), usesBatch: true)(shape), request =>
        {
            options = Options(request, request.X.Shape).Options;
            return request.X;
        });

        NormalizerOptions Announced(Shape shape)
        {
            var announced = body.Message!.Announced();
            using var owned = ReferenceEquals(announced, body.Message.Begun) ? null : announced;
            return Options(announced, shape).Options;
        }
    }

    private static (NormalizerOptions Options, AppliedConvention? Convention) Options(NormalizeRequest request, Shape shape)
    {
        var sent = request.Momentum is not null ? "momentum"
            : request.TrackRunningStats is not null ? "track_running_stats"
            : request.UnbiasedRunningVar is not null ? "unbiased_running_var"
            : request.ZeroDebias is not null ? "zero_debias"
            : request.Mode is not null ? "mode"
            : request.RequireStatistics is not null ? "require_statistics" : null;
        if (sent is not null) throw Invalid($"{sent} is not an option of this call, which keeps no statistics");
        if (request.Kind != NormalizerKind.BatchRenorm && (request.RunningMean ?? request.RunningVar) is not null)
            throw Invalid("running_mean and running_var belong to batch_renorm: the other kinds normalize with the statistics of x");
        if (request.Kind != NormalizerKind.BatchRenorm && request.NumBatchesTracked is not null)
            throw Invalid("num_batches_tracked belongs to batch_renorm");
        // Nothing is moved, so that only eps, the axis and the parameters are a matter of convention. Parameters that were sent are there.
        var convention = request.MeantIn(request.Convention) is { } meant
            ? meant with { CanTrack = false, Affine = meant.Affine ?? ((request.Gamma ?? request.Beta) is null ? null : true) }
            : null;
        var axis = request.ChannelAxis ?? convention?.AxisOfChannels() ?? 1;
        var hasChannels = !request.Kind.IsOverRows || (request.NormalizedShape is null && request.ChannelAxis is not null);
        if (hasChannels && request.NumFeatures is null) request.NumFeatures = Channels(shape, axis);
        // Nothing is poisoned where nothing is kept.
        request.NonFinite ??= NonFinitePolicy.Propagate;
        return (request.ToOptions(convention), convention);
    }

    private static int Channels(Shape shape, int axis)
    {
        Layout.RequireRank(shape);
        if (axis is not (1 or -1)) throw Invalid($"channel_axis must be 1, or -1 for channels last, got {axis}");
        return Math.Max(shape[axis], 1);
    }

    private static LayerState WithParameters(NormalizeRequest request, LayerState layer)
    {
        var state = layer.WithParameters(request.Gamma, request.Beta);
        return layer.Running is null ? state
            : state.WithRunningStatistics(request.RunningMean, request.RunningVar, request.NumBatchesTracked);
    }

    private static ProblemException Invalid(string detail) => new(ProblemCode.InvalidOption, detail);
}
