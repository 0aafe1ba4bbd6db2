using Microsoft.AspNetCore.Http.Features;

namespace BnService.Api.Hosting.Connections;

/// <summary>
/// The memory of requests by HTTP/2 beside their bodies. A few bytes that name the compression's table become the longest head, each
/// connection has a hundred of them, and they stay until the client has taken the answers. It is counted with the blocks of the
/// connections, which are closed for what they hold.
/// </summary>
/// <param name="blocks">Counts it.</param>
internal sealed class HeadMemory(PinnedBlocks blocks)
{
    // The server's objects for a stream.
    private const int Stream = 16 << 10;

    // The server keeps ended streams for the next ones: the texts of longer heads must not stay with them.
    private const int LongHead = 4 << 10;

    /// <summary>Counts a request until its answer has been taken.</summary>
    /// <param name="place">Its connection.</param>
    public void Count(HttpContext context, ConnectionPlace place)
    {
        if (!HttpProtocol.IsHttp2(context.Request.Protocol)) return;
        var characters = context.Features.GetRequiredFeature<IHttpRequestFeature>().RawTarget.Length;
        foreach (var (name, values) in context.Request.Headers)
        {
            characters += name.Length;
            foreach (var value in values) characters += value?.Length ?? 0;
        }
        var bytes = Stream + (characters * sizeof(char));
        var held = place.Hold(bytes);
        blocks.Move(bytes, 0);
        context.Response.OnCompleted(() =>
        {
            if (characters > LongHead) Clear(context);
            place.Hold(-bytes);
            blocks.Move(-bytes, 0);
            return Task.CompletedTask;
        });
        // Faster than connections are closed elsewhere, and those alone that hold much of it.
        if (blocks.RentedBytes > blocks.Share && held > blocks.Share / (place.IsKnown ? 4 : 32)) place.Close(
            "requests hold too much memory (Memory:BudgetBytes)");
    }

    private static void Clear(HttpContext context)
    {
        var request = context.Features.GetRequiredFeature<IHttpRequestFeature>();
        (request.RawTarget, request.Path, request.QueryString) = ("/", "/", "");
        foreach (var name in request.Headers.Keys.ToList()) request.Headers.Remove(name);
    }
}
