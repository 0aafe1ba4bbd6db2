using System.Net;

namespace BnService.Harness;

/// <summary>A body of which the end comes when a test says so.</summary>
/// <param name="body">The body.</param>
/// <param name="beginning">Bytes that come at once.</param>
/// <param name="rest">Ends when the rest may come.</param>
public sealed class HeldContent(byte[] body, int beginning, Task rest) : HttpContent
{
    /// <summary>Ends when the beginning has been taken.</summary>
    public TaskCompletionSource HasBegun { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
    {
        await stream.WriteAsync(body.AsMemory(0, beginning));
        await stream.FlushAsync();
        HasBegun.TrySetResult();
        await rest;
        await stream.WriteAsync(body.AsMemory(beginning));
    }

    protected override bool TryComputeLength(out long length)
    {
        length = body.Length;
        return true;
    }
}
