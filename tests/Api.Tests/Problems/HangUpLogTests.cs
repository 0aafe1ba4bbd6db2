using System.IO.Compression;
using System.Net;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;
using System.Text;

namespace BnService.Api.Tests.Problems;

/// <summary>Clients that go away at any moment: the log has no error of theirs and no stack trace, no 500 is counted, and everything is given back.</summary>
public sealed class HangUpLogTests : IDisposable
{
    private const int Seed = 20260116;
    private static readonly Batch X = Batch.Random(1, 4096, 64), Small = Batch.Random(2, 16, 64);

    private readonly string _folder = Directory.CreateTempSubdirectory("bn-hang-up").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData("text")]
    [InlineData("json")]
    public async Task Clients_that_go_away_at_any_moment_leave_no_error_in_the_log(string format)
    {
        using var service = await ServiceProcess.StartAsync(("Telemetry__LogFormat", format), ("Sync__Timeout", "00:00:02"));
        (await service.Client.PostAsync("/v1/sessions", """{"name":"s","num_features":64}""")).Expect(201);
        await HangUpAsync(service.Address.Port, Soak.Of(240, 8000));
        await RequireQuietAsync(service);
    }

    [Fact]
    public async Task What_is_no_TLS_and_no_HTTP_and_streams_that_are_reset_leave_no_error_in_the_log()
    {
        var (certificate, key) = (Path.Combine(_folder, "pem"), Path.Combine(_folder, "key"));
        using (var own = ECDsa.Create(ECCurve.NamedCurves.nistP256))
        {
            using var signed = new CertificateRequest("CN=localhost", own, HashAlgorithmName.SHA256).CreateSelfSigned(DateTimeOffset.UtcNow.AddDays(-1), DateTimeOffset.UtcNow.AddDays(1));
            await File.WriteAllTextAsync(certificate, signed.ExportCertificatePem());
            await File.WriteAllTextAsync(key, own.ExportPkcs8PrivateKeyPem());
        }
        using var service = await ServiceProcess.StartAsync(
            ("ASPNETCORE_URLS", "https://127.0.0.1:0;http://127.0.0.1:0"), ("Tls__CertificatePath", certificate), ("Tls__KeyPath", key), ("Sync__Timeout", "00:00:02"));
        using var handler = new SocketsHttpHandler
        {
            SslOptions = new SslClientAuthenticationOptions { RemoteCertificateValidationCallback = (_, sent, _, _) => sent is not null },
        };
        using var http = new HttpClient(handler)
        {
            BaseAddress = service.Address,
            DefaultRequestVersion = HttpVersion.Version20,
            DefaultVersionPolicy = HttpVersionPolicy.RequestVersionExact,
        };
        using var created = await http.PostAsync(new Uri("/v1/sessions", UriKind.Relative), ServiceClient.JsonContent("""{"name":"s","num_features":64}"""));
        Assert.Equal(HttpStatusCode.Created, created.StatusCode);
        var random = new Random(Seed);
        byte[][] garbage =
        [
            "GET /v1/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n"u8.ToArray(), "\x16\x03\x01\x02\x00\x01\x00\x01\xFC\x03\x03"u8.ToArray(), [0x16, 0x03], new byte[3000],
            "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x09\x09\x09"u8.ToArray(), "GET / HTTP/9.9\r\n\r\n"u8.ToArray(), "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nzz\r\n"u8.ToArray(),
        ];
        foreach (var port in Ports(service))
        {
            for (var i = 0; i < Soak.Of(40, 1000); i++)
            {
                using var connection = await RawConnection.OpenAsync(port);
                await IgnoreAsync(async () =>
                {
                    await connection.WriteAsync(garbage[i % garbage.Length]);
                    await Task.Delay(random.Next(4));
                });
                if (random.Next(2) == 0) connection.Abort();
            }
        }
        var calls = Enumerable.Range(0, Soak.Of(100, 3000)).Select(async i =>
        {
            using var hangUp = new CancellationTokenSource(TimeSpan.FromMilliseconds(i % 37));
            var path = new Uri((i % 3) switch { 0 => "/v1/sessions/s/inference", 1 => "/v1/sessions/s/train-step?retain=false", _ => "/v1/sessions/s/sync/g/train-step?rank=0&world_size=2" }, UriKind.Relative);
            await IgnoreAsync(async () => (await http.PostAsync(path, ServiceClient.Content(Forms.Npy, ArrayFile.Of(X)), hangUp.Token)).Dispose());
        });
        await Task.WhenAll(calls);
        // Events are written in batches.
        await Eventually.TrueAsync(() => service.Output.Count > 20, "nothing was logged");
        RequireQuiet(service, service.Output);
    }

    // Each call in each form of body, cut anywhere or sent whole, and left by RST, by the end of one direction, or while it is answered.
    private static async Task HangUpAsync(int port, int times)
    {
        var calls = Calls();
        await Parallel.ForAsync(0, times, new ParallelOptions { MaxDegreeOfParallelism = 16 }, async (i, _) =>
        {
            var random = new Random(Seed + i);
            var (head, body) = calls[i % calls.Count];
            var isChunked = body.Length > 0 && random.Next(2) == 0;
            byte[] sent = [.. Encoding.Latin1.GetBytes($"{head}{(isChunked ? "Transfer-Encoding: chunked" : $"Content-Length: {body.Length}")}\r\n\r\n"), .. isChunked ? Chunks(body, random) : body];
            using var connection = await RawConnection.OpenAsync(port);
            await IgnoreAsync(async () =>
            {
                var part = random.Next(3) switch { 0 => random.Next(head.Length), 1 => random.Next(sent.Length), _ => sent.Length };
                await connection.WriteAsync(sent.AsMemory(0, part));
                await Task.Delay(random.Next(3) * random.Next(20));
                switch (random.Next(4))
                {
                    case 0:
                        connection.EndWriting();
                        await connection.ReadAnswerAsync().WaitAsync(TimeSpan.FromMilliseconds(300));
                        break;
                    case 1:
                        await connection.CountAsync(random.Next(1, 100_000)).WaitAsync(TimeSpan.FromMilliseconds(100));
                        break;
                    default:
                        break;
                }
            });
            if (random.Next(4) > 0) connection.Abort();
        });
    }

    private static List<(string Head, byte[] Body)> Calls()
    {
        var (npy, json) = (ArrayFile.Of(X), Encoding.UTF8.GetBytes($"{{\"x\":{Small.Json}}}"));
        var tensors = Message.Of(X).Body(Forms.Safetensors);
        var infer = Encoding.UTF8.GetBytes($$"""{"inputs":[{"name":"x","shape":[16,64],"datatype":"FP32","data":[{{string.Join(',', Small.Data.Select(element => element.ToString(System.Globalization.CultureInfo.InvariantCulture)))}}]}]}""");
        var compressed = new MemoryStream();
        using (var gzip = new GZipStream(compressed, CompressionLevel.Fastest, leaveOpen: true)) gzip.Write(npy);
        var zipped = compressed.ToArray();
        const string session = "/v1/sessions/s";
        List<(string Head, byte[] Body)> calls = [];
        foreach (var call in (string[])["train-step", "train-step?retain=false", "inference", "calibration/batches", "sync/g/train-step?rank=0&world_size=2", "sync/h/train-step?rank=1&world_size=2"])
        {
            calls.Add((Head("POST", $"{session}/{call}", Forms.Npy), npy));
            calls.Add((Head("POST", $"{session}/{call}", Forms.Json), json));
            calls.Add((Head("POST", $"{session}/{call}", Forms.Safetensors), tensors));
            calls.Add((Head("POST", $"{session}/{call}", Forms.Npy, "Content-Encoding: gzip\r\n"), zipped));
        }
        calls.Add((Head("POST", $"{session}/inference", Forms.Npy, "Accept-Encoding: gzip\r\n"), npy));
        calls.Add((Head("POST", "/v2/models/s/infer", Forms.Json), infer));
        foreach (var path in (string[])["/v1/events", $"{session}/events", $"{session}/state", "/v1/sessions", "/metrics", $"{session}/stats", "/", "/openapi/v1.json", "/v1/keys"])
            calls.Add(($"GET {path} HTTP/1.1\r\nHost: localhost\r\n", []));
        return calls;
    }

    private static string Head(string method, string path, string form, string more = "") => $"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {form}\r\n{more}";

    // One body in three ends with what is no chunk.
    private static byte[] Chunks(byte[] body, Random random)
    {
        var size = random.Next(1, body.Length + 1);
        var chunks = body.Chunk(size).SelectMany(chunk => (byte[])[.. Encoding.ASCII.GetBytes($"{chunk.Length:x}\r\n"), .. chunk, .. "\r\n"u8]);
        byte[] end = random.Next(3) == 0 ? "-1\r\nno chunk"u8.ToArray() : "0\r\n\r\n"u8.ToArray();
        return [.. chunks, .. end];
    }

    private static async Task RequireQuietAsync(ServiceProcess service)
    {
        (await service.Client.DeleteAsync("/v1/sessions/s")).Expect(204);
        string page;
        var patience = Task.Delay(TimeSpan.FromSeconds(20));
        do page = (await service.Client.GetAsync("/metrics")).Text;
        while (!page.Contains("bnservice_tensor_memory_bytes{state=\"rented\"} 0\n", StringComparison.Ordinal) && !patience.IsCompleted);
        Assert.Contains("bnservice_tensor_memory_bytes{state=\"rented\"} 0\n", page, StringComparison.Ordinal);
        Assert.DoesNotContain("status=\"500\"", page, StringComparison.Ordinal);
        RequireQuiet(service, service.Output);
    }

    private static void RequireQuiet(ServiceProcess service, IReadOnlyList<string> log)
    {
        Assert.True(log.Count > 20, "nothing was logged");
        Assert.DoesNotContain(log, line => line.Contains(" ERR ", StringComparison.Ordinal) || line.Contains("   at ", StringComparison.Ordinal)
            || line.Contains("\"Level\":\"Error\"", StringComparison.Ordinal) || line.Contains("Exception", StringComparison.Ordinal));
        Assert.Equal("", service.Errors);
    }

    private static IEnumerable<int> Ports(ServiceProcess service) => service.Output
        .Where(line => line.Contains("Now listening on", StringComparison.Ordinal)).Select(line => new Uri(line[line.IndexOf("http", StringComparison.Ordinal)..].Split(' ')[0]).Port);

    private static async Task IgnoreAsync(Func<Task> call)
    {
        try
        {
            await call();
        }
        catch (Exception exception) when (exception is System.Net.Sockets.SocketException or HttpRequestException or OperationCanceledException or TimeoutException or IOException or ObjectDisposedException)
        {
            // The service has closed it, or the client has gone.
        }
    }
}
