using System.Globalization;
using System.Text.Json;

namespace BnService.Api.Tests.Generated;

/// <summary>
/// Requests that are generated from the OpenAPI document, for every operation of it. Each is answered as the document says, never with a 5xx
/// beside the time-out of a synchronized step, and what is refused has changed nothing. BN_SOAK makes it 150,000 of them.
/// </summary>
[Collection(WholeProcess.Name)]
public sealed class GeneratedRequestTests
{
    // So many requests begin with the same sessions and keys; BN_FUZZ_ROUND repeats one such round alone.
    private const int Round = 1000;
    private const long MaxBodyBytes = 1 << 17, EnoughBytes = 64 << 20;

    private static readonly int[] Rounds = Environment.GetEnvironmentVariable("BN_FUZZ_ROUND") is { } only
        ? [int.Parse(only, CultureInfo.InvariantCulture)]
        : [.. Enumerable.Range(0, Soak.Of(8, 150))];

    private readonly Dictionary<string, (int Done, int Refused)> _answers = [];
    private readonly SortedDictionary<int, int> _statuses = [];

    [Fact]
    public async Task Every_answer_is_one_that_the_document_describes()
    {
        var before = await Eventually.SettledAsync(() => Service.RentedBytes);
        using (var keyed = await KeyedService.StartAsync(("Sync:Timeout", "00:00:00.020"), ("Limits:MaxBodyBytes", $"{MaxBodyBytes}"), ("Limits:MaxFeatures", "4096"),
            ("Limits:MaxStatistics", "65536"), ("Limits:MaxSnapshots", "20"), ("Auth:MaxKeys", "50")))
        {
            var surroundings = new Surroundings(keyed);
            foreach (var round in Rounds)
            {
                await surroundings.BeginAsync();
                await SendRoundAsync(keyed.Client, surroundings, round);
                await CheckStatesAsync(surroundings, round);
            }
            await surroundings.EndAsync();
            await Eventually.EqualAsync(0, () => keyed.Service.UsedMemory);
            Assert.InRange(keyed.Service.PeakMemory, 1, EnoughBytes);
        }
        await Eventually.EqualAsync(before, () => Service.RentedBytes);
        // One round alone, which is repeated to look at it, need not reach everything.
        if (Rounds.Length > 1) CheckCoverage();
    }

    private async Task SendRoundAsync(ServiceClient client, Surroundings surroundings, int round)
    {
        var generator = new RequestGenerator(ApiDocument.CheckedIn, surroundings);
        for (var number = 0; number < Round; number++)
        {
            // Scattered: generators of neighbouring seeds begin alike.
            var random = new Random(unchecked((int)((uint)((round * Round) + number + 1) * 2_654_435_761u)));
            var operation = ApiDocument.CheckedIn.Operations[number % ApiDocument.CheckedIn.Operations.Count];
            var request = generator.Next(operation, random);
            try
            {
                await SendAsync(client, surroundings, request);
            }
            catch (Exception exception)
            {
                throw new InvalidOperationException(
                    $"request {number} of round {round} (BN_FUZZ_ROUND={round} repeats it): {exception.Message}\n{request}\nto {request.Session?.Resource}", exception);
            }
        }
    }

    private async Task SendAsync(ServiceClient client, Surroundings surroundings, GeneratedRequest request)
    {
        // The client holds the answer against the document.
        var answer = await request.SendAsync(client);
        await surroundings.LearnAsync(request, answer);
        if (request.Changes) await CheckChangeAsync(surroundings, request, answer);
        var path = request.Path.Split('?')[0];
        if (ApiDocument.CheckedIn.Find(request.Operation.Method, path) != request.Operation) return;
        var (done, refused) = _answers.GetValueOrDefault(request.Operation.Id);
        _answers[request.Operation.Id] = answer.Status < 300 ? (done + 1, refused) : (done, refused + 1);
        _statuses[answer.Status] = _statuses.GetValueOrDefault(answer.Status) + 1;
    }

    // An answer that is not 2xx has changed nothing.
    private static async Task CheckChangeAsync(Surroundings surroundings, GeneratedRequest request, Answer answer)
    {
        var session = request.Session!;
        var resource = await surroundings.ReadAsync(session);
        if (answer.Status >= 300) Assert.True(session.Resource == resource, $"{answer.Status}, and yet the session is now {resource}");
        using var json = JsonDocument.Parse(resource);
        (session.Resource, session.Version) = (resource, json.RootElement.GetProperty("version").GetInt64());
    }

    // Whatever was sent: where what is not finite is refused, none of it is in the state.
    private static async Task CheckStatesAsync(Surroundings surroundings, int round)
    {
        foreach (var session in surroundings.Sessions)
        {
            var state = await surroundings.StateAsync(session);
            var options = state["options"];
            if (options.TryGetProperty("non_finite", out var policy) && policy.GetString() == "propagate") continue;
            foreach (var field in (string[])["gamma", "beta", "running_mean", "running_var"])
            {
                if (state[field].ValueKind != JsonValueKind.Array) continue;
                Assert.True(state.Numbers(field).All(double.IsFinite), $"round {round}: {field} of {session.Name} is {state[field]}");
            }
        }
    }

    // Calls that are always refused, or never, would say nothing of what the document promises.
    private void CheckCoverage()
    {
        Soak.Report($"{Rounds.Length * Round} requests generated from the OpenAPI document: {string.Join(", ", _statuses.Select(status => $"{status.Value} answered {status.Key}"))}; 0 otherwise than it says");
        foreach (var operation in ApiDocument.CheckedIn.Operations)
        {
            var (done, refused) = _answers.GetValueOrDefault(operation.Id);
            Assert.True(done > 0 && refused > 0, $"{operation.Id}: {done} answered, {refused} refused");
        }
        var answered = _answers.Values.Sum(answers => answers.Done);
        Assert.InRange(answered, Rounds.Length * Round / 5, Rounds.Length * Round * 4 / 5);
    }
}
