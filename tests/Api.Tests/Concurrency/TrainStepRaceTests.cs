using BnService.Api.Storage;
using Microsoft.Extensions.DependencyInjection;

namespace BnService.Api.Tests.Concurrency;

/// <summary>Many calls on one session at once: the outcome is that of some order of them, and none is lost.</summary>
public sealed class TrainStepRaceTests
{
    private const int Steps = 64;

    /// <summary>A plain average does not depend on the order, so that it must be exact.</summary>
    [Fact]
    public async Task The_cumulative_average_of_64_steps_at_once_is_the_average_of_all()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"num_features":5,"momentum":null}""");
        var batches = Batches(channels: 5);
        await TrainAllAsync(batches, _ => session);
        var stats = await session.StatsAsync();
        Assert.Equal(Steps, stats["num_batches_tracked"].GetInt64());
        Assert.Equal(Steps + 1, stats.Version);
        var layer = new ReferenceLayer(5);
        var all = batches.Select(layer.StatisticsOf).ToList();
        var expected = new ReferenceStatistics(
            [.. Enumerable.Range(0, 5).Select(c => all.Sum(batch => batch.Mean[c]) / Steps)],
            [.. Enumerable.Range(0, 5).Select(c => all.Sum(batch => batch.Unbiased[c]) / Steps)], 0);
        Accuracy.Running_statistics_are(expected, batches[0], stats);
    }

    /// <summary>A moving average does depend on it: the answers say in which order the steps were made.</summary>
    [Fact]
    public async Task The_moving_average_of_64_steps_at_once_is_that_of_the_order_that_their_answers_tell()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"num_features":5,"momentum":0.1}""");
        var batches = Batches(channels: 5);
        await AssertSerialAsync(batches, await TrainAllAsync(batches, _ => session), session);
    }

    /// <summary>
    /// Two processes on one store: each knows of the other's steps only because its own commits fail. A commit that is not tried again,
    /// or that does not start from what the other has left, shows here every time.
    /// </summary>
    [Fact]
    public async Task Steps_through_two_services_on_one_store_are_one_order_of_steps()
    {
        var store = new WatchedStore();
        using var one = Service.Replacing(services => services.AddSingleton<ISessionStore>(store));
        using var other = Service.Replacing(services => services.AddSingleton<ISessionStore>(store));
        var session = await one.CreateAsync("""{"name":"shared","num_features":5}""");
        var same = new SessionClient(other.Client, "shared");
        (await same.GetAsync()).Expect(200);
        var batches = Batches(channels: 5);
        var answers = await TrainAllAsync(batches, i => i % 2 == 0 ? session : same);
        // The last step's service is the one that has seen all.
        var last = answers.ToList().FindIndex(answer => answer.Version == Steps + 1);
        await AssertSerialAsync(batches, answers, last % 2 == 0 ? session : same);
    }

    [Fact]
    public async Task Every_answer_of_steps_at_once_is_normalized_with_its_own_batch()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"num_features":5}""");
        var batches = Batches(channels: 5);
        var answers = await TrainAllAsync(batches, _ => session);
        for (var i = 0; i < Steps; i++)
        {
            var layer = new ReferenceLayer(5);
            Accuracy.Outputs_are(layer.Train(batches[i]), batches[i], answers[i].Tensor("y"));
            Accuracy.Batch_statistics_are(layer.StatisticsOf(batches[i]), batches[i], answers[i]);
        }
    }

    [Fact]
    public async Task Steps_and_updates_at_once_are_all_counted()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"num_features":3}""");
        var (x, dy) = (Batch.Random(1, 16, 3), Batch.Random(2, 16, 3));
        var step = (await session.TrainAsync(x, retain: true)).Expect(200).StepId!;
        // The gradient does not depend on gamma's moves where it goes through the step; with plain SGD neither does the sum of the updates.
        const string update = """{"optimizer":"sgd","learning_rate":0.01}""";
        var answers = await Task.WhenAll(Enumerable.Range(0, Steps).Select(i => Task.Run(() =>
            i % 4 == 3 ? session.TrainAsync(x) : session.BackwardAsync(step, dy, update))));
        Assert.Equal(Enumerable.Range(3, Steps).Select(version => (long)version), answers.Select(answer => answer.Expect(200).Version).Order());
        var stats = await session.StatsAsync();
        Assert.Equal(1 + (Steps / 4), stats["num_batches_tracked"].GetInt64());
        var gradient = answers[0].Numbers("dgamma");
        var updates = Steps - (Steps / 4);
        Accuracy.Doubles_are([.. gradient.Select(value => 1 - (updates * 0.01 * value))], stats.Numbers("gamma"), "gamma");
    }

    [Fact]
    public async Task Momentum_of_updates_at_once_is_that_of_some_order()
    {
        using var service = new Service();
        var session = await service.CreateAsync("""{"num_features":3}""");
        var (x, dy) = (Batch.Random(1, 16, 3), Batch.Random(2, 16, 3));
        var step = (await session.TrainAsync(x, retain: true)).Expect(200).StepId!;
        // All gradients are equal, so that any order is the same order.
        const string update = """{"optimizer":"sgd","learning_rate":0.01,"momentum":0.9}""";
        var answers = await Task.WhenAll(Enumerable.Range(0, Steps).Select(_ => Task.Run(() => session.BackwardAsync(step, dy, update))));
        var (optimizer, gamma) = (new ReferenceSgd { LearningRate = 0.01, Momentum = 0.9 }, (double[])[1, 1, 1]);
        foreach (var answer in answers.OrderBy(answer => answer.Expect(200).Version))
        {
            gamma = optimizer.After(gamma, answer.Numbers("dgamma"));
            Accuracy.Doubles_are(gamma, answer.Numbers("gamma"), "gamma");
        }
        (await session.StatsAsync()).ExpectNumbers("gamma", answers.MaxBy(answer => answer.Version)!.Numbers("gamma"));
    }

    private static Batch[] Batches(int channels) => [.. Enumerable.Range(0, Steps).Select(i => Batch.Random(1000 + i, 4 + (i % 13), channels))];

    private static Task<Answer[]> TrainAllAsync(Batch[] batches, Func<int, SessionClient> session) =>
        Task.WhenAll(batches.Select((x, i) => Task.Run(() => session(i).TrainAsync(x))));

    private static async Task AssertSerialAsync(Batch[] batches, Answer[] answers, SessionClient session)
    {
        var order = Enumerable.Range(0, Steps).OrderBy(i => answers[i].Expect(200).Version).ToList();
        Assert.Equal(Enumerable.Range(2, Steps).Select(version => (long)version), order.Select(i => answers[i].Version));
        Assert.Equal(Enumerable.Range(1, Steps).Select(count => (long)count), order.Select(i => answers[i]["num_batches_tracked"].GetInt64()));
        var layer = new ReferenceLayer(5);
        foreach (var i in order) layer.Train(batches[i]);
        var stats = await session.StatsAsync();
        Assert.Equal(Steps + 1, stats.Version);
        Accuracy.Running_statistics_are(layer.Running, batches[0], stats);
        var last = stats["last_batch"].GetProperty("mean").EnumerateArray().Select(mean => mean.GetDouble());
        Assert.Equal(answers[order[^1]].Numbers("batch_mean"), last);
    }
}
