using System.Buffers;
using System.Runtime.InteropServices;
using BnService.Api.Hosting;
using BnService.Bench.Cases;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.Logging;

namespace BnService.Bench.Http.Servers;

/// <summary>How an echo server is set up.</summary>
internal enum EchoKind
{
    /// <summary>Kestrel as the service sets it up.</summary>
    Own,

    /// <summary>Kestrel as it comes.</summary>
    Default,

    /// <summary>No echo, but a layer behind a minimal API endpoint that binds JSON to a record, as one would write it.</summary>
    Binding,
}

/// <summary>What bare Kestrel can do. Runs in a process of its own, so that it does not share one with its client.</summary>
internal static class EchoServer
{
    /// <summary>The first argument that makes this program an echo server.</summary>
    public const string Verb = "echo-server";

    /// <summary>Starts one, under the very runtime settings that the service runs with.</summary>
    public static ServerProcess Start(EchoKind kind, ServiceFiles service, string layerFile)
    {
        var (program, folder) = (typeof(EchoServer).Assembly.GetName().Name!, AppContext.BaseDirectory);
        var server = new ServerProcess($"{kind} echo", ServerProcess.Dotnet, port =>
        [
            "exec", "--runtimeconfig", service.RuntimeConfig, "--depsfile", Path.Combine(folder, $"{program}.deps.json"),
            Path.Combine(folder, $"{program}.dll"), Verb, $"{kind}", $"{port}", layerFile,
        ]);
        server.WaitUntilReady();
        return server;
    }

    /// <summary>Is one.</summary>
    public static async Task RunAsync(EchoKind kind, int port, string layerFile)
    {
        var builder = WebApplication.CreateSlimBuilder();
        builder.Logging.ClearProviders();
        builder.WebHost.UseUrls($"http://127.0.0.1:{port}");
        if (kind == EchoKind.Own) builder.Services.AddTransport();
        await using var app = builder.Build();
        if (kind == EchoKind.Binding) MapLayer(app, layerFile);
        else app.Run(EchoAsync);
        await app.RunAsync();
    }

    private static async Task EchoAsync(HttpContext context)
    {
        var (request, response) = (context.Request.BodyReader, context.Response.BodyWriter);
        (context.Response.ContentType, context.Response.ContentLength) = (context.Request.ContentType, context.Request.ContentLength);
        while (true)
        {
            var read = await request.ReadAsync();
            foreach (var segment in read.Buffer) response.Write(segment.Span);
            request.AdvanceTo(read.Buffer.End);
            // The last piece, too: Kestrel does not always send what is not flushed when the handler ends.
            await response.FlushAsync();
            if (read.IsCompleted) break;
        }
    }

    private static void MapLayer(WebApplication app, string layerFile)
    {
        var layer = MemoryMarshal.Cast<byte, float>(File.ReadAllBytes(layerFile)).ToArray().Chunk(HttpCase.Features).ToArray();
        var (beta, mean) = (layer[1], layer[2]);
        float[] scale = [.. layer[0].Zip(layer[3], (gamma, variance) => (float)(gamma / Math.Sqrt(variance + CaseData.Eps)))];
        app.MapPost("/json", (BoundRequest request) =>
        {
            var values = request.X.Data;
            for (var i = 0; i < values.Length; i++)
            {
                var c = i % HttpCase.Features;
                values[i] = ((values[i] - mean[c]) * scale[c]) + beta[c];
            }
            return new BoundAnswer(request.X);
        });
    }

    private sealed record BoundTensor(int[] Shape, float[] Data);

    private sealed record BoundRequest(BoundTensor X);

    private sealed record BoundAnswer(BoundTensor Y);
}
