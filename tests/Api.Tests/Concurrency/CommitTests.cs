using BnService.Api.Storage;
using Microsoft.Extensions.DependencyInjection;

namespace BnService.Api.Tests.Concurrency;

/// <summary>
/// The moments around a commit, one after the other: what a race of two nodes hits once in a thousand times happens here every time.
/// </summary>
public sealed class CommitTests : IDisposable
{
    private static readonly Batch X = Batch.Random(1, 16, 3), Other = Batch.Random(2, 16, 3);

    private readonly WatchedStore _store = new();
    private readonly Service _service, _otherNode;

    public CommitTests()
    {
        _service = Service.Replacing(services => services.AddSingleton<ISessionStore>(_store));
        _otherNode = Service.Replacing(services => services.AddSingleton<ISessionStore>(_store));
    }

    [Fact]
    public async Task A_step_that_another_one_overtakes_is_made_on_what_that_one_has_left()
    {
        var session = await _service.CreateAsync("""{"num_features":3}""");
        _store.BeforeNextUpdate = async () => Assert.Equal(2, (await Elsewhere(session).TrainAsync(Other)).Expect(200).Version);
        var answer = (await session.TrainAsync(X)).Expect(200);
        Assert.Equal(3, answer.Version);
        Assert.Equal(2, answer["num_batches_tracked"].GetInt64());
        var layer = new ReferenceLayer(3);
        layer.Train(Other);
        Accuracy.Outputs_are(layer.Train(X), X, answer.Tensor("y"));
        Accuracy.Running_statistics_are(layer.Running, X, await session.StatsAsync());
    }

    [Fact]
    public async Task Steps_that_wait_together_are_one_write_and_each_is_answered_with_its_own_state()
    {
        var session = await _service.CreateAsync("""{"num_features":3}""");
        var (writes, isHeld) = (0, new TaskCompletionSource());
        _store.BeforeNextUpdate = () => isHeld.Task;
        var first = session.TrainAsync(X);
        await Eventually.EqualAsync(true, () => _store.BeforeNextUpdate is null);
        // While the first is being stored the others come, one of which is refused for itself alone.
        var others = Enumerable.Range(2, 6).Select(seed => session.TrainAsync(Batch.Random(seed, 16, 3))).ToList();
        var refused = session.TrainAsync($$"""{"x":{{X.Json}},"retain":false}""", ("If-Match", "\"1\""));
        await Eventually.EqualAsync(7, () => _service.WaitingChanges(session.Name));
        _store.AfterEachUpdate = () => writes++;
        isHeld.SetResult();
        Assert.Equal(2, (await first).Expect(200).Version);
        (await refused).ExpectProblem("version-conflict");
        var answers = (await Task.WhenAll(others)).Select(answer => answer.Expect(200)).ToList();
        Assert.Equal([3, 4, 5, 6, 7, 8], answers.Select(answer => answer.Version).Order());
        Assert.Equal([2, 3, 4, 5, 6, 7], answers.Select(answer => answer["num_batches_tracked"].GetInt64()).Order());
        Assert.Equal(8, (await session.GetAsync()).Version);
        Assert.Equal(2, writes);
    }

    [Fact]
    public async Task A_call_with_If_Match_that_is_overtaken_is_refused()
    {
        var session = await _service.CreateAsync("""{"num_features":3}""");
        _store.BeforeNextUpdate = async () => (await Elsewhere(session).TrainAsync(Other)).Expect(200);
        (await session.TrainAsync($$"""{"x":{{X.Json}},"retain":true}""", ("If-Match", "\"1\"")))
            .ExpectProblem("version-conflict", "at version \"2\"");
        Assert.Equal(2, (await session.GetAsync()).Version);
        Assert.Equal(0, _service.RetainedBytes);
    }

    [Fact]
    public async Task An_update_that_is_overtaken_starts_from_the_new_parameters()
    {
        var session = await _service.CreateAsync("""{"num_features":3}""");
        _store.BeforeNextUpdate = async () => (await Elsewhere(session).PutParametersAsync("""{"gamma":[5,6,7]}""")).Expect(200);
        var answer = (await session.BackwardAsync(X, Other, update: """{"optimizer":"sgd","learning_rate":1}""")).Expect(200);
        Accuracy.Doubles_are([.. answer.Numbers("dgamma").Zip((double[])[5, 6, 7], (d, gamma) => gamma - d)], answer.Numbers("gamma"), "gamma");
    }

    [Fact]
    public async Task A_step_whose_session_is_deleted_before_it_is_stored_finds_no_session()
    {
        var session = await _service.CreateAsync("""{"num_features":3}""");
        _store.BeforeNextUpdate = async () => (await session.DeleteAsync()).Expect(204);
        (await session.TrainAsync(X, retain: true)).ExpectProblem("session-not-found");
        Assert.Equal(0, _service.RetainedBytes);
    }

    [Fact]
    public async Task A_step_whose_session_is_replaced_before_it_is_stored_leaves_the_new_one_alone()
    {
        var session = await _service.CreateAsync("""{"name":"replaced","num_features":3}""");
        _store.BeforeNextUpdate = async () =>
        {
            (await session.DeleteAsync()).Expect(204);
            await _service.CreateAsync("""{"name":"replaced","num_features":3}""");
        };
        (await session.TrainAsync(X)).ExpectProblem("session-not-found");
        Assert.Equal(1, (await session.GetAsync()).Expect(200).Version);
    }

    /// <summary>Nobody can ask for its activations any more.</summary>
    [Fact]
    public async Task A_step_whose_session_is_deleted_right_after_it_is_stored_is_not_kept()
    {
        var session = await _service.CreateAsync("""{"num_features":3}""");
        _store.AfterNextUpdate = async () => (await session.DeleteAsync()).Expect(204);
        Assert.Contains((await session.TrainAsync(X, retain: true)).Status, (int[])[200, 404]);
        Assert.Equal(0, _service.RetainedBytes);
    }

    public void Dispose()
    {
        _service.Dispose();
        _otherNode.Dispose();
    }

    private SessionClient Elsewhere(SessionClient session) => new(_otherNode.Client, session.Name);
}
