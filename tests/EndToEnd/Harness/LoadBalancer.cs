using System.Diagnostics;
using System.Net;
using System.Text.RegularExpressions;

namespace BnService.EndToEnd.Harness;

/// <summary>nginx with the project's own configuration, in which nothing but addresses and paths is another one.</summary>
public sealed partial class LoadBalancer : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("bn-nginx").FullName;
    private readonly Process _nginx;

    private LoadBalancer(IReadOnlyList<Uri> nodes)
    {
        Address = new Uri($"http://127.0.0.1:{Loopback.FreePort()}");
        var configuration = File.ReadAllText(Path.Combine(Repository.Root, "docker", "nginx.conf"));
        configuration = NodeAddress().Replace(configuration, match => nodes[int.Parse(match.Groups[1].Value, System.Globalization.CultureInfo.InvariantCulture) - 1].Authority)
            .Replace("listen 8080", $"listen {Address.Port}", StringComparison.Ordinal)
            .Replace("/tmp/", $"{_folder}/", StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(_folder, "nginx.conf"), configuration);
        _nginx = Process.Start(new ProcessStartInfo("nginx", ["-c", Path.Combine(_folder, "nginx.conf"), "-p", _folder, "-g", "daemon off;"]) { RedirectStandardError = true })!;
    }

    /// <summary>Where it listens.</summary>
    public Uri Address { get; }

    /// <summary>Starts it in front of nodes, and waits until it passes requests on.</summary>
    public static async Task<LoadBalancer> StartAsync(IReadOnlyList<Uri> nodes)
    {
        var balancer = new LoadBalancer(nodes);
        using var http = new HttpClient { BaseAddress = balancer.Address };
        for (var attempt = 0; ; attempt++)
        {
            Assert.False(balancer._nginx.HasExited, balancer._nginx.HasExited ? await balancer._nginx.StandardError.ReadToEndAsync() : "");
            try
            {
                using var answer = await http.GetAsync(new Uri("/health/ready", UriKind.Relative));
                if (answer.StatusCode == HttpStatusCode.OK) return balancer;
            }
            catch (HttpRequestException) when (attempt < 200)
            {
                // Not yet.
            }
            await Task.Delay(50);
        }
    }

    public void Dispose()
    {
        _nginx.Kill(entireProcessTree: true);
        _nginx.WaitForExit();
        _nginx.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [GeneratedRegex(@"bnservice-(\d):8080")]
    private static partial Regex NodeAddress();
}
