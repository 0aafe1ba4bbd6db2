namespace BnService.Api.Tests.Memory;

/// <summary>A request for which there is no memory has changed nothing, wherever on its way that was found out.</summary>
[Collection(WholeProcess.Name)]
public sealed class RefusalTests
{
    private const int Budget = 16 << 20;

    public static TheoryData<string, string> Calls => new()
    {
        { """{"num_features":4}""", "train-step" },
        { """{"num_features":4,"track_running_stats":false}""", "train-step" },
        { """{"kind":"layer_norm","normalized_shape":[5]}""", "train-step" },
        { """{"kind":"instance_norm","num_features":4,"track_running_stats":true}""", "train-step" },
        { """{"num_features":4}""", "calibration/batches" },
        { """{"num_features":4}""", "inference" },
        { """{"num_features":4}""", "backward" },
    };

    /// <summary>With a little more room from try to try, memory ends at another place each time.</summary>
    [Theory]
    [MemberData(nameof(Calls))]
    public async Task It_changes_nothing(string options, string call)
    {
        using var service = Service.With(("Memory:BudgetBytes", $"{Budget}"), ("Memory:WaitTime", "00:00:00"));
        var session = await service.CreateAsync(options);
        var x = Batch.Random(1, 200, 4, 5).Json;
        var body = call switch
        {
            "backward" => $$"""{"update":{"optimizer":"sgd"},"x":{{x}},"dy":{{x}} }""",
            "train-step" => $$"""{"x":{{x}},"retain":true}""",
            _ => $$"""{"x":{{x}} }""",
        };
        var (refused, done) = (0, 0);
        for (var room = 0; room < 600_000; room += 8000)
        {
            using var hold = service.Occupy(Budget - room);
            var before = await session.StateAsync();
            var answer = await service.Unchecked.PostAsync($"{session.Path}/{call}", body);
            if (answer.Status == 200)
            {
                done++;
                continue;
            }
            answer.ExpectProblem("overloaded", "Memory:BudgetBytes");
            Assert.Equal("1", answer.Headers["Retry-After"]);
            Assert.Equal(before, await session.StateAsync());
            refused++;
        }
        Assert.True(refused > 5, $"{refused} refused");
        Assert.True(done > 5, $"{done} done");
        Assert.True(service.PeakMemory <= Budget);
    }

    [Theory]
    [InlineData("train-step", ",\"retain\":false")]
    [InlineData("inference", "")]
    public async Task What_is_read_again_for_its_digits_is_given_back(string call, string rest)
    {
        using var service = Service.With(("Memory:BudgetBytes", $"{Budget}"));
        var session = await service.CreateAsync("""{"num_features":1}""");
        (await session.PutRunningStatsAsync("""{"running_mean":[16777218],"running_var":[1]}""")).Expect(200);
        var x = string.Join(',', Enumerable.Range(0, 1000).Select(i => $"[{16777217 + (i % 2)}]"));
        var answer = (await service.Client.PostAsync($"{session.Path}/{call}", $$"""{"x":[{{x}}],"residual":[{{x}}]{{rest}}}""")).Expect(200);
        if (call == "inference") Assert.Equal("precision-lost", answer.Headers["Bn-Warnings"]);
        else Assert.Equal("precision-lost", answer["warnings"][0].GetProperty("code").GetString());
        for (var wait = 0; wait < 100 && service.UsedMemory > 0; wait++) await Task.Delay(20);
        Assert.Equal(0, service.UsedMemory);
    }

    [Fact]
    public async Task Steps_that_are_retained_make_room_the_oldest_first()
    {
        using var service = Service.With(("Memory:BudgetBytes", $"{Budget}"));
        var session = await service.CreateAsync("""{"num_features":16}""");
        var x = Batch.Random(1, 16384, 16); // 1 MiB
        var steps = new List<string>();
        for (var i = 0; i < 30; i++)
            steps.Add((await session.PostAsync("train-step?retain=true", Forms.Npy, ArrayFile.Of(x))).Expect(200).Headers["Bn-Step-Id"]);
        Assert.InRange(service.RetainedBytes, 4 << 20, Budget);
        Assert.True(service.PeakMemory <= Budget);
        (await session.BackwardAsync(steps[0], x)).ExpectProblem("step-expired");
        (await session.PostAsync($"backward?step_id={steps[^1]}", Forms.Npy, ArrayFile.Of(x))).Expect(200);
    }
}
