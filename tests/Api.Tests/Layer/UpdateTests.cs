namespace BnService.Api.Tests.Layer;

/// <summary>Updates of gamma and beta, against the algorithms of torch.optim.</summary>
public sealed class UpdateTests(Service service) : IClassFixture<Service>
{
    private static readonly Dictionary<string, Func<ReferenceOptimizer>> Optimizers = new()
    {
        ["""{"optimizer":"sgd"}"""] = () => new ReferenceSgd(),
        ["""{"optimizer":"sgd","learning_rate":0.1}"""] = () => new ReferenceSgd { LearningRate = 0.1 },
        ["""{"optimizer":"sgd","learning_rate":0.1,"momentum":0.9,"nesterov":false,"weight_decay":0}"""] =
            () => new ReferenceSgd { LearningRate = 0.1, Momentum = 0.9 },
        ["""{"optimizer":"sgd","learning_rate":0.05,"momentum":0.9,"nesterov":true,"weight_decay":0.01}"""] =
            () => new ReferenceSgd { LearningRate = 0.05, Momentum = 0.9, Nesterov = true, WeightDecay = 0.01 },
        ["""{"optimizer":"adam"}"""] = () => new ReferenceAdam(),
        ["""{"optimizer":"adam","learning_rate":0.01,"beta1":0.5,"beta2":0.75,"eps":0.001,"weight_decay":0.1}"""] =
            () => new ReferenceAdam { LearningRate = 0.01, Beta1 = 0.5, Beta2 = 0.75, Eps = 0.001, WeightDecay = 0.1 },
        ["""{"optimizer":"adamw"}"""] = () => new ReferenceAdam { IsDecoupled = true },
        ["""{"optimizer":"adamw","learning_rate":0.1,"beta1":0,"beta2":0,"eps":0.5,"weight_decay":0.25}"""] =
            () => new ReferenceAdam { IsDecoupled = true, LearningRate = 0.1, Beta1 = 0, Beta2 = 0, Eps = 0.5, WeightDecay = 0.25 },
    };

    public static TheoryData<string> Updates => new(Optimizers.Keys);

    [Theory]
    [MemberData(nameof(Updates))]
    public async Task Gamma_and_beta_follow_their_gradients_as_under_torch_optim(string update)
    {
        var session = await service.CreateAsync("""{"num_features":3,"gamma_init":0.5,"beta_init":-0.25}""");
        var (gammaOptimizer, betaOptimizer) = (Optimizers[update](), Optimizers[update]());
        var layer = new ReferenceLayer(3) { Gamma = [0.5, 0.5, 0.5], Beta = [-0.25, -0.25, -0.25] };
        for (var step = 1; step <= 5; step++)
        {
            var (x, dy) = (Batch.Random(step, 8, 3), Batch.Random(100 + step, 8, 3));
            var trained = (await session.TrainAsync(x, retain: true)).Expect(200);
            // Every other time through x sent again: it is one optimizer either way.
            var answer = step % 2 == 0
                ? (await session.BackwardAsync(x, dy, update: update)).Expect(200)
                : (await session.BackwardAsync(trained.StepId!, dy, update)).Expect(200);
            Accuracy.Gradients_are(layer.BackwardThroughBatch(x, dy), x, answer);
            layer.Gamma = gammaOptimizer.After(layer.Gamma, answer.Numbers("dgamma"));
            layer.Beta = betaOptimizer.After(layer.Beta, answer.Numbers("dbeta"));
            Accuracy.Doubles_are(layer.Gamma, answer.Numbers("gamma"), "gamma");
            Accuracy.Doubles_are(layer.Beta, answer.Numbers("beta"), "beta");
            Assert.Equal(trained.Version + 1, answer.Version);
            var stats = await session.StatsAsync();
            stats.ExpectNumbers("gamma", answer.Numbers("gamma"));
            stats.ExpectNumbers("beta", answer.Numbers("beta"));
            Assert.Equal(answer.Version, stats.Version);
        }
    }

    [Fact]
    public async Task Another_optimizer_starts_with_buffers_of_its_own()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var (x, dy) = (Batch.Random(1, 6, 2), Batch.Random(2, 6, 2));
        const string adam = """{"optimizer":"adam","learning_rate":0.125}""";
        var gradients = (await session.BackwardAsync(x, dy, update: adam)).Expect(200);
        (await session.BackwardAsync(x, dy, update: """{"optimizer":"sgd"}""")).Expect(200);
        (await session.PutParametersAsync("""{"gamma":[1,1],"beta":[0,0]}""")).Expect(200);
        (await session.BackwardAsync(x, dy, update: adam)).Expect(200).ExpectNumbers("gamma", gradients.Numbers("gamma"));
    }

    [Fact]
    public async Task A_session_without_beta_updates_gamma_alone()
    {
        var session = await service.CreateAsync("""{"num_features":2,"bias":false}""");
        var answer = (await session.BackwardAsync(Batch.Random(1, 6, 2), Batch.Random(2, 6, 2), update: """{"optimizer":"adam"}""")).Expect(200);
        Assert.True(answer.Has("gamma"));
        Assert.False(answer.Has("beta"));
    }

    [Fact]
    public async Task A_step_is_differentiated_with_the_parameters_that_normalized_it()
    {
        var session = await service.CreateAsync("""{"num_features":2,"activation":"relu"}""");
        var (x, dy) = (Batch.Random(1, 6, 2), Batch.Random(2, 6, 2));
        var step = (await session.TrainAsync(x, retain: true)).Expect(200).StepId!;
        var before = (await session.BackwardAsync(step, dy)).Expect(200);
        (await session.PutParametersAsync("""{"gamma":[3,-2],"beta":[1,1]}""")).Expect(200);
        (await session.PatchAsync("""{"eps":0.5,"mode":"frozen"}""")).Expect(200);
        var after = (await session.BackwardAsync(step, dy)).Expect(200);
        Assert.Equal(before.Tensor("dx").Data, after.Tensor("dx").Data);
        after.ExpectNumbers("dgamma", before.Numbers("dgamma"));
        // The update still starts from the parameters of now.
        var updated = (await session.BackwardAsync(step, dy, """{"optimizer":"sgd","learning_rate":1}""")).Expect(200);
        Accuracy.Doubles_are([.. before.Numbers("dgamma").Zip((double[])[3, -2], (d, gamma) => gamma - d)], updated.Numbers("gamma"), "gamma");
    }

    [Theory]
    [InlineData("""{}""", "update.optimizer is missing; it must be one of \"sgd\", \"adam\", \"adamw\"")]
    [InlineData("""{"optimizer":null}""", "update.optimizer must be one of \"sgd\", \"adam\", \"adamw\", got null")]
    [InlineData("""{"optimizer":"rmsprop"}""", "update.optimizer must be one of \"sgd\", \"adam\", \"adamw\", got \"rmsprop\"")]
    [InlineData("""{"optimizer":1}""", "update.optimizer must be one of")]
    [InlineData("""{"optimizer":"sgd","learning_rate":-1}""", "update.learning_rate must be a finite number of 0 or more, got -1")]
    [InlineData("""{"optimizer":"sgd","learning_rate":"0.1"}""", "update.learning_rate must be a number, got \"0.1\"")]
    [InlineData("""{"optimizer":"sgd","learning_rate":1e400}""", "update.learning_rate must be a finite number")]
    [InlineData("""{"optimizer":"sgd","momentum":-0.1}""", "update.momentum must be a finite number of 0 or more, got -0.1")]
    [InlineData("""{"optimizer":"sgd","nesterov":true}""", "update.nesterov must be false where momentum is 0, got true")]
    [InlineData("""{"optimizer":"sgd","nesterov":1}""", "update.nesterov must be true or false, got 1")]
    [InlineData("""{"optimizer":"sgd","weight_decay":"NaN"}""", "update.weight_decay must be a finite number of 0 or more, got NaN")]
    [InlineData("""{"optimizer":"sgd","beta1":0.9}""", "update.beta1 belongs to adam and adamw")]
    [InlineData("""{"optimizer":"sgd","beta2":0.9}""", "update.beta2 belongs to adam and adamw")]
    [InlineData("""{"optimizer":"sgd","eps":1e-8}""", "update.eps belongs to adam and adamw")]
    [InlineData("""{"optimizer":"adam","momentum":0.9}""", "update.momentum belongs to sgd")]
    [InlineData("""{"optimizer":"adamw","nesterov":false}""", "update.nesterov belongs to sgd")]
    [InlineData("""{"optimizer":"adam","beta1":1}""", "update.beta1 must be a number of 0 or more and below 1, got 1")]
    [InlineData("""{"optimizer":"adam","beta2":-0.5}""", "update.beta2 must be a number of 0 or more and below 1, got -0.5")]
    [InlineData("""{"optimizer":"adam","eps":-1}""", "update.eps must be a finite number of 0 or more, got -1")]
    [InlineData("""{"optimizer":"adam","lr":0.1}""", "'update.lr' is not a field of this call; allowed: update.optimizer, update.learning_rate")]
    [InlineData("""[]""", "update must be an object, got an array")]
    [InlineData("\"sgd\"", "update must be an object, got \"sgd\"")]
    public async Task An_update_that_makes_no_sense_is_refused(string update, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var answer = await session.RefusedAsync(s => s.BackwardAsync(Batch.Random(1, 4, 2), Batch.Random(2, 4, 2), update: update));
        answer.ExpectProblem("invalid-option", detail);
    }

    [Fact]
    public async Task A_session_without_parameters_has_nothing_to_update()
    {
        var session = await service.CreateAsync("""{"num_features":2,"affine":false}""");
        var answer = await session.RefusedAsync(s => s.BackwardAsync(Batch.Random(1, 4, 2), Batch.Random(2, 4, 2), update: """{"optimizer":"sgd"}"""));
        answer.ExpectProblem("invalid-option", "update needs a session with parameters");
    }

    [Theory]
    [InlineData("""{"optimizer":"sgd","learning_rate":1e308}""", "[[1e38,1],[-1e38,1]]")]
    [InlineData("""{"optimizer":"sgd"}""", """[["NaN",1],[2,3]]""")]
    [InlineData("""{"optimizer":"adam"}""", """[["Infinity",1],[2,3]]""")]
    public async Task An_update_that_would_leave_a_parameter_that_is_no_number_is_refused(string update, string dy)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var answer = await session.RefusedAsync(s => s.BackwardAsync($$"""{"x":[[1,2],[3,5]],"dy":{{dy}},"update":{{update}}}"""));
        answer.ExpectProblem("non-finite-input", "the update would set gamma[0] to");
    }
}
