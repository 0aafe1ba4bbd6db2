using System.Buffers.Binary;
using System.IO.Pipelines;
using System.Net.Sockets;
using Microsoft.AspNetCore.Connections.Features;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting.Limits;

/// <summary>
/// Ends an answer that its client does not take (Limits:UnreadTime): what it is written from is held as long as it waits. The server's own
/// rate for answers counts all that the kernel has ever taken in advance, and lets a client that reads nothing wait for an hour.
/// </summary>
internal static class UnreadAnswer
{
    // tcp(7): TCP_INFO; tcpi_bytes_acked stands behind the fields of 32 bits and two rates.
    private const int TcpProtocol = 6, TcpInfo = 11, InfoLength = 128, AcknowledgedAt = 120;

    /// <summary>Waits for a client to take what was written, for a bounded time.</summary>
    /// <param name="flush">The waiting.</param>
    public static ValueTask<FlushResult> WatchAsync(HttpContext context, ValueTask<FlushResult> flush) =>
        flush.IsCompleted ? flush : new(WaitAsync(context, flush.AsTask()));

    private static async Task<FlushResult> WaitAsync(HttpContext context, Task<FlushResult> flush)
    {
        var request = RequestContext.Of(context);
        var limits = context.RequestServices.GetRequiredService<IOptions<LimitOptions>>().Value;
        var least = Math.Max(1, limits.MinBytesPerSecond * limits.UnreadTime.TotalSeconds);
        while (true)
        {
            var (taken, sent) = (Taken(context), request.BodyBytes);
            try
            {
                return await flush.WaitAsync(limits.UnreadTime);
            }
            catch (TimeoutException)
            {
                // It may have come to its end in this very moment.
                if (flush.IsCompleted) return await flush;
                // It takes something, or sends all of its request first.
                if (request.BodyBytes != sent || Taken(context) - taken >= least) continue;
                context.Abort();
                return await flush;
            }
        }
    }

    // The bytes that the client's side has acknowledged on this connection; 0 where that is not known.
    private static long Taken(HttpContext context)
    {
        if (!OperatingSystem.IsLinux() || context.Features.Get<IConnectionSocketFeature>()?.Socket is not { } socket) return 0;
        Span<byte> info = stackalloc byte[InfoLength];
        try
        {
            return socket.GetRawSocketOption(TcpProtocol, TcpInfo, info) < InfoLength ? 0
                : (long)(BitConverter.IsLittleEndian ? BinaryPrimitives.ReadUInt64LittleEndian(info[AcknowledgedAt..])
                    : BinaryPrimitives.ReadUInt64BigEndian(info[AcknowledgedAt..]));
        }
        catch (Exception exception) when (exception is SocketException or ObjectDisposedException)
        {
            return 0;
        }
    }
}
