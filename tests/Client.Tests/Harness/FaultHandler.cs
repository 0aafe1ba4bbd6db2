using System.Net;

namespace BnService.Client.Tests.Harness;

/// <summary>What goes wrong with a request.</summary>
public enum Fault
{
    /// <summary>Nothing.</summary>
    None,

    /// <summary>The connection is refused.</summary>
    Refused,

    /// <summary>The connection is lost before the service has the request.</summary>
    LostBefore,

    /// <summary>The connection is lost after the service has answered.</summary>
    LostAfter,

    /// <summary>The connection is lost in the midst of the answer.</summary>
    Truncated,

    /// <summary>No answer comes.</summary>
    Hung,

    /// <summary>429 without asking the service.</summary>
    TooMany,

    /// <summary>503 without asking the service.</summary>
    Unavailable,

    /// <summary>502 of something in between, which the service has answered.</summary>
    BadGateway,
}

/// <summary>Stands between client and service, lets things go wrong in the order that a test says, and remembers every request.</summary>
public sealed class FaultHandler(params Fault[] faults) : DelegatingHandler
{
    private readonly Queue<Fault> _faults = new(faults);

    /// <summary>Requests that came, with their bodies.</summary>
    public List<(HttpMethod Method, string Path, string? Key, byte[] Body, string? Authorization)> Requests { get; } = [];

    /// <summary>The keys of the requests.</summary>
    public IEnumerable<string?> Keys => Requests.Select(request => request.Key);

    /// <summary>What the answers 429 and 503 ask to wait; null for nothing.</summary>
    public TimeSpan? RetryAfter { get; init; }

    /// <summary>What happens after the service has answered a request whose answer is lost.</summary>
    public Func<Task> AfterLoss { get; set; } = () => Task.CompletedTask;

    /// <summary>Lets more go wrong.</summary>
    public void Next(params Fault[] more)
    {
        foreach (var fault in more) _faults.Enqueue(fault);
    }

    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        var body = request.Content is null ? [] : await request.Content.ReadAsByteArrayAsync(cancellationToken);
        var key = request.Headers.TryGetValues("Idempotency-Key", out var keys) ? Assert.Single(keys) : null;
        Requests.Add((request.Method, request.RequestUri!.PathAndQuery, key, body, request.Headers.Authorization?.ToString()));
        var fault = _faults.TryDequeue(out var next) ? next : Fault.None;
        switch (fault)
        {
            case Fault.Refused: throw new HttpRequestException(HttpRequestError.ConnectionError, "refused");
            case Fault.LostBefore: throw new HttpRequestException(HttpRequestError.ResponseEnded, "lost");
            case Fault.Hung:
                await Task.Delay(Timeout.Infinite, cancellationToken);
                break;
            case Fault.TooMany: return Refusal(HttpStatusCode.TooManyRequests, "too-many-requests");
            case Fault.Unavailable: return Refusal(HttpStatusCode.ServiceUnavailable, "overloaded");
        }
        var response = await base.SendAsync(request, cancellationToken);
        switch (fault)
        {
            case Fault.LostAfter:
                await response.Content.LoadIntoBufferAsync(cancellationToken);
                response.Dispose();
                await AfterLoss();
                throw new HttpRequestException(HttpRequestError.ResponseEnded, "lost");
            case Fault.BadGateway:
                await response.Content.LoadIntoBufferAsync(cancellationToken);
                response.Dispose();
                return new HttpResponseMessage(HttpStatusCode.BadGateway) { Content = new StringContent("<html>nobody there</html>") };
            case Fault.Truncated:
                var answer = await response.Content.ReadAsByteArrayAsync(cancellationToken);
                var half = new ByteArrayContent(answer[..(answer.Length / 2)]);
                foreach (var (name, values) in response.Content.Headers) half.Headers.TryAddWithoutValidation(name, values);
                half.Headers.ContentLength = answer.Length;
                response.Content = half;
                await AfterLoss();
                return response;
            default: return response;
        }
    }

    private HttpResponseMessage Refusal(HttpStatusCode status, string code)
    {
        var problem = $$"""{"type":"/problems/{{code}}","title":"t","status":{{(int)status}},"detail":"not now","code":"{{code}}","trace_id":"of the test"}""";
        var response = new HttpResponseMessage(status) { Content = new StringContent(problem, null, "application/problem+json") };
        if (RetryAfter is { } wait) response.Headers.RetryAfter = new System.Net.Http.Headers.RetryConditionHeaderValue(wait);
        return response;
    }
}
