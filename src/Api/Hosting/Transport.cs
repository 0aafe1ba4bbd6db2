using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.AspNetCore.Server.Kestrel.Transport.Sockets;
using Microsoft.Extensions.Options;

namespace BnService.Api.Hosting;

/// <summary>How the server moves bodies and answers. By itself, so that the benchmark's echo moves them in just the same way.</summary>
internal static class Transport
{
    private const long UnsentBytes = 1 << 20;
    private const long UnreadBytes = 256 << 10;

    /// <summary>Sets up Kestrel and its sockets.</summary>
    public static void AddTransport(this IServiceCollection services)
    {
        services.AddSingleton<IMemoryPoolFactory<byte>, PinnedBlockPoolFactory>();
        // As much of an answer may be on its way before writing waits; an answer to a request that is still arriving goes on otherwise.
        services.Configure<SocketTransportOptions>(sockets => sockets.MaxWriteBufferSize = UnsentBytes);
        services.AddOptions<KestrelServerOptions>().Configure<IOptions<LimitOptions>>((kestrel, limits) =>
        {
            kestrel.AddServerHeader = false;
            // What waits for its turn waits at the sender: hundreds of connections must not fill the memory that they are held to.
            kestrel.Limits.MaxRequestBufferSize = UnreadBytes + limits.Value.MaxHeaderBytes;
            kestrel.Limits.MaxRequestHeadersTotalSize = limits.Value.MaxHeaderBytes;
            kestrel.Limits.MinRequestBodyDataRate = limits.Value.MinBytesPerSecond == 0
                ? null : new MinDataRate(limits.Value.MinBytesPerSecond, limits.Value.MinRateGrace);
            kestrel.Limits.MaxResponseBufferSize = UnsentBytes;
            kestrel.Limits.MaxRequestBodySize = limits.Value.MaxBodyBytes;
        });
    }
}
