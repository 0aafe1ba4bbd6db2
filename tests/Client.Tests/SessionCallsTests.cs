using BnService.Client.Tests.Harness;

namespace BnService.Client.Tests;

/// <summary>Every other call: kinds of layers, options, state, snapshots, calibration, folding, ranks, one shot.</summary>
public sealed class SessionCallsTests : IDisposable
{
    private readonly ClientOfService _client = new();
    private readonly Batch _x = Batch.Random(7, 16, 6);

    private BnClient Client => _client.Client;

    public void Dispose() => _client.Dispose();

    [Fact]
    public async Task Every_kind_is_created_with_its_own_options_and_read_back()
    {
        foreach (var (layer, check) in new (LayerOptions, Action<SessionInfo>)[]
        {
            (new BatchNormOptions { NumFeatures = 6, Momentum = 0.3, Eps = 1e-3, Granularity = Granularity.PerActivation, GhostBatchSize = 4, UnbiasedRunningVar = false },
                info => Assert.Equal((0.3, 1e-3, Granularity.PerActivation, 4, false), (info.Momentum, info.Eps, info.Granularity, info.GhostBatchSize, info.UnbiasedRunningVar))),
            (new BatchNormOptions { NumFeatures = 6, Momentum = Momentum.Cumulative, Affine = false, NonFinite = NonFinitePolicy.Propagate },
                info => Assert.Equal((null, false, NonFinitePolicy.Propagate), (info.Momentum, info.Affine, info.NonFinite))),
            (new BatchRenormOptions { NumFeatures = 6, Renorm = new RenormLimits(2, 4, 10), Mode = NormalizationMode.Frozen },
                info => Assert.Equal((new RenormLimits(2, 4, 10), NormalizationMode.Frozen), (info.Renorm, info.Mode))),
            (new InstanceNormOptions { NumFeatures = 6, TrackRunningStats = true, RequireStatistics = true, ChannelAxis = -1 },
                info => Assert.Equal((true, true, -1), (info.TrackRunningStats, info.RequireStatistics, info.ChannelAxis))),
            (new GroupNormOptions { NumFeatures = 6, NumGroups = 3, BetaInit = 2 }, info => Assert.Equal((3, 2.0), (info.NumGroups, info.BetaInit))),
            (new LayerNormOptions { NormalizedShape = [2, 3], Bias = false, GammaInit = 0.5 },
                info => Assert.Equal(("2,3", false, 0.5), (string.Join(',', info.NormalizedShape!), info.Bias, info.GammaInit))),
            (new RmsNormOptions { NormalizedShape = [6], Activation = Activation.Relu }, info => Assert.Equal(Activation.Relu, info.Activation)),
        })
        {
            var created = await Client.CreateSessionAsync(null, layer, new Dictionary<string, string> { ["team"] = "a" });
            var info = await created.GetAsync();
            Assert.Equal((layer.Kind, 6, "a", created.Name), (info.Kind, info.NumFeatures, info.Labels["team"], info.Name));
            check(info);
        }
        var keras = await Client.CreateSessionAsync("keras", new BatchNormOptions { NumFeatures = 2, Momentum = 0.99 }, convention: Convention.Keras);
        var converted = await keras.GetAsync();
        Assert.Equal(0.01, converted.Momentum!.Value, 1e-12);
        Assert.Equal(Convention.Keras, converted.Convention!.Name);
        Assert.Contains(converted.Convention.Converted, option => option.Option == "momentum");
        Assert.Equal(-1, converted.ChannelAxis);
        var beta = await (await Client.CreateSessionAsync("beta", new BatchNormOptions { NumFeatures = 2, Scale = false, ZeroDebias = true })).GetAsync();
        Assert.Equal((false, true, 0), (beta.Scale, beta.ZeroDebias, beta.GammaOffset));
        var gemma = await (await Client.CreateSessionAsync("gemma", new RmsNormOptions { NormalizedShape = [2], GammaOffset = 1 })).GetAsync();
        Assert.Equal((true, 1, 0), (gemma.Scale, gemma.GammaOffset, gemma.GammaInit));
    }

    [Fact]
    public async Task Workers_that_start_together_have_one_session_and_other_options_are_told()
    {
        var options = new BatchNormOptions { NumFeatures = 6, Momentum = 0.25 };
        var sessions = await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => Client.GetOrCreateSessionAsync("together", options, convention: Convention.Pytorch)));
        Assert.All(sessions, session => Assert.Equal("together", session.Name));
        Assert.Equal(1, (await sessions[0].GetAsync()).Version);
        var refused = await Assert.ThrowsAsync<BnServiceException>(() => Client.GetOrCreateSessionAsync("together", new BatchNormOptions { NumFeatures = 6, Momentum = 0.5 }));
        Assert.Equal(ProblemCodes.SessionExists, refused.Code);
        Assert.Contains("momentum is 0.25, sent was 0.5", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Gradients_summed_elsewhere_are_applied_once_with_rules_for_each_parameter()
    {
        var layer = await _client.BatchNormAsync("accumulated", 6);
        var update = ParameterUpdate.AdamW(0.01) with { ClipNorm = 1, Parameters = new() { Gamma = new() { WeightDecay = 0.5 }, Beta = new() { Frozen = true } } };
        double[] gradient = [3, 0, 0, 4, 0, 0];
        var moved = await layer.UpdateAsync(gradient, gradient, update, ifMatch: 1, idempotencyKey: "sum-1");
        var again = await layer.UpdateAsync(gradient, gradient, update, ifMatch: 1, idempotencyKey: "sum-1");
        Assert.Equal((2, 2), (moved.Version, again.Version));
        // One step of AdamW is the learning rate against the gradient's sign, and the decay.
        Assert.Equal(0.995 - 0.01, moved.Gamma![0], 1e-7);
        Assert.Equal(0.995, moved.Gamma[1], 1e-12);
        Assert.Equal([0, 0, 0, 0, 0, 0], moved.Beta!);
        Assert.Equal(moved.Gamma, again.Gamma);
        Assert.Equal(1, (await layer.UpdateAsync(gradient, null, ParameterUpdate.AdamW(0))).Gamma![2] / moved.Gamma[2], 1e-12);
    }

    [Fact]
    public async Task Parameters_of_the_callers_and_a_mask_of_positions_go_with_a_step_and_come_back_with_its_gradients()
    {
        var layer = await Client.CreateSessionAsync("owned", new BatchNormOptions { NumFeatures = 3, Affine = false });
        var (x, dy) = (Batch.Random(1, 4, 3, 2), Batch.Random(2, 4, 3, 2));
        double[] gamma = [2, -1, 0.5], beta = [0.25, 3, -1];
        bool[] mask = [true, true, false, true, true, false, true, true];
        const string own = "\"gamma\":[2,-1,0.5],\"beta\":[0.25,3,-1],\"mask\":[[1,1],[0,1],[1,0],[1,1]]";
        using var step = await layer.TrainStepAsync(x.Data, x.Shape, new TrainStepOptions { Gamma = gamma, Beta = beta, Mask = mask, MaskShape = [4, 2], Retain = false });
        Assert.Equal(6, step.Count);
        var plain = await _client.Service.CreateAsync("""{"num_features":3,"affine":false}""");
        Assert.Equal((await plain.TrainAsync($$"""{"x":{{x.Json}},{{own}}}""")).Expect(200).Tensor("y").Data, step.Y.ToArray());
        var expected = (await plain.BackwardAsync($$"""{"x":{{x.Json}},"dy":{{dy.Json}},{{own}}}""")).Expect(200);
        using var gradients = await layer.BackwardAsync(step, dy.Data);
        Assert.Equal(expected.Tensor("dx").Data, gradients.Dx.ToArray());
        Assert.Equal(expected.Numbers("dgamma"), gradients.Dgamma!);
        using var inferred = await layer.InferAsync(x.Data, x.Shape, new InferOptions { Gamma = gamma, Beta = beta });
        Assert.Equal((await plain.InferAsync($$"""{"x":{{x.Json}},"gamma":[2,-1,0.5],"beta":[0.25,3,-1]}""")).Expect(200).Tensor("y").Data, inferred.Y.ToArray());
        Assert.Equal(6, (await layer.AddCalibrationBatchAsync(x.Data, x.Shape, mask: mask, maskShape: [4, 2])).Count);
        Assert.Throws<ArgumentException>(() => { _ = layer.TrainStepAsync(x.Data, x.Shape, new TrainStepOptions { Mask = mask, MaskShape = [4, 3] }); });
    }

    [Fact]
    public async Task Lists_page_through_all_sessions_newest_first()
    {
        for (var i = 0; i < 7; i++) await _client.BatchNormAsync($"listed-{i}", 2);
        await Client.CreateSessionAsync("listed-rows", new RmsNormOptions { NormalizedShape = [2] });
        var names = new List<string>();
        await foreach (var session in Client.ListSessionsAsync("listed-", LayerKind.BatchNorm, pageSize: 3)) names.Add(session.Name);
        Assert.Equal(Enumerable.Range(0, 7).Reverse().Select(i => $"listed-{i}"), names);
    }

    [Fact]
    public async Task Options_parameters_and_statistics_are_changed_under_the_version_that_was_seen()
    {
        var layer = await _client.BatchNormAsync("changed", 2);
        var info = await layer.ChangeAsync(new SessionChanges { Momentum = Momentum.Cumulative, Eps = 0.5, Labels = new Dictionary<string, string> { ["a"] = "b" } }, ifMatch: 1);
        Assert.Equal((null, 0.5, "b", 2), (info.Momentum, info.Eps, info.Labels["a"], info.Version));
        var stale = await Assert.ThrowsAsync<BnServiceException>(() => layer.PutParametersAsync([1, 2], ifMatch: 1));
        Assert.Equal(ProblemCodes.VersionConflict, stale.Code);
        Assert.Equal([3, 4], (await layer.PutParametersAsync([1, 2], [3, 4], ifMatch: 2)).Beta);
        Assert.Equal(9, (await layer.PutRunningStatisticsAsync([5, 6], [7, 8], 9)).NumBatchesTracked);
        var stats = await layer.StatsAsync(StatsParts.RunningVar | StatsParts.Gamma);
        Assert.Equal([7, 8], stats.RunningVar);
        Assert.Equal([1, 2], stats.Gamma);
        Assert.Equal((null, null, 4), (stats.RunningMean, stats.NumBatchesTracked, stats.Version));
        Assert.Equal(0, (await layer.ResetAsync(parameters: true)).NumBatchesTracked);
        Assert.Equal([1, 1], (await layer.GetStateAsync()).Gamma);
        using var step = await layer.TrainStepAsync(new float[] { 1, 2, 3, 5 }, [2, 2]);
        Assert.Equal(step.Version, Assert.Single(await layer.HistoryAsync(5)).Version);
        Assert.Equal(1, (await layer.DiagnosticsAsync()).NumBatchesTracked);
        Assert.Contains(step.Warnings, warning => warning.Code == "small-batch" && warning.Numbers.Count > 0);
    }

    [Fact]
    public async Task A_state_goes_out_and_in_bit_by_bit_and_a_file_of_pytorch_with_options_beside_it()
    {
        var layer = await _client.BatchNormAsync("exported", 6);
        using var step = await layer.TrainStepAsync(_x.Data, _x.Shape);
        using var gradients = await layer.BackwardAsync(step, _x.Data, new BackwardOptions { Update = ParameterUpdate.Adam() });
        var file = await layer.ExportStateAsync();
        var copy = await Client.ImportStateAsync("imported", file);
        Assert.Equal((await layer.StatsAsync()).RunningVar, (await copy.StatsAsync()).RunningVar);
        Assert.Equal((await layer.GetStateAsync()).Gamma, (await copy.ImportStateAsync(file)).Gamma);

        var plain = new TensorFile().Add("weight", "F32", 1, 2).Add("bias", "F32", 0, 1).Add("running_mean", "F32", 3, 4).Add("running_var", "F32", 5, 6).ToBytes();
        var torch = await Client.ImportStateAsync("torch", plain, new BatchNormOptions { NumFeatures = 2, Eps = 0.25, ChannelAxis = -1 });
        Assert.Equal((0.25, -1), ((await torch.GetAsync()).Eps, (await torch.GetAsync()).ChannelAxis));
        Assert.Equal([5, 6], (await torch.GetStateAsync()).RunningVar);

        var model = new TensorFile().Add("fc.weight", "F32", 1).Add("bn.weight", "F32", 1, 2).Add("bn.bias", "F32", 3, 4).ToBytes();
        var norm = await Client.ImportStateAsync("of-model", model, new LayerNormOptions { NormalizedShape = [2], ChannelAxis = 1 }, from: "bn.");
        Assert.Equal([3, 4], (await norm.GetStateAsync()).Beta);
        using var y = await norm.InferAsync(new float[] { 1, 3 }, [1, 2, 1]);
        Assert.Equal([2, 6], y.Y.ToArray().Select(value => Math.Round(value)));
    }

    [Fact]
    public async Task Snapshots_pin_what_inference_and_state_see_and_bring_it_back()
    {
        var layer = await _client.BatchNormAsync("frozen", 6);
        using (await layer.TrainStepAsync(_x.Data, _x.Shape)) { }
        var snapshot = await layer.CreateSnapshotAsync("before");
        Assert.Equal((2, "before", 1), (snapshot.Version, snapshot.Description, snapshot.NumBatchesTracked));
        using var before = await layer.InferAsync(_x.Data, _x.Shape, new InferOptions { MinVersion = 2 });
        var state = await layer.ExportStateAsync();
        using (await layer.TrainStepAsync(Batch.Random(9, 16, 6).Data, _x.Shape)) { }
        using var now = await layer.InferAsync(_x.Data, _x.Shape);
        using var pinned = await layer.InferAsync(_x.Data, _x.Shape, new InferOptions { Version = 2 });
        Assert.NotEqual(before.Y.ToArray(), now.Y.ToArray());
        Assert.Equal(before.Y.ToArray(), pinned.Y.ToArray());
        Assert.Equal(state, await layer.ExportStateAsync(version: 2));
        Assert.Equal(1, (await layer.GetSnapshotAsync(2)).State.NumBatchesTracked);
        Assert.Equal(4, (await layer.RestoreSnapshotAsync(2, ifMatch: 3)).Version);
        Assert.Equal(1, (await layer.StatsAsync()).NumBatchesTracked);
        Assert.Equal(2, Assert.Single(await layer.ListSnapshotsAsync()).Version);
        await layer.DeleteSnapshotAsync(2);
        Assert.Empty(await layer.ListSnapshotsAsync());
    }

    [Fact]
    public async Task Calibration_gathers_merges_drops_and_commits()
    {
        var (layer, other) = (await _client.BatchNormAsync("gathered", 6), await _client.BatchNormAsync("other", 6));
        Assert.Equal(10, (await layer.AddCalibrationBatchAsync(_x.Rows(0, 10).Data, [10, 6])).Count);
        await layer.DropCalibrationAsync();
        Assert.Equal(10, (await layer.AddCalibrationBatchAsync(_x.Rows(0, 10).Data, [10, 6])).Count);
        await other.AddCalibrationBatchAsync(_x.Rows(10, 6).Data, [6, 6]);
        var merged = await layer.MergeAsync(null, ["other"]);
        Assert.Equal((2, 16), (merged.Batches, merged.Count));
        var committed = await layer.CommitCalibrationAsync();
        Assert.Equal(Enumerable.Range(0, 16).Average(row => (double)_x.Data[row * 6]), committed.RunningMean[0], 1e-9);
    }

    [Fact]
    public async Task A_session_folds_into_a_linear_layer()
    {
        var layer = await _client.BatchNormAsync("folded", 2);
        await layer.PutRunningStatisticsAsync([1, 2], [3.99999, 0.24999]);
        using var folded = await layer.FoldAsync(FoldableLayer.Linear, new float[] { 2, 4, 1, 3, 5, 7 }, [2, 3], new FoldOptions { Bias = [3, 4] });
        Assert.Equal([1, 2, 0.5, 6, 10, 14], folded.Weight.ToArray().Select(value => Math.Round(value, 5)));
        Assert.Equal([1, 4], folded.Bias.Select(value => Math.Round(value, 5)));
        Assert.Equal([2, 3], folded.Shape);
        Assert.Equal((Activation.None, 2), (folded.Activation, folded.Version));
        using var conv = await layer.FoldAsync(FoldableLayer.Conv, new float[] { 1, 2 }, [1, 2, 1], new FoldOptions { Position = FoldPosition.Before, Padding = [0] });
        Assert.Equal([0.5, 4], conv.Weight.ToArray().Select(value => Math.Round(value, 5)));
        using var dense = await layer.FoldAsync(FoldableLayer.Linear, new float[] { 2, 4, 1, 3 }, [2, 2], new FoldOptions { Layout = FoldLayout.Io });
        Assert.Equal([1, 8, 0.5, 6], dense.Weight.ToArray().Select(value => Math.Round(value, 5)));
    }

    [Fact]
    public async Task Ranks_are_normalized_together_and_counted_once()
    {
        var (layer, whole) = (await _client.BatchNormAsync("joined", 6), await _client.BatchNormAsync("whole", 6));
        var (first, second) = (_x.Rows(0, 10), _x.Rows(10, 6));
        _client.Faults.Next(Fault.None, Fault.LostBefore);
        var steps = await Task.WhenAll(layer.Sync("g", 0, 2).TrainStepAsync(first.Data, first.Shape), layer.Sync("g", 1, 2).TrainStepAsync(second.Data, second.Shape));
        using var expected = await whole.TrainStepAsync(_x.Data, _x.Shape);
        Assert.Equal(expected.Y.ToArray(), steps[0].Y.ToArray().Concat(steps[1].Y.ToArray()));
        var update = new BackwardOptions { Update = ParameterUpdate.Sgd(0.1) };
        var gradients = await Task.WhenAll(layer.Sync("g", 0, 2).BackwardAsync(steps[0], first.Data, update), layer.Sync("g", 1, 2).BackwardAsync(steps[1], second.Data, update));
        using var together = await whole.BackwardAsync(expected, _x.Data, update);
        Assert.Equal(together.Dgamma![0], gradients[0].Dgamma![0] + gradients[1].Dgamma![0], 1e-9);
        Assert.Equal(1, (await layer.StatsAsync()).NumBatchesTracked);
        foreach (var owned in steps.Cast<IDisposable>().Concat(gradients)) owned.Dispose();
    }

    [Fact]
    public async Task One_shot_normalizes_and_differentiates_without_a_session()
    {
        using var rows = await Client.NormalizeAsync(_x.Data, _x.Shape, new LayerNormOptions { NormalizedShape = [6] });
        Assert.Equal(16, rows.Var.Count);
        Assert.Null(rows.Dx);
        using var batch = await Client.NormalizeAsync(_x.Data, _x.Shape, new BatchNormOptions(),
            new NormalizeOptions { Gamma = [1, 2, 3, 4, 5, 6], Beta = [0, 0, 0, 0, 0, 1], Dy = _x.Data, Residual = _x.Data });
        var layer = await _client.BatchNormAsync("same", 6);
        await layer.PutParametersAsync([1, 2, 3, 4, 5, 6], [0, 0, 0, 0, 0, 1]);
        using var step = await layer.TrainStepAsync(_x.Data, _x.Shape, new TrainStepOptions { Residual = _x.Data });
        using var gradients = await layer.BackwardAsync(step, _x.Data);
        Assert.Equal(step.Y.ToArray(), batch.Y.ToArray());
        Assert.Equal(gradients.Dx.ToArray(), batch.Dx!.Value.ToArray());
        Assert.Equal(gradients.Dgamma, batch.Dgamma);
        using var small = await Client.NormalizeAsync(new[] { 0.001f, 0.002f }, [1, 2], new RmsNormOptions { NormalizedShape = [2] },
            new NormalizeOptions { Convention = Convention.Keras });
        Assert.Equal(0.5345225, small.Y.Span[0], 1e-6); // eps 1e-6
    }

    [Fact]
    public async Task A_session_in_float64_takes_and_gives_doubles()
    {
        var layer = await Client.CreateSessionAsync("seconds", new BatchNormOptions { NumFeatures = 1, Precision = Precision.Float64 });
        Assert.Equal(Precision.Float64, (await layer.GetAsync()).Precision);
        double[] x = [1.7e9, 1700000001, 1700000002, 1700000003], dy = [1, 0, 0, 0];
        using var step = await layer.TrainStepAsync(x, [4, 1]);
        Assert.Equal([1700000001.5], step.BatchMean!);
        Assert.Equal([1.25], step.BatchVar);
        Assert.Equal(-1.5 / Math.Sqrt(1.25 + 1e-5), step.YFloat64.Span[0], 1e-15);
        Assert.Throws<InvalidOperationException>(() => step.Y);
        using var gradients = await layer.BackwardAsync(step, dy);
        using var again = await layer.BackwardAsync(x, [4, 1], dy);
        Assert.Equal(again.DxFloat64.ToArray(), gradients.DxFloat64.ToArray());
        using var inferred = await layer.InferAsync(x, [4, 1]);
        Assert.Equal(4, inferred.YFloat64.Length);
        using var once = await Client.NormalizeAsync(x, [4, 1], new BatchNormOptions { Precision = Precision.Float64 });
        Assert.Equal(step.YFloat64.ToArray(), once.YFloat64.ToArray());
        using var whole = await Client.NormalizeAsync(x, [4, 1], new BatchNormOptions { Precision = Precision.Float64 },
            new NormalizeOptions { ResidualFloat64 = new double[] { 1e300, 0, 0, 0 }, DyFloat64 = dy });
        Assert.Equal(1e300, whole.YFloat64.Span[0]);
        Assert.Equal(gradients.DxFloat64.ToArray(), whole.DxFloat64!.Value.ToArray());
        Assert.Equal([1700000001.5], (await layer.AddCalibrationBatchAsync(x, [4, 1])).Mean!);
        Assert.Empty(inferred.Warnings);
    }

    [Fact]
    public async Task What_float32_has_lost_is_named()
    {
        var layer = await Client.CreateSessionAsync("lost", new BatchNormOptions { NumFeatures = 1 });
        double[] x = [1.7e9, 1700000001, 1700000002, 1700000003], dy = [1, 0, 0, 0];
        await layer.PutRunningStatisticsAsync([1700000001.5], [1.25]);
        using var inferred = await layer.InferAsync(x, [4, 1]);
        using var gradients = await layer.BackwardAsync(x, [4, 1], dy);
        using var once = await Client.NormalizeAsync(x, [4, 1], new BatchNormOptions());
        var calibrated = await layer.AddCalibrationBatchAsync(x, [4, 1]);
        foreach (var warnings in new[] { inferred.Warnings, gradients.Warnings, once.Warnings, calibrated.Warnings })
        {
            Assert.Equal("precision-lost", Assert.Single(warnings).Code);
            Assert.Equal([0], warnings[0].Channels);
        }
    }
}
