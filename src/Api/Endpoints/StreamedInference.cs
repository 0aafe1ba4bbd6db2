using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Sessions;
using BnService.Api.Wire;
using BnService.Api.Wire.Npy;
using BnService.Api.Wire.Safetensors;
using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Endpoints;

/// <summary>
/// The answer to an inference whose batch is large: it begins before the batch is there, and takes memory that does not grow with it.
/// What is wrong with the batch's bytes once the answer has begun can only be answered by ending the connection.
/// </summary>
/// <param name="bytes">Where the batch comes from.</param>
/// <param name="input">The batch.</param>
/// <param name="output">What computes the output; taken over.</param>
/// <param name="version">Version of the state that does.</param>
/// <param name="sampling">Looks at the first of the batch, or null.</param>
internal sealed class StreamedInference(RequestBytes bytes, IncomingTensor input, LayerOutput output, long version, ArrivingSample? sampling) : IResult
{
    /// <summary>Bodies of fewer bytes are read as a whole: they are in the caches anyway, and what is wrong with them can be answered.</summary>
    public const int FewestBytes = 128 << 10;

    private static readonly JsonTypeInfo<InferenceResponse> Contract = ContractJson.Context.InferenceResponse;

    /// <summary>The batch of a message that can be answered this way; null where it cannot.</summary>
    /// <param name="message">The message.</param>
    /// <param name="answerForm">The form of its answer.</param>
    public static IncomingTensor? InputOf(IncomingMessage<InferenceRequest> message, string answerForm)
    {
        if (message is not { Bytes.Length: >= FewestBytes, Parts: [IncomingTensor { Path: "x", IsColumnMajor: false, Shape.Count: > 0 } x] }
            || answerForm == MediaTypes.Json)
        {
            return null;
        }
        using var options = message.Options(out _);
        return options is { Residual: null, X: null } ? x : null;
    }

    /// <inheritdoc/>
    public async Task ExecuteAsync(HttpContext httpContext)
    {
        using var computing = output;
        using var sampled = sampling;
        var (response, form, cancellation) = (httpContext.Response, Negotiation.Of(httpContext).Answer, httpContext.RequestAborted);
        using var answer = new InferenceResponse { Y = new ExpectedOutput(input.Shape), Version = version };
        response.ContentType = form;
        response.Headers.ETag = Precondition.Tag(version);
        var header = form == MediaTypes.Npy ? NpyWriter.Begin(response, answer, Contract) : SafetensorsWriter.Begin(response, answer, Contract);
        await response.StartAsync(cancellation);
        using var writer = new OverflowingWriter(response.BodyWriter);
        using var stream = new OutputStream(input, output, writer, sampling?.Memory);
        try
        {
            header.CopyTo(writer.GetSpan(header.Length));
            writer.Advance(header.Length);
            await bytes.ReadAsync(input.Bytes, stream, input.Path);
            await writer.CompleteAsync(cancellation);
            sampling?.Finish();
        }
        catch (Exception exception) when (exception is Hosting.Problems.ProblemException or BadHttpRequestException or IOException)
        {
            httpContext.Abort();
        }
    }

    // Has a shape, and elements nowhere.
    private sealed class ExpectedOutput(Shape shape) : TensorSource
    {
        public override Shape Shape => shape;

        public override void CopyTo(int start, Span<float> values) => throw new NotSupportedException("elements are written as they are computed");

        protected override void Dispose(bool disposing)
        {
        }
    }
}
