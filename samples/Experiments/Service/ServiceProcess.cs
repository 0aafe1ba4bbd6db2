using System.Diagnostics;
using System.Net;
using System.Net.Sockets;
using BnService.Client;

namespace BnService.Experiments.Service;

/// <summary>The service as a process of its own, on a free port of loopback, with its sessions in memory; it ends when this is disposed.</summary>
public sealed class ServiceProcess : IDisposable
{
    private readonly Process _process;

    private ServiceProcess(Process process, Uri address) => (_process, Address) = (process, address);

    /// <summary>Where it listens.</summary>
    public Uri Address { get; }

    /// <summary>Starts the service that lies beside this program and waits until it is ready.</summary>
    /// <exception cref="InvalidOperationException">It has ended instead; the message is what it has said.</exception>
    public static async Task<ServiceProcess> StartAsync(CancellationToken cancellationToken)
    {
        var address = new Uri($"http://127.0.0.1:{FreePort()}");
        var program = Path.Combine(AppContext.BaseDirectory, "BnService.Api.dll");
        var start = new ProcessStartInfo(Environment.GetEnvironmentVariable("DOTNET_HOST_PATH") ?? "dotnet",
            ["exec", program, "--Storage:Engine", "memory", "--Auth:Mode", "none", "--Serilog:MinimumLevel:Default", "Warning"])
        {
            WorkingDirectory = AppContext.BaseDirectory,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        start.Environment["ASPNETCORE_URLS"] = address.ToString();
        var said = new List<string>();
        var service = new ServiceProcess(new Process { StartInfo = start }, address);
        service._process.OutputDataReceived += (_, line) => Add(said, line.Data);
        service._process.ErrorDataReceived += (_, line) => Add(said, line.Data);
        service._process.Start();
        service._process.BeginOutputReadLine();
        service._process.BeginErrorReadLine();
        try
        {
            using var waiting = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
            var ready = new BnClient(address).WaitUntilReadyAsync(waiting.Token);
            var first = await Task.WhenAny(ready, service._process.WaitForExitAsync(waiting.Token));
            // Whichever is second is no longer waited for.
            await waiting.CancelAsync();
            cancellationToken.ThrowIfCancellationRequested();
            if (first != ready) throw new InvalidOperationException($"the service has ended by itself: {Said(said)}");
            await ready;
            return service;
        }
        catch
        {
            service.Dispose();
            throw;
        }
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        if (!_process.HasExited)
        {
            _process.Kill();
            _process.WaitForExit();
        }
        _process.Dispose();
    }

    private static int FreePort()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        return ((IPEndPoint)listener.LocalEndpoint).Port;
    }

    private static void Add(List<string> lines, string? line)
    {
        if (line is null) return;
        lock (lines) lines.Add(line);
    }

    private static string Said(List<string> lines)
    {
        lock (lines) return string.Join('\n', lines);
    }
}
