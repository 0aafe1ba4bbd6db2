using System.Net;
using System.Net.NetworkInformation;
using System.Net.Sockets;
using BnService.Api.Hosting.Auth;

namespace BnService.Api.Tests.Auth;

/// <summary>Where a real process listens, with keys and without.</summary>
public sealed class ListeningTests : IDisposable
{
    private static readonly (string, string) InContainer = ("DOTNET_RUNNING_IN_CONTAINER", "true");
    private readonly string _folder = Directory.CreateTempSubdirectory("bn-listening").FullName;
    private readonly int _port = Loopback.FreePort();

    private (string, string) Storage => ("Storage__Path", Path.Combine(_folder, "bn.db"));

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    public static TheoryData<string, string> Outside => new()
    {
        { "ASPNETCORE_URLS", "http://0.0.0.0:{0}" },
        { "ASPNETCORE_URLS", "http://*:{0}" },
        { "ASPNETCORE_URLS", "http://+:{0};http://[::]:{0}" },
        { "ASPNETCORE_URLS", "http://some.name:{0}" },
        { "ASPNETCORE_HTTP_PORTS", "{0}" },
        { "URLS", "http://[::]:{0}" },
        { "Kestrel__Endpoints__Here__Url", "http://*:{0}" },
    };

    [Theory]
    [MemberData(nameof(Outside))]
    public async Task Without_a_key_it_listens_on_loopback_with_the_port_that_was_asked_for_and_says_so(string name, string form)
    {
        using var service = await StartAsync((name, string.Format(null, form, _port)));
        Assert.Equal(_port, service.Address.Port);
        Assert.All(service.Output.Where(line => line.Contains("Now listening on", StringComparison.Ordinal)),
            line => Assert.True(line.Contains("http://localhost:", StringComparison.Ordinal) || line.Contains("http://127.0.0.1:", StringComparison.Ordinal), line));
        Assert.Contains(service.Output, line => line.Contains("No key is stored", StringComparison.Ordinal) && line.Contains("loopback only, not on http://", StringComparison.Ordinal)
            && line.Contains("keys create", StringComparison.Ordinal) && line.Contains("Auth:Mode", StringComparison.Ordinal));
        (await service.Client.GetAsync("/v1/sessions")).Expect(200);
        foreach (var address in OwnAddresses()) Assert.False(await AnswersAsync(address), $"it listens on {address}");
    }

    [Fact]
    public async Task It_says_so_as_well_where_loopback_is_what_was_asked_for()
    {
        using var service = await ServiceProcess.StartAsync();
        Assert.Contains(service.Output, line => line.Contains("No key is stored", StringComparison.Ordinal) && line.Contains("loopback only.", StringComparison.Ordinal));
    }

    [Theory]
    [MemberData(nameof(Outside))]
    public async Task In_a_container_it_does_not_start_without_a_key(string name, string form)
    {
        var address = string.Format(null, form, _port);
        var (exitCode, output, errors) = await ServiceProcess.RunAsync([], (name, address), InContainer, Storage);
        Assert.Equal(1, exitCode);
        foreach (var word in (string[])["no key is stored", "Auth:Mode", "Auth__Mode=none", "keys create", $"{_port}"]) Assert.Contains(word, errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", errors, StringComparison.Ordinal);
        Assert.DoesNotContain(output, line => line.Contains("Now listening", StringComparison.Ordinal));
    }

    [Fact]
    public async Task With_a_key_it_listens_where_it_was_told_to_and_asks_for_the_key()
    {
        var (exitCode, output, errors) = await ServiceProcess.RunAsync(["keys", "create", "--name", "first", "--role", "admin"], Storage);
        Assert.True(exitCode == 0, errors);
        using var service = await StartAsync(("ASPNETCORE_HTTP_PORTS", $"{_port}"), InContainer, Storage);
        Assert.Contains(service.Output, line => line.Contains($"http://[::]:{_port}", StringComparison.Ordinal) || line.Contains($"http://0.0.0.0:{_port}", StringComparison.Ordinal));
        Assert.DoesNotContain(service.Output, line => line.Contains("No key is stored", StringComparison.Ordinal));
        (await service.Client.GetAsync("/v1/sessions")).ExpectProblem("unauthorized");
        (await service.Client.GetAsync("/v1/sessions", KeyedService.Bearer(Assert.Single(output)))).Expect(200);
        (await service.Client.GetAsync("/health/ready")).Expect(200);
        foreach (var address in OwnAddresses()) Assert.True(await AnswersAsync(address), $"it does not listen on {address}");
    }

    [Fact]
    public async Task Open_to_all_is_what_somebody_has_to_say()
    {
        using var service = await StartAsync(("ASPNETCORE_HTTP_PORTS", $"{_port}"), InContainer, Storage, ("Auth__Mode", "none"));
        Assert.Contains(service.Output, line => line.Contains("Auth:Mode is none", StringComparison.Ordinal) && line.Contains("Warning", StringComparison.Ordinal));
        (await service.Client.GetAsync("/v1/sessions")).Expect(200);
    }

    /// <summary>An address can be configured in more ways than are looked at when the service starts: from outside, a key is asked for even so.</summary>
    [Fact]
    public async Task Whoever_comes_from_outside_needs_a_key_even_while_there_is_none()
    {
        var outside = OwnAddresses().FirstOrDefault();
        if (outside is null) return;
        using var service = Service.OnKestrel(services => Microsoft.Extensions.DependencyInjection.OptionsServiceCollectionExtensions
            .Configure<Microsoft.AspNetCore.Server.Kestrel.Core.KestrelServerOptions>(services, kestrel => kestrel.ListenAnyIP(_port)));
        using var http = new HttpClient();
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync(new Uri($"http://127.0.0.1:{_port}/v1/sessions"))).StatusCode);
        Assert.Equal(HttpStatusCode.Unauthorized, (await http.GetAsync(new Uri($"http://{Host(outside)}:{_port}/v1/sessions"))).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync(new Uri($"http://{Host(outside)}:{_port}/health/live"))).StatusCode);
    }

    [Theory]
    [InlineData("http://localhost:5000", true)]
    [InlineData("http://LOCALHOST:5000", true)]
    [InlineData("https://127.0.0.1:0", true)]
    [InlineData("http://127.9.9.9:80", true)]
    [InlineData("http://[::1]:80", true)]
    [InlineData("http://unix:/tmp/a.sock", true)]
    [InlineData("http://0.0.0.0:80", false)]
    [InlineData("http://[::]:80", false)]
    [InlineData("http://*:80", false)]
    [InlineData("http://+", false)]
    [InlineData("http://localhost.example.com:80", false)]
    [InlineData("http://192.0.2.1:80", false)]
    public void Loopback_is_known_from_everything_else(string address, bool isLoopback) => Assert.Equal(isLoopback, Listening.IsLoopback(address));

    [Theory]
    [InlineData("http://*:8080", "http://localhost:8080")]
    [InlineData("https://0.0.0.0", "https://localhost:443")]
    [InlineData("http://[::]:0", "http://127.0.0.1:0")]
    [InlineData("http://127.0.0.1:7", "http://127.0.0.1:7")]
    public void The_port_and_the_scheme_stay(string address, string onLoopback) => Assert.Equal(onLoopback, Listening.OnLoopback(address));

    // Without the address that the harness sets unless a port is given.
    private static Task<ServiceProcess> StartAsync(params (string Name, string Value)[] environment) =>
        ServiceProcess.StartAsync([.. environment.Any(variable => variable.Name.EndsWith("PORTS", StringComparison.Ordinal)) ? [] : new[] { ("ASPNETCORE_URLS", "") }, .. environment]);

    private static IEnumerable<IPAddress> OwnAddresses() => NetworkInterface.GetAllNetworkInterfaces()
        .Where(one => one.OperationalStatus == OperationalStatus.Up)
        .SelectMany(one => one.GetIPProperties().UnicastAddresses).Select(one => one.Address)
        .Where(address => !IPAddress.IsLoopback(address) && address.AddressFamily == AddressFamily.InterNetwork);

    private static string Host(IPAddress address) => address.ToString();

    private async Task<bool> AnswersAsync(IPAddress address)
    {
        using var client = new TcpClient(address.AddressFamily);
        using var patience = new CancellationTokenSource(TimeSpan.FromSeconds(5));
        try
        {
            await client.ConnectAsync(address, _port, patience.Token);
            return true;
        }
        catch (Exception exception) when (exception is SocketException or OperationCanceledException)
        {
            return false;
        }
    }
}
