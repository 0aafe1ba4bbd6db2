using System.Text.Json;

namespace BnService.Api.Tests.Kinds;

/// <summary>Beta without gamma, and a gamma that is kept as its difference from 1, in every kind and against their definition in double.</summary>
public sealed class ParameterOptionsTests(Service service) : IClassFixture<Service>
{
    private const string Sgd = """{"optimizer":"sgd","learning_rate":0.1,"momentum":0.9,"weight_decay":0.01}""";

    public static TheoryData<string, string, int[]> Kinds => new()
    {
        { "layer_norm", "\"normalized_shape\":[3,5]", [4, 3, 5] },
        { "rms_norm", "\"normalized_shape\":[7]", [3, 2, 7] },
        { "group_norm", "\"num_features\":6,\"num_groups\":3", [3, 6, 4] },
        { "instance_norm", "\"num_features\":4", [3, 4, 5, 3] },
        { "batch_norm", "\"num_features\":4", [6, 4, 3] },
        { "batch_norm", "\"num_features\":4,\"channel_axis\":-1", [6, 3, 4] },
        { "batch_renorm", "\"num_features\":4", [6, 4, 3] },
    };

    public static IEnumerable<object[]> KindsWithBeta => Kinds.Where(kind => !kind.Contains("rms_norm"));

    [Theory]
    [MemberData(nameof(KindsWithBeta))]
    public async Task Beta_alone_is_all_that_is_there_and_all_that_moves(string kind, string options, int[] shape)
    {
        var reference = Reference(kind, shape) with { Gamma = null };
        foreach (var relu in (bool[])[false, true])
        {
            reference = reference with { Relu = relu };
            var session = await service.CreateAsync($$"""{"kind":"{{kind}}",{{options}},"scale":false,"activation":"{{(relu ? "relu" : "none")}}"}""");
            (await session.RefusedAsync(s => s.PutParametersAsync($$"""{"gamma":{{Batch.Array(reference.Beta!)}}}""")))
                .ExpectProblem("invalid-option", "gamma was sent, but the session has none (its scale is false)");
            (await session.PutParametersAsync($$"""{"beta":{{Batch.Array(reference.Beta!)}}}""")).Expect(200);
            var (x, dy) = (Batch.Random(1, shape), Batch.Random(2, shape));
            var step = (await session.TrainAsync(x, retain: true)).Expect(200);
            Accuracy.Outputs_are(reference.Output(x), x, step.Tensor("y"));
            var once = (await service.Client.PostAsync("/v1/normalize", $$"""
                {"kind":"{{kind}}",{{options}},"scale":false,"activation":"{{(relu ? "relu" : "none")}}","x":{{x.Json}},
                 "beta":{{Batch.Array(reference.Beta!)}},"backward":{"dy":{{dy.Json}}} }
                """)).Expect(200);
            Assert.Equal(step.Tensor("y").Data, once.Tensor("y").Data);
            var back = (await session.BackwardAsync(step.StepId!, dy, Sgd)).Expect(200);
            foreach (var answer in (Answer[])[once, back])
            {
                Accuracy.Gradients_are(reference.Differentiate(x, dy).Gradients, x, answer);
                Assert.False(answer.Has("dgamma"));
            }
            Accuracy.Doubles_are(Optimizer().After(reference.Beta!, back.Numbers("dbeta")), back.Numbers("beta"), "beta");
            Assert.False(back.Has("gamma"));
            var gradient = $$"""{"dgamma":{{Batch.Array(reference.Beta!)}},"update":{{Sgd}}}""";
            (await session.RefusedAsync(s => service.Client.PostAsync($"{s.Path}/update", gradient)))
                .ExpectProblem("invalid-option", "dgamma was sent, but the session has none (its scale is false)");
            Assert.Equal(JsonValueKind.Null, (await session.StatsAsync())["gamma"].ValueKind);
            await IsTheSameAfterAsync(session, x, dy);
        }
    }

    [Theory]
    [MemberData(nameof(Kinds))]
    public async Task A_gamma_with_an_offset_multiplies_by_one_more_than_is_kept(string kind, string options, int[] shape)
    {
        var reference = Reference(kind, shape);
        var stored = reference.Gamma!.Select(gamma => gamma - 1).ToArray();
        var parameters = $"\"gamma\":{Batch.Array(stored)}{(reference.Beta is null ? "" : $",\"beta\":{Batch.Array(reference.Beta)}")}";
        var session = await service.CreateAsync($$"""{"kind":"{{kind}}",{{options}},"gamma_offset":1}""");
        Assert.All((await session.StatsAsync()).Numbers("gamma"), gamma => Assert.Equal(0, gamma)); // the identity
        Assert.Equal((0, 1), ((await session.GetAsync())["gamma_init"].GetDouble(), (await session.GetAsync())["gamma_offset"].GetDouble()));
        (await session.PutParametersAsync($"{{{parameters}}}")).Expect(200);
        (await session.StatsAsync()).ExpectNumbers("gamma", stored);
        var (x, dy) = (Batch.Random(1, shape), Batch.Random(2, shape));
        var step = (await session.TrainAsync(x, retain: true)).Expect(200);
        Accuracy.Outputs_are(reference.Output(x), x, step.Tensor("y"));
        var once = (await service.Client.PostAsync("/v1/normalize", $$"""
            {"kind":"{{kind}}",{{options}},"gamma_offset":1,"x":{{x.Json}},{{parameters}},"backward":{"dy":{{dy.Json}}} }
            """)).Expect(200);
        Assert.Equal(step.Tensor("y").Data, once.Tensor("y").Data);
        var back = (await session.BackwardAsync(step.StepId!, dy, Sgd)).Expect(200);
        foreach (var answer in (Answer[])[once, back]) Accuracy.Gradients_are(reference.Differentiate(x, dy).Gradients, x, answer);
        // Weight decay acts on what is kept.
        Accuracy.Doubles_are(Optimizer().After(stored, back.Numbers("dgamma")), back.Numbers("gamma"), "gamma");
        await IsTheSameAfterAsync(session, x, dy);
    }

    /// <summary>Gemma's RMSNorm: x·rsqrt(mean(x²) + 1e-6)·(1 + w), its w as bfloat16 in the file.</summary>
    [Fact]
    public async Task A_file_of_offsets_goes_in_and_out()
    {
        double[] weight = [0.5, -0.25, 0, 1.5, -1, 0.125];
        var session = New();
        var file = new TensorFile().Add("weight", "BF16", weight).Text("options", """{"kind":"rms_norm","gamma_offset":1,"eps":1e-6}""");
        (await session.PutStateAsync(Forms.Safetensors, file.ToBytes())).Expect(201);
        var x = Batch.Random(3, 4, 6);
        var reference = ReferenceKind.Of("rms_norm", x.Shape, 0) with { Eps = 1e-6, Gamma = [.. weight.Select(w => 1 + w)] };
        Accuracy.Outputs_are(reference.Output(x), x, (await session.InferAsync(x)).Expect(200).Tensor("y"));
        var state = (await session.GetStateAsync(("Accept", Forms.Safetensors))).Expect(200).Tensors;
        Assert.Equal(["weight"], state.Names);
        Assert.Equal(weight, state["weight"].Values);
        // Through the Open Inference Protocol as well.
        var infer = await service.Client.PostAsync($"/v2/models/{session.Name}/infer",
            $$"""{"inputs":[{"name":"x","datatype":"FP32","shape":[4,6],"data":[{{x.Json.Split('[')[2][..^2]}}]}]}""");
        var y = infer.Expect(200)["outputs"][0].GetProperty("data").EnumerateArray().Select(element => element.GetSingle());
        Accuracy.Outputs_are(reference.Output(x), x, new Batch([4, 6], [.. y]));
    }

    /// <summary>a = (1 + w)/√(var + eps) = 1 and −2.</summary>
    [Theory]
    [InlineData("\"gamma_offset\":1", "\"gamma\":[1,-2],\"beta\":[0.5,4]", new float[] { 1, 2, -6, -8 }, new[] { -0.5, 0 })]
    [InlineData("\"scale\":false", "\"beta\":[0.5,4]", new[] { 0.5f, 1, 6, 8 }, new[] { 0, 8.0 })]
    public async Task Folding_knows_what_multiplies(string options, string parameters, float[] weight, double[] bias)
    {
        var session = New();
        (await PutAsync(session, $$"""{"options":{"eps":0,{{options}}},{{parameters}},"running_mean":[1,-2],"running_var":[4,0.25]}""")).Expect(201);
        var folded = (await session.FoldAsync("""{"layer":"linear","weight":[[1,2],[3,4]]}""")).Expect(200);
        Assert.Equal(weight, folded.Tensor("weight").Data);
        folded.ExpectNumbers("bias", bias);
    }

    [Theory]
    [InlineData("""{"beta":[1,2],"moving_mean":[3,4],"moving_variance":[5,6],"convention":"keras"}""", false, true)]
    [InlineData("""{"bias":[1,2],"mean":[3,4],"var":[5,6],"convention":"flax"}""", false, true)]
    [InlineData("""{"bias":[1,2],"running_mean":[3,4],"running_var":[5,6]}""", false, true)]
    [InlineData("""{"bias":[1,2],"options":{"kind":"layer_norm"}}""", false, true)]
    [InlineData("""{"beta":[1,2],"moving_mean":[3,4],"moving_variance":[5,6],"options":{"scale":true}}""", true, true)]
    [InlineData("""{"beta":[1,2],"moving_mean":[3,4],"moving_variance":[5,6],"options":{"affine":true}}""", true, true)]
    [InlineData("""{"gamma":[1,2],"moving_mean":[3,4],"moving_variance":[5,6],"convention":"keras"}""", true, false)]
    [InlineData("""{"moving_mean":[3,4],"moving_variance":[5,6],"convention":"keras"}""", false, false)]
    [InlineData("""{"blobs":[[3,4],[5,6],[1]],"convention":"caffe"}""", false, false)]
    [InlineData("""{"weight":[1,2],"bias":[1,2],"convention":"pytorch","options":{"kind":"instance_norm"}}""", true, true)]
    [InlineData("""{"running_mean":[3,4],"running_var":[5,6]}""", true, true)] // the contract's defaults
    public async Task A_file_without_gamma_makes_a_layer_without_gamma(string body, bool hasGamma, bool hasBeta)
    {
        var session = New();
        (await PutAsync(session, body)).Expect(201);
        var x = body.Contains("instance", StringComparison.Ordinal) ? Batch.Random(5, 2, 2, 3) : Batch.Random(5, 6, 2);
        for (var round = 0; round < 2; round++)
        {
            var stats = await session.StatsAsync();
            Assert.Equal((hasGamma, hasBeta), (IsArray(stats["gamma"]), IsArray(stats["beta"])));
            var names = (await session.GetStateAsync(("Accept", Forms.Safetensors))).Expect(200).Tensors.Names.ToList();
            Assert.Equal((hasGamma, hasBeta), (names.Contains("weight"), names.Contains("bias")));
            if (hasGamma || hasBeta) (await session.BackwardAsync(x, x, update: """{"optimizer":"adam"}""")).Expect(200);
        }
    }

    [Theory]
    [InlineData("""{"num_features":2,"gamma_offset":0.5}""", "gamma_offset must be 0, or 1 where gamma is stored as its difference from 1, got 0.5")]
    [InlineData("""{"num_features":2,"gamma_offset":1,"affine":false}""", "gamma_offset must be 0 where there is no gamma (affine is false), got 1")]
    [InlineData("""{"num_features":2,"gamma_offset":1,"scale":false}""", "gamma_offset must be 0 where there is no gamma (scale is false), got 1")]
    [InlineData("""{"kind":"rms_norm","normalized_shape":[2],"scale":false}""", "scale is not an option of rms_norm; gamma is its only parameter")]
    public async Task Options_that_exclude_each_other_are_refused(string options, string detail) =>
        (await service.Client.PostAsync("/v1/sessions", options)).ExpectProblem("invalid-option", detail);

    // A second update is the same in a copy, by either form, and after a change of options that do not concern it.
    private async Task IsTheSameAfterAsync(SessionClient session, Batch x, Batch dy)
    {
        (await session.PatchAsync("""{"eps":0.001}""")).Expect(200);
        var copies = new List<SessionClient>();
        foreach (var form in (string[])[Forms.Json, Forms.Safetensors])
        {
            copies.Add(New());
            (await copies[^1].PutStateAsync(form, (await session.GetStateAsync(("Accept", form))).Expect(200).Body)).Expect(201);
        }
        var expected = (await session.BackwardAsync(x, dy, update: Sgd)).Expect(200);
        foreach (var copy in copies)
        {
            var actual = (await copy.BackwardAsync(x, dy, update: Sgd)).Expect(200);
            foreach (var name in (string[])["gamma", "beta"])
            {
                Assert.Equal(expected.Has(name), actual.Has(name));
                if (expected.Has(name)) actual.ExpectNumbers(name, expected.Numbers(name));
            }
        }
    }

    private static ReferenceSgd Optimizer() => new() { LearningRate = 0.1, Momentum = 0.9, WeightDecay = 0.01 };

    private static ReferenceKind Reference(string kind, int[] shape)
    {
        var (channels, axis) = kind == "group_norm" ? (6, 1) : (4, shape[^1] == 4 ? -1 : 1);
        var plain = ReferenceKind.Of(kind, shape, channels, groups: 3, axis, rowRank: kind == "layer_norm" ? 2 : 1);
        var parameters = plain.Parameter.Max() + 1;
        return plain with
        {
            Gamma = [.. Enumerable.Range(0, parameters).Select(p => 0.5 + (p % 5 * 0.25))],
            Beta = kind == "rms_norm" ? null : [.. Enumerable.Range(0, parameters).Select(p => 0.125 * (p - 2))],
            Correction = kind == "batch_renorm" ? [.. Enumerable.Repeat((1.0, 0.0), parameters)] : null,
        };
    }

    private static bool IsArray(JsonElement element) => element.ValueKind == JsonValueKind.Array;

    private Task<Answer> PutAsync(SessionClient session, string body) => service.Client.PutAsync($"{session.Path}/state", body);

    private SessionClient New() => new(service.Client, $"parameters-{Guid.NewGuid():N}");
}
