namespace BnService.Api.Tests.Kinds;

/// <summary>Every kind over HTTP, against its definition in double.</summary>
public sealed class KindsTests(Service service) : IClassFixture<Service>
{
    public static TheoryData<string, string, int[], int, int, int, int> Cases => new()
    {
        // kind, its own options, shape, channels, groups, axis, dimensions of a row
        { "layer_norm", "\"normalized_shape\":[5]", [4, 5], 0, 1, 1, 1 },
        { "layer_norm", "\"normalized_shape\":[3,5]", [2, 4, 3, 5], 0, 1, 1, 2 },
        { "layer_norm", "\"normalized_shape\":[2,3,4]", [1, 3, 2, 3, 4], 0, 1, 1, 3 },
        { "rms_norm", "\"normalized_shape\":[33]", [3, 2, 33], 0, 1, 1, 1 },
        { "rms_norm", "\"normalized_shape\":[4,2]", [5, 4, 2], 0, 1, 1, 2 },
        { "group_norm", "\"num_features\":6,\"num_groups\":3", [3, 6, 4, 5], 6, 3, 1, 1 },
        { "group_norm", "\"num_features\":6,\"num_groups\":1", [1, 6, 7], 6, 1, 1, 1 },
        { "group_norm", "\"num_features\":6,\"num_groups\":2", [5, 6], 6, 2, 1, 1 },
        { "group_norm", "\"num_features\":6,\"num_groups\":3,\"channel_axis\":-1", [3, 4, 5, 6], 6, 3, -1, 1 },
        { "instance_norm", "\"num_features\":4", [3, 4, 5, 3], 4, 1, 1, 1 },
        { "instance_norm", "\"num_features\":4,\"channel_axis\":-1", [1, 2, 3, 2, 4], 4, 1, -1, 1 },
        { "batch_norm", "\"num_features\":4", [6, 4, 3], 4, 1, 1, 1 },
        { "batch_renorm", "\"num_features\":4", [6, 4, 3], 4, 1, 1, 1 },
    };

    [Theory]
    [MemberData(nameof(Cases))]
    public async Task Forward_and_backward_are_those_of_the_definition(
        string kind, string options, int[] shape, int channels, int groups, int axis, int rowRank)
    {
        foreach (var (relu, residual) in new[] { (false, false), (true, false), (false, true), (true, true) })
        {
            var plain = ReferenceKind.Of(kind, shape, channels, groups, axis, rowRank);
            var reference = WithParameters(plain, kind) with { Relu = relu };
            var session = await service.CreateAsync($$"""{"kind":"{{kind}}",{{options}},"activation":"{{(relu ? "relu" : "none")}}"}""");
            (await session.PutParametersAsync(Parameters(reference))).Expect(200);
            var (x, dy, added) = (Batch.Random(1, shape), Batch.Random(2, shape), residual ? Batch.Random(3, shape) : null);
            var input = $"\"x\":{x.Json}{(added is null ? "" : $",\"residual\":{added.Json}")}";

            var step = (await session.TrainAsync($"{{{input}}}")).Expect(200);
            Accuracy.Outputs_are(reference.Output(x, added), x, step.Tensor("y"));
            Assert.Equal(kind != "rms_norm", step.Has("batch_mean"));
            var statistics = reference.StatisticsOf(x);
            Accuracy.Statistics_are(statistics, x, kind == "rms_norm" ? statistics.Mean : step.Numbers("batch_mean"), step.Numbers("batch_var"));
            Assert.Equal(statistics.Count, step["count"].GetInt64());

            var (gradients, dresidual) = reference.Differentiate(x, dy, added);
            var retained = (await session.BackwardAsync($$"""{"step_id":"{{step.StepId}}","dy":{{dy.Json}}}""")).Expect(200);
            Accuracy.Gradients_are(gradients, x, retained);
            Assert.Equal(residual, retained.Has("dresidual"));
            if (residual) Assert.Equal(dresidual.Select(value => (float)value), retained.Tensor("dresidual").Data);
            // Renorm corrects towards running statistics, which the step has moved.
            if (kind != "batch_renorm")
                Accuracy.Gradients_are(gradients, x, (await session.BackwardAsync($$"""{{{input}},"dy":{{dy.Json}}}""")).Expect(200));

            var once = (await service.Client.PostAsync("/v1/normalize", $$"""
                {"kind":"{{kind}}",{{options}},"activation":"{{(relu ? "relu" : "none")}}",{{input}},{{Parameters(reference)[1..^1]}},
                 "backward":{"dy":{{dy.Json}}} }
                """)).Expect(200);
            Assert.Equal(step.Tensor("y").Data, once.Tensor("y").Data);
            Accuracy.Gradients_are(gradients, x, once);
            Accuracy.Doubles_are([.. statistics.Variance.Select(variance => 1 / Math.Sqrt(variance + 1e-5))], once.Numbers("inv_std"), "inv_std");
        }
    }

    [Theory]
    [InlineData("layer_norm", "\"normalized_shape\":[4]")]
    [InlineData("rms_norm", "\"normalized_shape\":[4]")]
    [InlineData("group_norm", "\"num_features\":4,\"num_groups\":2")]
    [InlineData("instance_norm", "\"num_features\":4")]
    public async Task What_normalizes_each_sample_by_itself_infers_as_it_trains_and_keeps_nothing(string kind, string options)
    {
        var session = await service.CreateAsync($$"""{"kind":"{{kind}}",{{options}}}""");
        var x = Batch.Random(1, kind.StartsWith('l') || kind.StartsWith('r') ? [3, 6, 4] : [3, 4, 6]);
        var before = await session.StateAsync();
        var y = (await session.TrainAsync(x)).Expect(200).Tensor("y");
        Assert.Equal(y.Data, (await session.InferAsync(x)).Expect(200).Tensor("y").Data);
        for (var row = 0; row < 3; row++) Assert.Equal(y.Rows(row, 1).Data, (await session.InferAsync(x.Rows(row, 1))).Expect(200).Tensor("y").Data);
        Assert.Equal(before, await session.StateAsync());
        (await session.RefusedAsync(s => s.TrainAsync($$"""{"x":{{x.Json}},"mask":[1,1,0]}"""))).ExpectProblem("invalid-option", "mask belongs to batch_norm");
        if (kind == "instance_norm") return; // which can keep statistics
        (await session.RefusedAsync(s => s.PatchAsync("""{"momentum":0.5}"""))).ExpectProblem("invalid-option", "momentum is not an option of");
    }

    [Theory]
    [InlineData("layer_norm", "\"normalized_shape\":[4]", "[[1,2,3]]", "shape-mismatch", "expected input with shape [*, 4], got [1, 3]")]
    [InlineData("layer_norm", "\"normalized_shape\":[2,4]", "[[1,2,3,4]]", "shape-mismatch", "expected input with shape [*, 2, 4], got [1, 4]")]
    [InlineData("group_norm", "\"num_features\":4,\"num_groups\":2", "[[1,2,3]]", "shape-mismatch", "expected 4 channels (num_features) along axis 1, got 3")]
    [InlineData("group_norm", "\"num_features\":2,\"num_groups\":2", "[[1,2]]", "batch-too-small", "expected more than 1 value per group and sample")]
    [InlineData("instance_norm", "\"num_features\":2", "[[1,2]]", "batch-too-small", "expected more than 1 value per channel and sample, got input size [1, 2]")]
    [InlineData("layer_norm", "\"normalized_shape\":[2]", "[[1,\"NaN\"]]", "non-finite-input", "element 1 is NaN")]
    public async Task Batches_that_do_not_fit_are_refused(string kind, string options, string x, string code, string detail)
    {
        var session = await service.CreateAsync($$"""{"kind":"{{kind}}",{{options}}}""");
        (await session.RefusedAsync(s => s.TrainAsync($$"""{"x":{{x}}}"""))).ExpectProblem(code, detail);
        // One value per statistic is refused where it is to be trained.
        var backward = code == "batch-too-small" ? $$""","backward":{"dy":{{x}}}""" : "";
        (await service.Client.PostAsync("/v1/normalize", $$"""{"kind":"{{kind}}",{{options}},"non_finite":"reject","x":{{x}}{{backward}}}""")).ExpectProblem(code, detail);
    }

    private static ReferenceKind WithParameters(ReferenceKind kind, string name)
    {
        var parameters = kind.Parameter.Max() + 1;
        return kind with
        {
            Gamma = [.. Enumerable.Range(0, parameters).Select(p => 0.5 + (p % 5 * 0.25))],
            Beta = name == "rms_norm" ? null : [.. Enumerable.Range(0, parameters).Select(p => 0.125 * (p - 2))],
            // The first step of a session, whose running mean is 0 and variance 1, with limits that are still closed.
            Correction = name == "batch_renorm" ? [.. Enumerable.Repeat((1.0, 0.0), parameters)] : null,
        };
    }

    private static string Parameters(ReferenceKind kind) =>
        $"{{\"gamma\":{Batch.Array(kind.Gamma!)}{(kind.Beta is null ? "" : $",\"beta\":{Batch.Array(kind.Beta)}")}}}";
}
