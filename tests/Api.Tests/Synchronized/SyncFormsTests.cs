namespace BnService.Api.Tests.Synchronized;

/// <summary>Parts of a batch in every form, small and streamed: each rank speaks its own.</summary>
public sealed class SyncFormsTests(Service service) : IClassFixture<Service>
{
    public static TheoryData<string, string, string> Mixtures => new()
    {
        { Forms.Json, Forms.Safetensors, Forms.Npy },
        { Forms.Safetensors, Forms.Safetensors, Forms.Safetensors },
        { Forms.Npy, Forms.Npy, Forms.Npy },
        { Forms.Npy, Forms.Json, Forms.Safetensors },
    };

    [Theory]
    [MemberData(nameof(Mixtures))]
    public async Task Each_rank_is_answered_in_its_form_what_it_would_be_answered_in_JSON(string first, string second, string third)
    {
        string[] forms = [first, second, third];
        int[] from = [0, 4, 4, 9];
        Batch Part(Batch batch, int rank) => batch.Rows(from[rank], from[rank + 1] - from[rank]);
        var (session, twin) = (await service.CreateAsync("""{"num_features":3,"activation":"relu"}"""), await service.CreateAsync("""{"num_features":3,"activation":"relu"}"""));
        var (group, inJson) = (new RankGroup(session, service.Client, 3), new RankGroup(twin, service.Client, 3));
        for (var step = 1; step <= 3; step++)
        {
            var (x, dy) = (Batch.Random(step, 9, 3, 4), Batch.Random(10 + step, 9, 3, 4));
            var expected = await inJson.AllAsync(200, rank => inJson.TrainAsync(rank, Part(x, rank), retain: true));
            var answers = await group.AllAsync(200, rank => group.PostAsync("train-step", rank, Message.Of(Part(x, rank)).With("retain", "true"), forms[rank]));
            for (var rank = 0; rank < 3; rank++) SameAnswer.In(expected[rank], answers[rank], "step_id");
            string StepOf(Answer answer) => answer.ContentType switch
            {
                Forms.Npy => answer.Headers["Bn-Step-Id"],
                Forms.Safetensors => answer.Tensors.Texts["step_id"],
                _ => answer.StepId!,
            };
            var gradients = await inJson.AllAsync(200, rank => inJson.BackwardAsync(rank, $$"""{"step_id":"{{expected[rank].StepId}}","dy":{{Part(dy, rank).Json}}}"""));
            answers = await group.AllAsync(200, rank =>
                group.PostAsync("backward", rank, new Message().With("dy", Part(dy, rank)).With("step_id", StepOf(answers[rank])), forms[rank]));
            for (var rank = 0; rank < 3; rank++) SameAnswer.In(gradients[rank], answers[rank]);
        }
    }

    [Fact]
    public async Task Everything_that_a_file_can_hold_goes_through_it()
    {
        var (session, twin) = (await service.CreateAsync("""{"num_features":3}"""), await service.CreateAsync("""{"num_features":3}"""));
        var (group, inJson) = (new RankGroup(session, service.Client, 2), new RankGroup(twin, service.Client, 2));
        Batch Part(int seed, int rank) => Batch.Random(seed, 8, 3, 2).Rows(4 * rank, 4);
        Message Train(int rank) => Message.Of(Part(1, rank)).With("residual", Part(2, rank)).With("mask", "[1,0,1,1]").With("retain", "false");
        Message Backward(int rank) => Message.Of(Part(1, rank)).With("residual", Part(2, rank)).With("mask", "[1,0,1,1]").With("dy", Part(3, rank))
            .With("update.optimizer", "sgd").With("update.learning_rate", "0.5").With("mode", "train");
        foreach (var (call, message) in new (string, Func<int, Message>)[] { ("train-step", Train), ("backward", Backward) })
        {
            var expected = await inJson.AllAsync(200, rank => inJson.PostAsync(call, rank, message(rank), Forms.Json));
            var answers = await group.AllAsync(200, rank => group.PostAsync(call, rank, message(rank), Forms.Safetensors));
            for (var rank = 0; rank < 2; rank++) SameAnswer.In(expected[rank], answers[rank]);
        }
    }

    /// <summary>Rank and world size are the call's, wherever they stand among the options of an array.</summary>
    [Fact]
    public async Task Options_of_an_array_stand_beside_the_rank_and_others_are_still_refused()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        var array = Message.Of(Batch.Random(1, 4, 3)).Body(Forms.Npy);
        Task<Answer> TrainAsync(string query) => session.PostAsync($"sync/g/train-step?{query}", Forms.Npy, array);
        Assert.DoesNotContain("Bn-Step-Id", (await TrainAsync("retain=false&world_size=1&mask=[1,1,0,1]&rank=0")).Expect(200).Headers.Keys);
        var step = (await TrainAsync("rank=0&retain=true&world_size=1")).Expect(200).Headers["Bn-Step-Id"];
        (await TrainAsync("rank=0&world_size=1&nosuch=1")).ExpectProblem("invalid-option", "nosuch");
        (await TrainAsync("rank=0&world_size=1&retain=maybe")).ExpectProblem("invalid-option", "retain");
        (await session.PostAsync("train-step?rank=0", Forms.Npy, array)).ExpectProblem("invalid-option", "rank");
        var gradient = (await session.PostAsync($"sync/g/backward?update.learning_rate=0.5&rank=0&step_id={Uri.EscapeDataString(step)}&update.optimizer=sgd&world_size=1", Forms.Npy, array)).Expect(200);
        Assert.Equal([4, 3], gradient.Array.Shape);
        Assert.Equal(4, (await session.GetAsync()).Version);
    }

    /// <summary>Moments are gathered while the parts arrive; a part that is smaller than that, and an empty one, are parts as any.</summary>
    [Theory]
    [InlineData("""{"num_features":64}""", new[] { 64 }, new[] { 20_000, 9_001, 3, 0 })]
    [InlineData("""{"num_features":16,"activation":"relu"}""", new[] { 16, 31, 33 }, new[] { 40, 25, 0, 1 })]
    [InlineData("""{"num_features":8,"channel_axis":-1}""", new[] { 61, 43, 8 }, new[] { 30, 12, 1 })]
    public async Task Parts_that_are_streamed_are_those_that_came_at_once(string options, int[] sample, int[] sizes)
    {
        using var own = Service.OnKestrel();
        var (session, whole) = (await own.CreateAsync(options), await own.CreateAsync(options));
        var (x, dy) = (Batch.Random(1, [sizes.Sum(), .. sample]), Batch.Random(2, [sizes.Sum(), .. sample]));
        Batch Part(Batch batch, int rank) => batch.Rows(sizes.Take(rank).Sum(), sizes[rank]);
        var group = new RankGroup(session, own.Client, sizes.Length);
        Task<Answer> PostAsync(string call, int rank, Message message) => own.Client.SendAsync(HttpMethod.Post, group.Path(call, rank),
            new PiecewiseContent(message.Body(rank % 2 == 0 ? Forms.Npy : Forms.Safetensors), rank % 2 == 0 ? Forms.Npy : Forms.Safetensors, 10_007));
        Task<Answer> AtOnceAsync(string call, string name, Batch batch) => whole.PostAsync(call, new Message().With(name, batch), Forms.Safetensors);
        var single = (await AtOnceAsync("train-step", "x", x)).Expect(200).Tensors;
        var answers = await group.AllAsync(200, rank => PostAsync("train-step", rank, Message.Of(Part(x, rank))));
        var isLast = options.Contains("channel_axis", StringComparison.Ordinal);
        var kind = ReferenceKind.Of("batch_norm", x.Shape, isLast ? sample[^1] : sample[0], axis: isLast ? -1 : 1);
        var reference = kind with { Relu = options.Contains("relu", StringComparison.Ordinal) };
        Batch Of(Answer answer, string field) => answer.ContentType == Forms.Npy ? answer.Array : answer.Tensors[field].Batch;
        Accuracy.Outputs_are(reference.Output(x), x, Batch.Joined([.. answers.Select(answer => Of(answer, "y"))]));
        var statistics = reference.StatisticsOf(x);
        foreach (var answer in answers.Where((_, rank) => rank % 2 == 1))
            Accuracy.Statistics_are(statistics, x, answer.Tensors["batch_mean"].Values, answer.Tensors["batch_var"].Values);
        Assert.Equal(single.Texts["count"], answers[1].Tensors.Texts["count"]);
        var stats = await session.StatsAsync();
        Accuracy.Doubles_are((await whole.StatsAsync()).Numbers("running_var"), stats.Numbers("running_var"), "running_var");
        var steps = answers.Select((answer, rank) => rank % 2 == 0 ? answer.Headers["Bn-Step-Id"] : answer.Tensors.Texts["step_id"]).ToList();
        var gradients = await Task.WhenAll(steps.Select((step, rank) => rank % 2 == 0
            ? own.Client.SendAsync(HttpMethod.Post, $"{group.Path("backward", rank)}&step_id={Uri.EscapeDataString(step)}", new PiecewiseContent(ArrayFile.Of(Part(dy, rank)), Forms.Npy, 10_007))
            : PostAsync("backward", rank, new Message().With("dy", Part(dy, rank)).With("step_id", step))));
        var dx = Batch.Joined([.. gradients.Select(answer => Of(answer.Expect(200), "dx"))]);
        Accuracy.Input_gradient_is(reference.Differentiate(x, dy).Gradients, x, dx);
    }
}
