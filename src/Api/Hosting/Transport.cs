using BnService.Api.Hosting.Memory;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting;

/// <summary>How the server moves bodies and answers. By itself, so that the benchmark's echo moves them in just the same way.</summary>
internal static class Transport
{
    private const int WaitingConnections = 4096;
    private const long UnsentBytes = 1 << 20;
    private const long UnreadBytes = 256 << 10;
    private const long ReceivedBytes = 1 << 20;

    // So many connections may have each of that at once in an eighth of the memory budget; where it is small, each has less.
    private const int FullConnections = 1000;
    private const long LeastBytes = 64 << 10;

    private static readonly TimeSpan BetweenPings = TimeSpan.FromSeconds(30);

    /// <summary>Sets up Kestrel and its sockets.</summary>
    public static void AddTransport(this IServiceCollection services)
    {
        services.AddSingleton<IMemoryPoolFactory<byte>, PinnedBlockPoolFactory>();
        // As much of an answer may be on its way before writing waits; an answer to a request that is still arriving goes on otherwise.
        services.AddOptions<SocketTransportOptions>().Configure<IOptions<LimitOptions>,
            IOptions<MemoryOptions>>((sockets, limits, memory) =>
        {
            // In a flood of connections a caller waits its turn in the kernel, instead of for its next attempt.
            sockets.Backlog = WaitingConnections;
            sockets.MaxWriteBufferSize = Of(UnsentBytes, memory.Value);
            // A whole head has room in it.
            sockets.MaxReadBufferSize = Of(ReceivedBytes, memory.Value) + limits.Value.MaxHeaderBytes;
        });
        services.AddOptions<KestrelServerOptions>().Configure<IOptions<LimitOptions>, IOptions<MemoryOptions>>((kestrel, limits, memory) =>
        {
            var (unsent, unread) = (Of(UnsentBytes, memory.Value), Of(UnreadBytes, memory.Value));
            kestrel.AddServerHeader = false;
            // What waits for its turn waits at the sender: hundreds of connections must not fill the memory that they are held to.
            kestrel.Limits.MaxRequestBufferSize = unread + limits.Value.MaxHeaderBytes;
            kestrel.Limits.MaxRequestHeadersTotalSize = limits.Value.MaxHeaderBytes;
            kestrel.Limits.MinRequestBodyDataRate = limits.Value.MinBytesPerSecond == 0
                ? null : new MinDataRate(limits.Value.MinBytesPerSecond, limits.Value.MinRateGrace);
            kestrel.Limits.MaxResponseBufferSize = unsent;
            // What is left of an answer may take as long as a request.
            kestrel.Limits.MinResponseDataRate = limits.Value.MinBytesPerSecond == 0
                ? null : new MinDataRate(Math.Max(limits.Value.MinBytesPerSecond, unsent / limits.Value.RequestTime.TotalSeconds),
                    limits.Value.MinRateGrace);
            kestrel.Limits.RequestHeadersTimeout = limits.Value.HeadTime;
            kestrel.Limits.KeepAliveTimeout = limits.Value.IdleTime;
            // A client that is gone without a word is noticed, and a body that nobody reads is held back at its sender.
            kestrel.Limits.Http2.KeepAlivePingDelay = BetweenPings;
            kestrel.Limits.Http2.InitialStreamWindowSize = (int)Math.Max(
                ushort.MaxValue, Math.Min(kestrel.Limits.Http2.InitialStreamWindowSize, 3 * unread));
            kestrel.Limits.Http2.InitialConnectionWindowSize =
                (int)Math.Max(ushort.MaxValue, Math.Min(kestrel.Limits.Http2.InitialConnectionWindowSize, 4 * unread));
            kestrel.Limits.MaxRequestBodySize = limits.Value.MaxBodyBytes;
        });
    }

    private static long Of(long bytes, MemoryOptions memory) => Math.Clamp(memory.BudgetBytes / 8 / FullConnections, LeastBytes, bytes);
}
