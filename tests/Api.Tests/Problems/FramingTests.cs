using System.Text.Json;

namespace BnService.Api.Tests.Problems;

/// <summary>Bodies as they come over a network, in pieces, without end, against the rules: on a real server.</summary>
public sealed class FramingTests : IDisposable
{
    private const string X = """{"x":[[1,2],[3,4]],"retain":false}""";
    private const string Path = "/v1/sessions/framing/train-step";
    private static readonly (string, string) Json = ("Content-Type", "application/json");
    private static readonly (string, string) Chunked = ("Transfer-Encoding", "chunked"), Close = ("Connection", "close");

    private readonly Service _service = Service.OnKestrel(("Limits:MaxBodyBytes", "2000"));

    [Fact]
    public async Task A_body_that_is_announced_as_too_large_is_refused_before_it_is_sent()
    {
        await CreateAsync();
        using var connection = await _service.ConnectAsync();
        await connection.WriteHeadAsync("POST", Path, Json, ("Content-Length", "2001"), ("Expect", "100-continue"));
        var answer = await connection.ReadUntilAsync("\"}");
        AssertProblem(answer, 413, "payload-too-large", "the body must be at most 2000 bytes (Limits:MaxBodyBytes), got 2001");
        Assert.DoesNotContain("100 Continue", answer, StringComparison.Ordinal);
        await AssertUntouchedAsync();
    }

    /// <summary>The unread body stands between this request and the next one, so that the connection ends; a client must know.</summary>
    [Fact]
    public async Task A_client_whose_body_is_too_large_is_told_not_to_use_the_connection_again()
    {
        var session = await CreateAsync();
        for (var i = 0; i < 5; i++)
        {
            var answer = (await session.TrainAsync(X.PadRight(2001))).ExpectProblem("payload-too-large");
            Assert.Equal("close", answer.Headers["Connection"]);
            (await session.TrainAsync(X)).Expect(200);
        }
    }

    [Fact]
    public async Task A_body_whose_end_nobody_knows_is_refused_as_soon_as_it_is_too_large()
    {
        await CreateAsync();
        using var connection = await _service.ConnectAsync();
        await connection.WriteHeadAsync("POST", Path, Json, Chunked);
        for (var i = 0; i < 3; i++) await connection.WriteChunkAsync(new string(' ', 1000));
        // It has not ended, and will not.
        AssertProblem(await connection.ReadUntilAsync("\"}"), 413, "payload-too-large", "2000");
        await AssertUntouchedAsync();
    }

    [Fact]
    public async Task A_body_in_chunks_of_one_byte_is_a_body()
    {
        await CreateAsync();
        using var connection = await _service.ConnectAsync();
        await connection.WriteHeadAsync("POST", Path, Json, Chunked, Close);
        foreach (var character in X) await connection.WriteChunkAsync(character.ToString());
        await connection.WriteAsync("0\r\n\r\n");
        Assert.StartsWith("HTTP/1.1 200 ", await connection.ReadToEndAsync(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_request_that_comes_byte_by_byte_is_a_request()
    {
        await CreateAsync();
        using var connection = await _service.ConnectAsync();
        var request = $"POST {Path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nConnection: close\r\n" +
            $"Content-Length: {X.Length}\r\n\r\n{X}";
        foreach (var character in request) await connection.WriteAsync(character.ToString());
        Assert.StartsWith("HTTP/1.1 200 ", await connection.ReadToEndAsync(), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("zz\r\n{}\r\n0\r\n\r\n")]
    [InlineData("-5\r\n{}\r\n0\r\n\r\n")]
    [InlineData("2\r\n{}xx\r\n0\r\n\r\n")]
    [InlineData("ffffffffffffffffff\r\n{}\r\n")]
    public async Task Chunks_that_are_none_are_a_bad_request(string chunks)
    {
        await CreateAsync();
        using var connection = await _service.ConnectAsync();
        await connection.WriteHeadAsync("POST", Path, Json, Chunked);
        await connection.WriteAsync(chunks);
        AssertProblem(await connection.ReadUntilAsync("\"}"), 400, "bad-request", "");
        await AssertUntouchedAsync();
    }

    [Fact]
    public async Task A_body_that_ends_before_its_announced_length_is_a_bad_request()
    {
        await CreateAsync();
        using var connection = await _service.ConnectAsync();
        await connection.WriteHeadAsync("POST", Path, Json, ("Content-Length", $"{X.Length + 1}"));
        await connection.WriteAsync(X);
        connection.EndWriting();
        var answer = await connection.ReadToEndAsync();
        // The service may also drop a connection whose other side has ended; what it must not do is take the body for whole.
        if (answer.Length > 0) AssertProblem(answer, 400, "bad-request", "");
        await AssertUntouchedAsync();
    }

    /// <summary>Kestrel waits five seconds before it holds a client to its minimum rate.</summary>
    [Fact]
    public async Task A_body_that_does_not_come_is_not_waited_for_for_ever()
    {
        await CreateAsync();
        using var connection = await _service.ConnectAsync();
        await connection.WriteHeadAsync("POST", Path, Json, ("Content-Length", $"{X.Length}"));
        await connection.WriteAsync(X[..^1]);
        AssertProblem(await connection.ReadUntilAsync("\"}"), 408, "request-timeout", "");
        await AssertUntouchedAsync();
    }

    [Theory]
    [InlineData("POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n")]
    [InlineData("POST /v1/sessions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n")]
    [InlineData("POST /v1/sessions HTTP/1.1\r\nContent-Length: 0\r\n\r\n")]
    [InlineData("GET /v1/sessions/a%00b HTTP/1.1\r\nHost: localhost\r\n\r\n")]
    [InlineData("GET /v1/sessions HTTP/1.1\r\nHost: localhost\r\nBad Header\r\n\r\n")]
    [InlineData("garbage\r\n\r\n")]
    [InlineData("\0\0\0\0\r\n\r\n")]
    public async Task What_is_no_HTTP_is_refused_and_the_service_goes_on(string request)
    {
        await CreateAsync();
        using var connection = await _service.ConnectAsync();
        await connection.WriteAsync(request);
        Assert.StartsWith("HTTP/1.1 400 ", await connection.ReadUntilAsync("\r\n\r\n"), StringComparison.Ordinal);
        await AssertUntouchedAsync();
    }

    [Theory]
    [InlineData("/v1/sessions/../x")]
    [InlineData("/v1/sessions/%2e%2e/x")]
    [InlineData("/v1/sessions/../../etc/passwd")]
    [InlineData("/v1/sessions/a%2fb/nosuch")]
    [InlineData("/swagger/../appsettings.json")]
    [InlineData("/appsettings.json")]
    [InlineData("/swagger/%2e%2e/%2e%2e/appsettings.json")]
    public async Task A_path_with_tricks_in_it_finds_nothing(string path)
    {
        using var connection = await _service.ConnectAsync();
        await connection.WriteHeadAsync("GET", path, Close);
        AssertProblem(await connection.ReadToEndAsync(), 404, "not-found", "");
    }

    public void Dispose() => _service.Dispose();

    private Task<SessionClient> CreateAsync() => _service.CreateAsync("""{"name":"framing","num_features":2}""");

    private async Task AssertUntouchedAsync() =>
        Assert.Equal(1, (await _service.Client.GetAsync("/v1/sessions/framing")).Expect(200).Version);

    private static void AssertProblem(string answer, int status, string code, string detail)
    {
        Assert.StartsWith($"HTTP/1.1 {status} ", answer, StringComparison.Ordinal);
        Assert.Contains("Content-Type: application/problem+json", answer, StringComparison.OrdinalIgnoreCase);
        // The body may come in one chunk, whose size is not part of it.
        var json = answer[answer.IndexOf('{', StringComparison.Ordinal)..];
        json = json[..(json.LastIndexOf('}') is var end and >= 0 ? end + 1 : json.Length)];
        using var problem = JsonDocument.Parse(json);
        Assert.Equal(code, problem.RootElement.GetProperty("code").GetString());
        Assert.Equal(status, problem.RootElement.GetProperty("status").GetInt32());
        Assert.Contains(detail, problem.RootElement.GetProperty("detail").GetString(), StringComparison.Ordinal);
        var declared = ApiDocument.CheckedIn.Find("POST", Path)!.Element.GetProperty("responses");
        Assert.True(declared.TryGetProperty($"{status}", out _), $"the document does not know status {status}");
    }
}
