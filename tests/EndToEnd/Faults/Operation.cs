using System.Globalization;
using System.Net;
using System.Text;

namespace BnService.EndToEnd.Faults;

/// <summary>One of a numbered sequence of changes of a session: two train-steps and an update of gamma and beta, again and again.</summary>
/// <param name="Session">Name of the session.</param>
/// <param name="Number">Its number in the sequence; the same number is the same change.</param>
public sealed record Operation(string Session, int Number)
{
    public const int Features = 4;

    /// <summary>The options of the session.</summary>
    public static string Options(string session) => $$"""{"name":"{{session}}","num_features":{{Features}}}""";

    private bool IsUpdate => Number % 3 == 2;

    private string Path => $"/v1/sessions/{Session}/{(IsUpdate ? "backward" : "train-step")}";

    private string Body
    {
        get
        {
            var seed = HashOf(Session) + (3 * Number);
            var x = Batch.Random(seed, 6, Features);
            return IsUpdate
                ? $$"""{"x":{{x.Json}},"dy":{{Batch.Random(seed + 1, 6, Features).Json}},"update":{"optimizer":"adam","learning_rate":0.01} }"""
                : $$"""{"x":{{x.Json}},"retain":false}""";
        }
    }

    /// <summary>Makes the change.</summary>
    public async Task ApplyAsync(ServiceClient client) => (await client.PostAsync(Path, Body)).Expect(200);

    /// <summary>Asks for the change once, under its own key.</summary>
    /// <returns>The version that it has made; null where it has to be asked for again: nobody answered, or 503.</returns>
    public async Task<long?> TryAsync(HttpClient http, CancellationToken cancellationToken)
    {
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, Path) { Content = new StringContent(Body, Encoding.UTF8, "application/json") };
            request.Headers.Add("Idempotency-Key", Number.ToString(CultureInfo.InvariantCulture));
            using var answer = await http.SendAsync(request, cancellationToken);
            var text = await answer.Content.ReadAsStringAsync(cancellationToken);
            if (answer.StatusCode == HttpStatusCode.ServiceUnavailable)
            {
                Assert.True(answer.Headers.Contains("Retry-After"), text);
                return null;
            }
            Assert.True(answer.StatusCode == HttpStatusCode.OK, $"{Path} answered {(int)answer.StatusCode}: {text}");
            return long.Parse(answer.Headers.ETag!.Tag.Trim('"'), CultureInfo.InvariantCulture);
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException or OperationCanceledException)
        {
            return null;
        }
    }

    // The same in every process, unlike the one of string.
    private static int HashOf(string text) => text.Aggregate(17, (hash, letter) => (hash * 31) + letter) & 0xFFFFF;
}

/// <summary>A session to which operations are applied one after the other, by a service that nothing happens to.</summary>
public sealed class Replay : IDisposable
{
    private readonly Service _service = new();
    private readonly Dictionary<string, int> _applied = [];

    /// <summary>The state of a session after the first of its operations.</summary>
    /// <param name="session">Its name.</param>
    /// <param name="count">How many; not fewer than were asked for before.</param>
    public Task<string> StateAfterAsync(string session, int count) =>
        StateAfterAsync(session, Enumerable.Range(0, count).Select(number => new Operation(session, number)).ToList());

    /// <summary>The state of a session after operations in an order.</summary>
    /// <param name="session">Its name.</param>
    /// <param name="operations">The operations, of which those that were applied before are the first.</param>
    public async Task<string> StateAfterAsync(string session, IReadOnlyList<Operation> operations)
    {
        if (!_applied.TryGetValue(session, out var applied)) await _service.CreateAsync(Operation.Options(session));
        foreach (var operation in operations.Skip(applied)) await operation.ApplyAsync(_service.Client);
        _applied[session] = operations.Count;
        return (await new SessionClient(_service.Client, session).GetStateAsync()).Expect(200).Text;
    }

    public void Dispose() => _service.Dispose();
}
