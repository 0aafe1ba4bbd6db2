using BnService.Client.Tests.Harness;

namespace BnService.Client.Tests;

/// <summary>What is lost, refused for a while or cut short is asked for again, and counts once.</summary>
public sealed class RepetitionTests
{
    private readonly Batch _x = Batch.Random(7, 16, 3);

    [Theory]
    [InlineData(Fault.Refused)]
    [InlineData(Fault.LostBefore)]
    [InlineData(Fault.LostAfter)]
    [InlineData(Fault.Truncated)]
    [InlineData(Fault.TooMany)]
    [InlineData(Fault.Unavailable)]
    [InlineData(Fault.BadGateway)]
    public async Task A_train_step_counts_once_whatever_happens_to_it(Fault fault)
    {
        using var client = new ClientOfService();
        var (layer, undisturbed) = (await client.BatchNormAsync("a", 3), await client.BatchNormAsync("b", 3));
        using var expected = await undisturbed.TrainStepAsync(_x.Data, _x.Shape);
        client.Faults.Requests.Clear();
        client.Faults.Next(fault, Fault.None, fault, fault);
        using var first = await layer.TrainStepAsync(_x.Data, _x.Shape);
        using var second = await layer.TrainStepAsync(_x.Data, _x.Shape);
        Assert.Equal(expected.Y.ToArray(), first.Y.ToArray());
        Assert.Equal(expected.BatchVar, second.BatchVar);
        Assert.Equal((1, 2), (first.NumBatchesTracked, second.NumBatchesTracked));
        Assert.Equal((2, 3), (first.Version, second.Version));
        // One key for each step, and the same bytes each time.
        Assert.Equal(5, client.Faults.Requests.Count);
        Assert.Equal(2, client.Faults.Keys.Distinct().Count());
        Assert.All(client.Faults.Requests, request => Assert.Equal(client.Faults.Requests[0].Body, request.Body));
        Assert.Equal(2, (await layer.StatsAsync()).NumBatchesTracked);
    }

    [Theory]
    [InlineData(Fault.LostAfter)]
    [InlineData(Fault.Truncated)]
    [InlineData(Fault.Unavailable)]
    public async Task An_update_a_calibration_batch_a_commit_and_a_merge_count_once(Fault fault)
    {
        using var client = new ClientOfService();
        var (layer, undisturbed) = (await client.BatchNormAsync("a", 3), await client.BatchNormAsync("b", 3));
        foreach (var session in new[] { undisturbed, layer })
        {
            void Disturb()
            {
                if (session == layer) client.Faults.Next(fault);
            }
            using var step = await session.TrainStepAsync(_x.Data, _x.Shape);
            Disturb();
            using var gradients = await session.BackwardAsync(step, _x.Data, new BackwardOptions { Update = ParameterUpdate.Adam(0.05) });
            Assert.False(gradients.FollowUpdate);
            Disturb();
            Assert.Equal(16, (await session.AddCalibrationBatchAsync(_x.Data, _x.Shape)).Count);
            Disturb();
            Assert.Equal(18, (await session.MergeAsync([new Moments(2, [1, 2, 3], [0.5, 1, 2])])).Count);
            Disturb();
            Assert.Equal(2, (await session.CommitCalibrationAsync()).NumBatchesTracked);
        }
        Assert.Equal(await undisturbed.ExportStateAsync(), await layer.ExportStateAsync());
    }

    [Fact]
    public async Task Retry_after_is_waited_for_and_without_it_the_waits_grow()
    {
        using var asked = new ClientOfService(new Service(), new FaultHandler(Fault.None, Fault.Unavailable, Fault.TooMany) { RetryAfter = TimeSpan.FromSeconds(7) });
        var layer = await asked.BatchNormAsync("a", 3);
        await layer.StatsAsync();
        Assert.Equal([TimeSpan.FromSeconds(7), TimeSpan.FromSeconds(7)], asked.Time.Waits);

        using var unasked = new ClientOfService(new Service(), new FaultHandler([.. Enumerable.Repeat(Fault.Refused, 8)]));
        await unasked.BatchNormAsync("a", 3);
        Assert.Equal(8, unasked.Time.Waits.Count);
        for (var i = 0; i < 8; i++)
        {
            var most = Math.Min(5000, 100 * Math.Pow(2, i));
            Assert.InRange(unasked.Time.Waits[i].TotalMilliseconds, most / 2, most);
        }
    }

    [Fact]
    public async Task Repetitions_end_by_number_by_time_and_where_the_service_asks_for_more_time_than_there_is()
    {
        using var client = new ClientOfService(new Service(), new FaultHandler([.. Enumerable.Repeat(Fault.LostBefore, 4)]), options => options.MaxRetries = 3);
        var lost = await Assert.ThrowsAsync<BnServiceException>(() => client.BatchNormAsync("a", 3));
        Assert.Equal((ProblemCodes.ConnectionLost, 4, true), (lost.Code, lost.Attempts, lost.MayHaveHappened));
        Assert.Null(lost.Status);

        using var timed = new ClientOfService(new Service(), new FaultHandler([.. Enumerable.Repeat(Fault.Refused, 100)]), options =>
            (options.MaxRetries, options.RetryTime) = (1000, TimeSpan.FromSeconds(20)));
        var refused = await Assert.ThrowsAsync<BnServiceException>(() => timed.BatchNormAsync("a", 3));
        Assert.False(refused.MayHaveHappened);
        Assert.InRange(timed.Time.Waits.Sum(wait => wait.TotalSeconds), 10, 20);

        using var far = new ClientOfService(new Service(), new FaultHandler(Fault.Unavailable) { RetryAfter = TimeSpan.FromHours(0.5) });
        var unavailable = await Assert.ThrowsAsync<BnServiceException>(() => far.BatchNormAsync("a", 3));
        Assert.Equal((ProblemCodes.Overloaded, 1, TimeSpan.FromHours(0.5)), (unavailable.Code, unavailable.Attempts, unavailable.RetryAfter));
        Assert.Empty(far.Time.Waits);
    }

    [Fact]
    public async Task A_problem_that_does_not_pass_is_thrown_at_once_with_all_that_it_says()
    {
        using var client = new ClientOfService();
        var layer = await client.BatchNormAsync("a", 3);
        var small = await Assert.ThrowsAsync<BnServiceException>(() => layer.TrainStepAsync(new float[3], [1, 3]));
        Assert.Equal((ProblemCodes.BatchTooSmall, 422, 1, false), (small.Code, (int)small.Status!, small.Attempts, small.MayHaveHappened));
        Assert.False(string.IsNullOrEmpty(small.TraceId));
        Assert.Contains("value", small.Detail, StringComparison.Ordinal);
        Assert.Contains(small.Detail, small.Message, StringComparison.Ordinal);
        foreach (var (call, code) in new (Func<Task>, string)[]
        {
            (() => client.Client.Session("nobody").StatsAsync(), ProblemCodes.SessionNotFound),
            (() => client.BatchNormAsync("a", 3), ProblemCodes.SessionExists),
            (() => client.Client.CreateSessionAsync("b", new BatchNormOptions { NumFeatures = 3, Eps = -1 }), ProblemCodes.InvalidOption),
            (() => layer.TrainStepAsync(new float[8], [2, 4]), ProblemCodes.ShapeMismatch),
            (() => layer.TrainStepAsync(new[] { 1f, 2, float.NaN, 4, 5, 6 }, [2, 3]), ProblemCodes.NonFiniteInput),
            (() => layer.TrainStepAsync(_x.Data, _x.Shape, new TrainStepOptions { IfMatch = 9 }), ProblemCodes.VersionConflict),
            (() => layer.InferAsync(_x.Data, _x.Shape, new InferOptions { Version = 5 }), ProblemCodes.VersionNotFound),
        })
            Assert.Equal(code, (await Assert.ThrowsAsync<BnServiceException>(call)).Code);
        Assert.Empty(client.Time.Waits);
        Assert.Equal(1, (await layer.GetAsync()).Version);
    }

    [Fact]
    public async Task Cancellation_ends_a_call_before_in_and_between_its_attempts()
    {
        using var client = new ClientOfService();
        var layer = await client.BatchNormAsync("a", 3);
        using var cancelled = new CancellationTokenSource();
        await cancelled.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => layer.StatsAsync(cancelled.Token));

        using var during = new CancellationTokenSource();
        client.Faults.AfterLoss = during.CancelAsync;
        client.Faults.Next(Fault.LostAfter);
        var sent = client.Faults.Requests.Count;
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => layer.StatsAsync(during.Token));
        Assert.Equal(sent + 1, client.Faults.Requests.Count);

        // A wait that takes as long as the clock that everybody has.
        using var waiting = new CancellationTokenSource();
        var slow = new FaultHandler(Fault.Unavailable) { RetryAfter = TimeSpan.FromMinutes(30) };
        using var other = new ClientOfService(new Service(), slow, options => (options.Time, options.RetryTime) = (TimeProvider.System, TimeSpan.FromHours(1)));
        var call = other.Client.Session("a").StatsAsync(waiting.Token);
        await Eventually.TrueAsync(() => slow.Requests.Count == 1, "nothing was sent");
        await waiting.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => call);
    }

    [Fact]
    public async Task A_session_that_a_lost_attempt_has_created_is_the_one_and_anothers_is_not()
    {
        using var client = new ClientOfService(Fault.LostAfter);
        var layer = await client.Client.CreateSessionAsync("a", new BatchNormOptions { NumFeatures = 3, Momentum = Momentum.Cumulative, Activation = Activation.Relu },
            new Dictionary<string, string> { ["team"] = "search" });
        Assert.Equal("search", (await layer.GetAsync()).Labels["team"]);
        client.Faults.Next(Fault.LostAfter);
        await client.Client.CreateSessionAsync("k", new BatchNormOptions { NumFeatures = 3, Momentum = 0.99 }, convention: Convention.Keras);

        client.Faults.Next(Fault.LostBefore);
        var other = await Assert.ThrowsAsync<BnServiceException>(() => client.BatchNormAsync("a", 4));
        Assert.Equal(ProblemCodes.SessionExists, other.Code);
        using var step = await layer.TrainStepAsync(_x.Data, _x.Shape);
        client.Faults.Next(Fault.LostBefore);
        Assert.Equal(ProblemCodes.SessionExists, (await Assert.ThrowsAsync<BnServiceException>(() => client.Client.CreateSessionAsync("a",
            new BatchNormOptions { NumFeatures = 3, Momentum = Momentum.Cumulative, Activation = Activation.Relu }, new Dictionary<string, string> { ["team"] = "search" }))).Code);

        // One without a name would be made twice.
        client.Faults.Next(Fault.LostAfter);
        var nameless = await Assert.ThrowsAsync<BnServiceException>(() => client.Client.CreateSessionAsync(null, new BatchNormOptions { NumFeatures = 3 }));
        Assert.Equal((1, true), (nameless.Attempts, nameless.MayHaveHappened));
    }

    [Fact]
    public async Task What_a_lost_attempt_has_deleted_is_gone()
    {
        using var client = new ClientOfService();
        var layer = await client.BatchNormAsync("a", 3);
        var snapshot = await layer.CreateSnapshotAsync();
        client.Faults.Next(Fault.LostAfter, Fault.None, Fault.LostAfter);
        await layer.DeleteSnapshotAsync(snapshot.Version);
        await layer.DeleteAsync();
        Assert.Equal(ProblemCodes.SessionNotFound, (await Assert.ThrowsAsync<BnServiceException>(() => layer.DeleteAsync())).Code);
    }

    [Fact]
    public async Task A_session_without_a_name_is_asked_for_again_only_where_it_cannot_have_been_made()
    {
        using var client = new ClientOfService(Fault.Refused, Fault.TooMany, Fault.Unavailable);
        await client.Client.CreateSessionAsync(null, new BatchNormOptions { NumFeatures = 3 });
        client.Faults.Next(Fault.BadGateway);
        var lost = await Assert.ThrowsAsync<BnServiceException>(() => client.Client.CreateSessionAsync(null, new BatchNormOptions { NumFeatures = 3 }));
        Assert.Equal((ProblemCodes.ConnectionLost, 1, true), (lost.Code, lost.Attempts, lost.MayHaveHappened));
    }

    [Fact]
    public async Task The_version_that_a_lost_attempt_has_moved_itself_is_no_conflict()
    {
        using var client = new ClientOfService();
        var layer = await client.BatchNormAsync("a", 3);
        client.Faults.Next(Fault.LostAfter);
        using var step = await layer.TrainStepAsync(_x.Data, _x.Shape, new TrainStepOptions { IfMatch = 1 });
        client.Faults.Next(Fault.LostAfter);
        using var gradients = await layer.BackwardAsync(step, _x.Data, new BackwardOptions { Update = ParameterUpdate.Sgd(0.1), IfMatch = 2 });
        Assert.Equal((2, 3), (step.Version, gradients.Version));
    }

    [Fact]
    public async Task An_attempt_that_takes_too_long_is_given_up_and_made_again()
    {
        var time = new ManualTime();
        using var client = new ClientOfService(new Service(), new FaultHandler(Fault.None, Fault.Hung),
            options => (options.Time, options.AttemptTimeout, options.RetryTime) = (time, TimeSpan.FromHours(20), TimeSpan.FromDays(10)));
        var layer = await client.BatchNormAsync("a", 3);
        var training = layer.TrainStepAsync(_x.Data, _x.Shape);
        await Eventually.TrueAsync(() => client.Faults.Requests.Count == 2, "nothing was sent");
        Assert.False(training.IsCompleted);
        time.AdvanceBy(TimeSpan.FromHours(21));
        using var step = await time.PassAsync(training);
        Assert.Equal(1, step.NumBatchesTracked);
        Assert.Equal(3, client.Faults.Requests.Count);
    }

    [Fact]
    public async Task A_body_that_is_too_large_is_refused_before_it_is_sent_and_not_taken_for_a_lost_connection()
    {
        using var service = Service.OnKestrel(("Limits:MaxBodyBytes", "1000000"));
        var layer = await new BnClient(service.Address).CreateSessionAsync("a", new BatchNormOptions { NumFeatures = 64 });
        var refused = await Assert.ThrowsAsync<BnServiceException>(() => layer.TrainStepAsync(new float[16_000_000], [250_000, 64]));
        Assert.Equal(ProblemCodes.PayloadTooLarge, refused.Code);
        using var step = await layer.TrainStepAsync(_x.As(8, 6).Data.Concat(new float[80]).ToArray(), [2, 64]);
        Assert.Equal(1, step.NumBatchesTracked);
    }
}
