using BnService.Api.Contracts;
using BnService.Api.Hosting.Memory;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Sessions;
using BnService.Api.Wire;
using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Endpoints;

/// <summary>
/// The output of a large batch, sent while the batch arrives: it takes memory that does not grow with the batch. What is wrong with the
/// batch's bytes once the answer has begun can only be answered by ending the connection.
/// </summary>
/// <param name="bytes">Where the batch comes from.</param>
/// <param name="output">What computes the output; taken over.</param>
/// <param name="sampling">Looks at the first of the batch, or null; taken over.</param>
internal sealed class StreamedOutput(RequestBytes bytes, IncomingTensor input, LayerOutput output, ArrivingSample? sampling)
{
    /// <summary>
    /// Tensors of fewer bytes are read as a whole, and of others so much is there before the answer begins: a sender that falls silent or
    /// ends too early has mostly done so by then, and can still be told.
    /// </summary>
    public const int FewestBytes = 32 << 10;

    /// <summary>The batch of a message that can be answered this way; null if it cannot.</summary>
    public static IncomingTensor? InputOf(IncomingMessage<InferenceRequest>? message, string answerForm) =>
        answerForm != MediaTypes.Json && message is
        {
            Bytes.Length: >= FewestBytes,
            Parts: [IncomingTensor { Path: "x", IsColumnMajor: false, Shape.Count: > 0 } x],
            Begun: { Residual: null, X: null },
        } && !MayBeBeyond(x) ? x : null;

    /// <summary>Whether elements may be more than float32 holds, which could not be said once the answer has begun.</summary>
    public static bool MayBeBeyond(IncomingTensor x) => x.Type.IsWiderThanSingle();

    /// <summary>The answer to an inference that begins before the batch is there.</summary>
    public Answer<InferenceResponse> ToAnswer(long version) =>
        new(new InferenceResponse { Y = new ExpectedOutput(input.Shape), Version = version }, version) { Arriving = this };

    /// <summary>Sends it.</summary>
    /// <param name="context">The request, whose answer has its headers.</param>
    /// <param name="written">Called when all but the last bytes may have left, or null.</param>
    public async Task SendAsync(HttpContext context, byte[] head, ElementType type, Action? written)
    {
        using var span = Spans.Of(Spans.Write);
        using var computing = output;
        using var sampled = sampling;
        var cancellation = context.RequestAborted;
        var memory = RequestMemory.Of(context);
        // A client that sends everything before it reads leaves all of the answer here: once it has begun it cannot be refused any more.
        var answer = (long)input.Shape.Count * type.Size();
        var needed = MemoryNeed.OfStream(output, answer);
        if (memory is not null && answer > MemoryAdmission.SmallBytes) await memory.ReserveAsync(needed);
        else MemoryAccount.Expect(needed);
        await bytes.WaitForAsync(FewestBytes);
        await context.Response.StartAsync(cancellation);
        using var writer = new OverflowingWriter(context.Response.BodyWriter);
        using var stream = new OutputStream(input, output, writer, type, sampling?.Memory)
        {
            LeftToWrite = left => memory?.Settle(OverflowingWriter.MostBytes(left)),
        };
        try
        {
            writer.Write(head);
            await bytes.ReadAsync(input.Bytes, stream, input.Path);
            sampling?.Finish();
            written?.Invoke();
            await writer.CompleteAsync(cancellation);
        }
        catch (Exception exception)
            when (exception is Errors.ProblemException or BadHttpRequestException or IOException or MemoryBudgetException)
        {
            context.Abort();
        }
    }

    // Has a shape, and elements nowhere.
    private sealed class ExpectedOutput(Shape shape) : TensorSource
    {
        public override Shape Shape => shape;

        public override void CopyTo(int start, Span<float> values) =>
            throw new NotSupportedException("elements are written as they are computed");

        protected override void Dispose(bool disposing)
        {
        }
    }
}
