using BnService.Api.Hosting;
using BnService.Api.Storage;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;

namespace BnService.Api.Tests.Problems;

/// <summary>What a client cannot cause: the service's own failures.</summary>
public sealed class UnexpectedTests
{
    private const string X = """{"x":[[1,2],[3,4]]}""";

    [Fact]
    public async Task A_defect_is_answered_without_its_inner_life()
    {
        const string secret = "the password is 1234";
        var store = new WatchedStore();
        using var service = Service.Replacing(services => services.AddSingleton<ISessionStore>(store));
        var session = await service.CreateAsync("""{"num_features":2}""");
        var before = await session.StateAsync();
        store.BeforeNextUpdate = () => throw new IOException(secret);
        var answer = await service.Unchecked.PostAsync($"{session.Path}/train-step", X);
        answer.ExpectProblem("internal-error");
        Assert.Equal("application/problem+json", answer.ContentType);
        Assert.DoesNotContain(secret, answer.Text, StringComparison.Ordinal);
        Assert.Contains("trace_id", answer.Detail, StringComparison.Ordinal);

        // What the store does not have was not acknowledged, and is not there.
        Assert.Equal(before, await session.StateAsync());
        Assert.Equal(0, service.RetainedBytes);
        Assert.Equal(1, (await session.TrainAsync(X)).Expect(200)["num_batches_tracked"].GetInt64());
    }

    [Fact]
    public async Task A_service_that_stops_says_when_to_come_back()
    {
        using var service = Service.Replacing(services => services.AddSingleton(new Readiness(new StoppingLifetime(), new WatchedStore())));
        var answer = (await service.Client.GetAsync("/health/ready")).ExpectProblem("overloaded");
        Assert.Equal("1", answer.Headers["Retry-After"]);
        (await service.Client.GetAsync("/health/live")).Expect(200);
    }

    [Fact]
    public async Task A_service_that_runs_is_alive_and_ready()
    {
        using var service = new Service();
        foreach (var path in (string[])["/health/live", "/health/ready"])
            Assert.Equal("""{"status":"healthy"}""", (await service.Client.GetAsync(path)).Expect(200).Text);
    }

    private sealed class StoppingLifetime : IHostApplicationLifetime
    {
        public CancellationToken ApplicationStarted => new(canceled: true);

        public CancellationToken ApplicationStopping => new(canceled: true);

        public CancellationToken ApplicationStopped => CancellationToken.None;

        public void StopApplication() => throw new NotSupportedException();
    }
}
