namespace BnService.Api.Tests.Statistics;

/// <summary>Running statistics that are divided by the weight of the batches in them, as Caffe's are.</summary>
public sealed class ZeroDebiasTests(Service service) : IClassFixture<Service>
{
    // Means 13, 23, 33 and variance 4·m/(m − 1) = 8.
    private static readonly Batch[] Batches = [new([2, 1], [11, 15]), new([2, 1], [21, 25]), new([2, 1], [31, 35])];

    /// <summary>s = Σ 0.999^age·mean, f = Σ 0.999^age, in Caffe's blobs; the mean is s/f.</summary>
    [Fact]
    public async Task Caffes_average_is_divided_by_its_factor()
    {
        var session = await service.CreateAsync("""{"num_features":1,"convention":"caffe"}""");
        double[] means = [13, ((0.999 * 13) + 23) / 1.999, ((0.999 * ((0.999 * 13) + 23)) + 33) / (1 + (0.999 * 1.999))];
        for (var i = 0; i < 3; i++)
        {
            (await session.TrainAsync(Batches[i])).Expect(200);
            var stats = await session.StatsAsync();
            Accuracy.Doubles_are([means[i]], stats.Numbers("running_mean"), "running_mean");
            Accuracy.Doubles_are([8], stats.Numbers("running_var"), "running_var");
            Assert.Equal(0, stats["diagnostics"].GetProperty("initial_weight").GetDouble());
            Assert.True(stats["diagnostics"].GetProperty("settled").GetBoolean());
        }
        Assert.Equal(18.0025, means[1], 1e-4);
        Assert.Equal(23.0067, means[2], 1e-4);
    }

    [Theory]
    [InlineData("""{"blobs":[[13],[8],[1]],"convention":"caffe"}""", 13, 1)]
    [InlineData("""{"blobs":[[36],[20],[2.5]],"scale_blobs":[[2],[1]],"convention":"caffe"}""", 14.4, 2.5)]
    [InlineData("""{"blobs":[[36],[20],[2.5]],"options":{"momentum":0.001,"zero_debias":true}}""", 14.4, 2.5)]
    public async Task An_import_goes_on_as_Caffe_would(string body, double mean, double factor)
    {
        var session = New();
        (await PutAsync(session, body)).Expect(201).ExpectNumbers("running_mean", mean);
        (await session.TrainAsync(Batches[1])).Expect(200);
        Accuracy.Doubles_are([((0.999 * factor * mean) + 23) / ((0.999 * factor) + 1)], (await session.StatsAsync()).Numbers("running_mean"), "running_mean");
        // Into a session that is there, and was another kind of average.
        var plain = await service.CreateAsync("""{"num_features":1,"momentum":0.001}""");
        (await PutAsync(plain, body.Replace(",\"scale_blobs\":[[2],[1]]", "", StringComparison.Ordinal))).Expect(200);
        (await plain.TrainAsync(Batches[1])).Expect(200);
        Assert.Equal((await session.StatsAsync()).Numbers("running_mean"), (await plain.StatsAsync()).Numbers("running_mean"));
    }

    [Fact]
    public async Task Without_a_convention_and_by_default_it_is_off_and_with_it_any_momentum_takes_it()
    {
        Assert.False(await IsOnAsync("""{"num_features":1,"convention":"keras"}"""));
        var session = await service.CreateAsync("""{"num_features":1,"convention":"keras","zero_debias":true}""");
        (await session.TrainAsync(Batches[0])).Expect(200);
        (await session.TrainAsync(Batches[1])).Expect(200);
        Accuracy.Doubles_are([((0.99 * 13) + 23) / 1.99], (await session.StatsAsync()).Numbers("running_mean"), "running_mean");
        Assert.False(await IsOnAsync("""{"num_features":1,"convention":"caffe","zero_debias":false}"""));
        (await service.Client.PostAsync("/v1/sessions", """{"kind":"layer_norm","normalized_shape":[2],"zero_debias":true}"""))
            .ExpectProblem("invalid-option", "zero_debias is not an option of layer_norm");
    }

    [Theory]
    [InlineData(Forms.Json)]
    [InlineData(Forms.Safetensors)]
    public async Task Its_weight_goes_out_and_in_with_the_state(string form)
    {
        var session = await service.CreateAsync("""{"num_features":1,"convention":"flax","zero_debias":true}""");
        (await session.TrainAsync(Batches[0])).Expect(200);
        var snapshot = (await session.SnapshotAsync()).Expect(201);
        var state = (await session.GetStateAsync(("Accept", form))).Expect(200);
        if (form == Forms.Safetensors)
        {
            // What load_state_dict takes, and no other tensor.
            Assert.Equal(["bias", "num_batches_tracked", "running_mean", "running_var", "weight"], state.Tensors.Names.Order());
            Assert.Equal("0.01", state.Tensors.Texts["statistics_weight"]);
        }
        else Assert.Equal(0.01, state["statistics_weight"].GetDouble());
        var copy = New();
        (await copy.PutStateAsync(form, state.Body)).Expect(201);
        foreach (var batch in Batches[1..])
        {
            (await session.TrainAsync(batch)).Expect(200);
            (await copy.TrainAsync(batch)).Expect(200);
        }
        Assert.Equal((await session.StatsAsync()).Numbers("running_mean"), (await copy.StatsAsync()).Numbers("running_mean"));
        // And with snapshots.
        var after = (await copy.StatsAsync()).Numbers("running_mean");
        (await session.RestoreAsync(snapshot["version"].GetInt64())).Expect(200);
        foreach (var batch in Batches[1..]) (await session.TrainAsync(batch)).Expect(200);
        Assert.Equal(after, (await session.StatsAsync()).Numbers("running_mean"));
        (await session.ResetAsync(null)).Expect(200);
        Assert.Equal(1, (await session.StatsAsync())["diagnostics"].GetProperty("initial_weight").GetDouble());
        (await session.TrainAsync(Batches[2])).Expect(200);
        (await session.StatsAsync()).ExpectNumbers("running_mean", 33);
    }

    /// <summary>Files of converted models say of real statistics that no batch was tracked; those of a fresh layer are the initial 0 and 1.</summary>
    [Theory]
    [InlineData("running-stats", """{"running_mean":[7],"running_var":[1],"num_batches_tracked":0}""", 0.9 * 7 + 0.1)]
    [InlineData("running-stats", """{"running_mean":[5]}""", 0.9 * 5 + 0.1)]
    [InlineData("running-stats", """{"running_mean":[0],"running_var":[1],"num_batches_tracked":0}""", 1)]
    [InlineData("state", """{"running_mean":[7],"running_var":[1],"num_batches_tracked":0}""", 0.9 * 7 + 0.1)]
    [InlineData("state", """{"running_mean":[0],"running_var":[1],"num_batches_tracked":0}""", 1)]
    [InlineData("state", """{"running_mean":[7],"running_var":[1],"num_batches_tracked":1}""", ((0.1 * 0.9 * 7) + 0.1) / 0.19)]
    public async Task Statistics_that_were_set_are_not_lost_with_the_next_batch(string path, string body, double mean)
    {
        var session = await service.CreateAsync("""{"num_features":1,"zero_debias":true}""");
        (await service.Client.PutAsync($"{session.Path}/{path}", body)).Expect(200);
        (await session.TrainAsync("""{"x":[[0],[2]]}""")).Expect(200);
        Accuracy.Doubles_are([mean], (await session.StatsAsync()).Numbers("running_mean"), "running_mean");
    }

    [Theory]
    [InlineData("\"num_features\":1")]
    [InlineData("\"num_features\":1,\"kind\":\"batch_renorm\",\"renorm\":{\"warmup_steps\":0}")]
    [InlineData("\"num_features\":1,\"kind\":\"instance_norm\",\"track_running_stats\":true")]
    public async Task Every_way_of_a_batch_takes_it(string options)
    {
        var isPlain = !options.Contains("kind", StringComparison.Ordinal);
        var ghost = isPlain ? await service.CreateAsync($$"""{{{options}},"zero_debias":true,"ghost_batch_size":2}""") : null;
        var session = await service.CreateAsync($$"""{{{options}},"zero_debias":true}""");
        double[] expected = [((0.9 * 13) + 23) / 1.9];
        var isInstance = options.Contains("instance", StringComparison.Ordinal);
        foreach (var batch in Batches[..2])
        {
            var shaped = isInstance ? new Batch([1, 1, 2], batch.Data) : batch;
            var first = (await session.TrainAsync($$"""{"x":{{shaped.Json}}}""", ("Idempotency-Key", $"k{batch.Data[0]}"))).Expect(200);
            // A repetition counts once.
            (await session.TrainAsync($$"""{"x":{{shaped.Json}}}""", ("Idempotency-Key", $"k{batch.Data[0]}"))).Expect(200);
            Assert.Equal(shaped.Shape, first.Tensor("y").Shape);
        }
        Accuracy.Doubles_are(expected, (await session.StatsAsync()).Numbers("running_mean"), "running_mean");
        if (ghost is not null)
        {
            (await ghost.TrainAsync(Batch.Joined(Batches[..2]))).Expect(200);
            Accuracy.Doubles_are(expected, (await ghost.StatsAsync()).Numbers("running_mean"), "running_mean");
        }
        if (isInstance) return;
        // Ranks: both batches are one of mean 18, after one of mean 33.
        var synchronized = await service.CreateAsync($$"""{{{options}},"zero_debias":true}""");
        (await synchronized.TrainAsync(Batches[2])).Expect(200);
        var ranks = new RankGroup(synchronized, service.Client, 2);
        await ranks.AllAsync(200, rank => ranks.TrainAsync(rank, Batches[rank]));
        Accuracy.Doubles_are([((0.9 * 33) + 18) / 1.9], (await synchronized.StatsAsync()).Numbers("running_mean"), "running_mean");
    }

    [Theory]
    [InlineData("""{"statistics_weight":-1}""", "statistics_weight must be a finite number of 0 or more, got -1")]
    [InlineData("""{"statistics_weight":"Infinity"}""", "statistics_weight must be a finite number of 0 or more")]
    [InlineData("""{"options":{"zero_debias":false}}""", "options.zero_debias must be true, as in the session")]
    public async Task What_is_no_weight_is_refused(string body, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":1,"zero_debias":true}""");
        (await session.TrainAsync(Batches[0])).Expect(200);
        (await session.RefusedAsync(s => PutAsync(s, body))).ExpectProblem("invalid-option", detail);
        var plain = await service.CreateAsync("""{"num_features":1}""");
        (await plain.RefusedAsync(s => PutAsync(s, """{"statistics_weight":1}""")))
            .ExpectProblem("invalid-option", "statistics_weight goes with zero_debias true");
    }

    private async Task<bool> IsOnAsync(string options) => (await (await service.CreateAsync(options)).GetAsync())["zero_debias"].GetBoolean();

    private Task<Answer> PutAsync(SessionClient session, string body) => service.Client.PutAsync($"{session.Path}/state", body);

    private SessionClient New() => new(service.Client, $"debiased-{Guid.NewGuid():N}");
}
