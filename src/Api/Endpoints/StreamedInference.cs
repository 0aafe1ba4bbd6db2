using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Wire;
using BnService.Api.Wire.Npy;
using BnService.Api.Wire.Safetensors;
using BnService.Core.Tensors;

namespace BnService.Api.Endpoints;

/// <summary>The answer to an inference that begins before the batch is there.</summary>
/// <param name="output">The output.</param>
/// <param name="shape">Its shape.</param>
/// <param name="version">Version of the state that makes it.</param>
internal sealed class StreamedInference(StreamedOutput output, Shape shape, long version) : IResult
{
    private static readonly JsonTypeInfo<InferenceResponse> Contract = ContractJson.Context.InferenceResponse;

    /// <summary>The batch of a message that can be answered this way; null where it cannot.</summary>
    /// <param name="message">The message.</param>
    /// <param name="answerForm">The form of its answer.</param>
    public static IncomingTensor? InputOf(IncomingMessage<InferenceRequest>? message, string answerForm) =>
        answerForm != MediaTypes.Json && message is
        {
            Bytes.Length: >= StreamedOutput.FewestBytes,
            Parts: [IncomingTensor { Path: "x", IsColumnMajor: false, Shape.Count: > 0 } x],
            Begun: { Residual: null, X: null },
        } && !MayBeBeyond(x) ? x : null;

    /// <summary>Whether elements may be more than float32 holds, which could not be said once the answer has begun.</summary>
    public static bool MayBeBeyond(IncomingTensor x) => x.Type.IsWiderThanSingle();

    /// <inheritdoc/>
    public Task ExecuteAsync(HttpContext httpContext)
    {
        var (response, form) = (httpContext.Response, Negotiation.Of(httpContext).Answer);
        using var answer = new InferenceResponse { Y = new ExpectedOutput(shape), Version = version };
        response.ContentType = form;
        response.Headers.ETag = Precondition.Tag(version);
        var head = form == MediaTypes.Npy ? NpyWriter.Begin(response, answer, Contract) : SafetensorsWriter.Begin(response, answer, Contract);
        return output.SendAsync(httpContext, head, ElementType.F32, null);
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
