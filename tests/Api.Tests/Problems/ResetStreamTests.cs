using System.Buffers;
using System.IO.Pipelines;
using BnService.Api.Errors;
using BnService.Api.Wire;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;

namespace BnService.Api.Tests.Problems;

public sealed class ResetStreamTests
{
    /// <summary>As it was, a stream that was reset between two pieces of its body was logged as a failure of the service.</summary>
    [Fact]
    public async Task A_stream_that_is_reset_while_its_body_is_taken_is_a_client_that_has_gone()
    {
        var context = new DefaultHttpContext();
        context.Features.Set<IRequestBodyPipeFeature>(new ResetBody());
        using var body = new BodyBuffer(4);
        await Assert.ThrowsAsync<ClientGoneException>(() => new RequestBytes(context.Request, 100).ReadAsync(4, body, "the body").AsTask());
    }

    // As the server's reader of a body is when its client has reset the stream, and the request has not been told.
    private sealed class ResetBody : PipeReader, IRequestBodyPipeFeature
    {
        public PipeReader Reader => this;

        public override void AdvanceTo(SequencePosition consumed) => throw new IOException("The client reset the request stream.");

        public override void AdvanceTo(SequencePosition consumed, SequencePosition examined) => AdvanceTo(consumed);

        public override bool TryRead(out ReadResult result)
        {
            result = new ReadResult(new ReadOnlySequence<byte>(new byte[4]), isCanceled: false, isCompleted: false);
            return true;
        }

        public override ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default) => new(TryRead(out var result) ? result : default);

        public override void CancelPendingRead()
        {
        }

        public override void Complete(Exception? exception = null)
        {
        }
    }
}
