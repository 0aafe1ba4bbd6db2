using System.Net;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using BnService.Api.Hosting.Edge;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;

namespace BnService.Api.Tests.Running;

/// <summary>The service behind a certificate of its own.</summary>
public sealed class TlsTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("bn-tls").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("pem", null)]
    [InlineData("pem", "secret")]
    [InlineData("pfx", "secret")]
    public async Task It_serves_with_the_certificate_of_the_file_in_both_versions_of_HTTP(string form, string? password)
    {
        var thumbprint = Write(form, password);
        var environment = new List<(string, string)> { ("ASPNETCORE_URLS", "https://127.0.0.1:0"), ("Tls__CertificatePath", PathOf(form)) };
        if (form == "pem") environment.Add(("Tls__KeyPath", PathOf("key")));
        if (password is not null) environment.Add(("Tls__Password", password));
        using var service = await ServiceProcess.StartAsync([.. environment]);
        Assert.Equal("https", service.Address.Scheme);
        string? seen = null;
        using var handler = new SocketsHttpHandler
        {
            SslOptions = new SslClientAuthenticationOptions
            {
                RemoteCertificateValidationCallback = (_, certificate, _, _) => (seen = certificate?.GetCertHashString()) is not null,
            },
        };
        using var http = new HttpClient(handler) { BaseAddress = service.Address };
        foreach (var version in new[] { HttpVersion.Version11, HttpVersion.Version20 })
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "/health/ready") { Version = version, VersionPolicy = HttpVersionPolicy.RequestVersionExact };
            using var answer = await http.SendAsync(request);
            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
            Assert.Equal(version, answer.Version);
        }
        Assert.Equal(thumbprint, seen);
    }

    /// <summary>As authorities issue them: a client that knows the root alone has to be sent what is between.</summary>
    [Theory]
    [InlineData("pem")]
    [InlineData("pfx")]
    public async Task A_client_is_sent_the_certificates_between_the_servers_and_the_root(string form)
    {
        using var root = Issue("CN=root", null, isAuthority: true);
        using var between = Issue("CN=between", root, isAuthority: true);
        using var own = Issue("CN=localhost", between, isAuthority: false);
        if (form == "pem") await File.WriteAllTextAsync(PathOf("pem"), own.ExportCertificatePem() + "\n" + between.ExportCertificatePem());
        else await File.WriteAllBytesAsync(PathOf("pfx"), new X509Certificate2Collection { own, X509CertificateLoader.LoadCertificate(between.RawData) }.Export(X509ContentType.Pkcs12, "secret")!);
        await File.WriteAllTextAsync(PathOf("key"), own.GetECDsaPrivateKey()!.ExportPkcs8PrivateKeyPem());
        using var service = await ServiceProcess.StartAsync(("ASPNETCORE_URLS", "https://127.0.0.1:0"), ("Tls__CertificatePath", PathOf(form)),
            form == "pem" ? ("Tls__KeyPath", PathOf("key")) : ("Tls__Password", "secret"));
        using var http = new HttpClient(new SocketsHttpHandler
        {
            SslOptions = new SslClientAuthenticationOptions
            {
                RemoteCertificateValidationCallback = (_, certificate, sent, _) =>
                {
                    using var chain = new X509Chain();
                    chain.ChainPolicy.TrustMode = X509ChainTrustMode.CustomRootTrust;
                    chain.ChainPolicy.RevocationMode = X509RevocationMode.NoCheck;
                    chain.ChainPolicy.CustomTrustStore.Add(root);
                    chain.ChainPolicy.ExtraStore.AddRange(sent!.ChainPolicy.ExtraStore);
                    return chain.Build((X509Certificate2)certificate!);
                },
            },
        });
        Assert.Equal(HttpStatusCode.OK, (await http.GetAsync(new Uri(service.Address, "/health/ready"))).StatusCode);
    }

    [Fact]
    public async Task A_renewed_certificate_is_taken_over_and_a_broken_one_is_not()
    {
        var time = new ManualTime();
        var first = Write("pem", null);
        using var certificate = new ServerCertificate(
            Options.Create(new TlsOptions { CertificatePath = PathOf("pem"), KeyPath = PathOf("key") }), NullLogger<ServerCertificate>.Instance, time);
        certificate.Load();
        await certificate.StartAsync(default);
        Assert.Equal(first, certificate.Current!.TargetCertificate.Thumbprint);
        var second = Write("pem", null);
        File.SetLastWriteTimeUtc(PathOf("pem"), DateTime.UtcNow.AddSeconds(5));
        await Eventually.EqualAsync(second, ThumbprintAMinuteLater);
        await File.WriteAllTextAsync(PathOf("pem"), "no certificate");
        File.SetLastWriteTimeUtc(PathOf("pem"), DateTime.UtcNow.AddSeconds(10));
        time.AdvanceBy(TimeSpan.FromMinutes(1));
        Assert.Equal(second, certificate.Current!.TargetCertificate.Thumbprint);
        var third = Write("pem", null);
        File.SetLastWriteTimeUtc(PathOf("pem"), DateTime.UtcNow.AddSeconds(15));
        await Eventually.EqualAsync(third, ThumbprintAMinuteLater);
        await certificate.StopAsync(default);

        // The service starts to look on another thread: a minute that passes before it does is not one of its own.
        string ThumbprintAMinuteLater()
        {
            time.AdvanceBy(TimeSpan.FromMinutes(1));
            return certificate.Current!.TargetCertificate.Thumbprint;
        }
    }

    [Theory]
    [InlineData("Tls__CertificatePath", "/nosuch/file.pem", "Tls:CertificatePath must name a file that exists")]
    [InlineData("Tls__KeyPath", "/nosuch/file.pem", "Tls:KeyPath belongs to Tls:CertificatePath")]
    [InlineData("Cors__Origins__0", "example.org", "Cors:Origins must be origins as https://example.org")]
    public async Task A_wrong_value_ends_the_start(string name, string value, string words)
    {
        var (exitCode, _, errors) = await ServiceProcess.RunAsync([], (name, value), ("ASPNETCORE_URLS", "http://127.0.0.1:0"));
        Assert.Equal(1, exitCode);
        Assert.Contains(words, errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_file_that_holds_no_certificate_ends_the_start()
    {
        await File.WriteAllTextAsync(PathOf("pem"), "no certificate");
        var (exitCode, _, errors) = await ServiceProcess.RunAsync([], ("Tls__CertificatePath", PathOf("pem")), ("ASPNETCORE_URLS", "https://127.0.0.1:0"));
        Assert.Equal(1, exitCode);
        Assert.Contains("Tls:CertificatePath", errors, StringComparison.Ordinal);
        Assert.Contains("cannot be used", errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", errors, StringComparison.Ordinal);
    }

    private static X509Certificate2 Issue(string subject, X509Certificate2? issuer, bool isAuthority)
    {
        var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest(subject, key, HashAlgorithmName.SHA256);
        request.CertificateExtensions.Add(new X509BasicConstraintsExtension(isAuthority, false, 0, true));
        var (from, to) = (DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddHours(issuer is null ? 3 : 2));
        if (issuer is null) return request.CreateSelfSigned(from, to);
        using var issued = request.Create(issuer, from, isAuthority ? to : to.AddHours(-1), RandomNumberGenerator.GetBytes(8));
        return issued.CopyWithPrivateKey(key);
    }

    private string PathOf(string form) => Path.Combine(_folder, $"server.{form}");

    private string Write(string form, string? password)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var request = new CertificateRequest("CN=localhost", key, HashAlgorithmName.SHA256);
        using var certificate = request.CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
        if (form == "pfx") File.WriteAllBytes(PathOf("pfx"), certificate.Export(X509ContentType.Pkcs12, password));
        else
        {
            File.WriteAllText(PathOf("pem"), certificate.ExportCertificatePem());
            File.WriteAllText(PathOf("key"), password is null
                ? key.ExportPkcs8PrivateKeyPem()
                : key.ExportEncryptedPkcs8PrivateKeyPem(password, new PbeParameters(PbeEncryptionAlgorithm.Aes256Cbc, HashAlgorithmName.SHA256, 1000)));
        }
        return certificate.Thumbprint;
    }
}

/// <summary>What a browser is told.</summary>
public sealed class BrowserTests
{
    [Fact]
    public async Task Pages_say_what_they_may_do_and_answers_what_they_are()
    {
        using var service = new Service();
        foreach (var path in (string[])["/swagger/index.html", "/problems", "/problems/overloaded"])
        {
            var page = (await service.Client.GetAsync(path)).Expect(200);
            Assert.Contains("frame-ancestors 'none'", page.Headers["Content-Security-Policy"], StringComparison.Ordinal);
            Assert.Equal("DENY", page.Headers["X-Frame-Options"]);
            Assert.Equal("no-referrer", page.Headers["Referrer-Policy"]);
            Assert.Equal("nosniff", page.Headers["X-Content-Type-Options"]);
        }
        foreach (var path in (string[])["/v1/sessions", "/v1/sessions/nosuch", "/openapi/v1.json"])
        {
            var answer = await service.Client.GetAsync(path);
            Assert.Equal("nosniff", answer.Headers["X-Content-Type-Options"]);
            Assert.False(answer.Headers.ContainsKey("Content-Security-Policy"));
        }
    }

    [Fact]
    public async Task Pages_of_other_origins_are_not_served_unless_they_are_named()
    {
        using (var service = new Service())
        {
            var answer = await service.Client.GetAsync("/v1/sessions", ("Origin", "https://example.org"));
            Assert.DoesNotContain(answer.Headers.Keys, name => name.StartsWith("Access-Control", StringComparison.OrdinalIgnoreCase));
        }
        using var open = Service.With(("Cors:Origins:0", "https://example.org"), ("Cors:Origins:1", "https://two.example.org"));
        foreach (var (origin, isNamed) in new[] { ("https://example.org", true), ("https://two.example.org", true), ("https://example.com", false), ("http://example.org", false) })
        {
            var answer = (await open.Client.GetAsync("/v1/sessions", ("Origin", origin))).Expect(200);
            Assert.Equal(isNamed ? origin : null, answer.Headers.GetValueOrDefault("Access-Control-Allow-Origin"));
        }
        var allowed = await open.Client.SendAsync(HttpMethod.Options, "/v1/sessions/a/train-step", null,
            ("Origin", "https://example.org"), ("Access-Control-Request-Method", "POST"), ("Access-Control-Request-Headers", "content-type,idempotency-key"));
        Assert.Equal(204, allowed.Status);
        Assert.Equal("https://example.org", allowed.Headers["Access-Control-Allow-Origin"]);
    }
}
