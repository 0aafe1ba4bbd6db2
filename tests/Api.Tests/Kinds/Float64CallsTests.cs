using System.Globalization;
using static BnService.Api.Tests.Kinds.WideNumbers;

namespace BnService.Api.Tests.Kinds;

/// <summary>Sessions in float64 with the options of layers, against a reference in double that is told the values less what they share.</summary>
public sealed class Float64CallsTests(Service service) : IClassFixture<Service>
{
    private const double Shared = 1.7e9, Eps = 1e-5;

    private static readonly double[] Gamma = [0.5, -1.25, 2], Beta = [0.125, 3, -0.75];

    private static readonly int[] Shape = [4, 3, 2];

    private static readonly double[] Distances = [.. Enumerable.Range(0, 24).Select(i => (i * i * 7 % 31 / 4.0) - (i / 8.0))];

    private static readonly double[] Dy = [.. Enumerable.Range(0, 24).Select(i => (i * 5 % 11 / 8.0) - 0.5)];

    private static readonly double[] Residual = [.. Enumerable.Range(0, 24).Select(i => i % 7 / 3.0)];

    public static TheoryData<string> Layers =>
    [
        """{"kind":"layer_norm","normalized_shape":[3],"channel_axis":1""",
        """{"kind":"rms_norm","normalized_shape":[3],"channel_axis":1,"eps":1e-5""",
        """{"kind":"layer_norm","normalized_shape":[3],"channel_axis":1,"gamma_offset":1""",
        """{"kind":"layer_norm","normalized_shape":[3],"channel_axis":1,"scale":false""",
        """{"kind":"group_norm","num_features":3,"num_groups":1,"gamma_offset":1""",
        """{"kind":"instance_norm","num_features":3,"affine":true,"gamma_offset":1""",
        """{"kind":"batch_norm","num_features":3""",
        """{"kind":"batch_norm","num_features":3,"gamma_offset":1""",
        """{"kind":"batch_norm","num_features":3,"scale":false""",
    ];

    [Theory]
    [MemberData(nameof(Layers))]
    public async Task Every_call_agrees_with_the_reference(string options)
    {
        var reference = new Reference(options, null);
        var session = await service.CreateAsync($"{options},\"precision\":\"float64\"}}");
        var parameters = string.Join(',', new[] { reference.HasGamma ? $"\"gamma\":{Json(Gamma)}" : "", reference.HasMean ? $"\"beta\":{Json(Beta)}" : "" }
            .Where(field => field.Length > 0));
        (await service.Client.PutAsync($"{session.Path}/parameters", $"{{{parameters}}}")).Expect(200);
        var other = await service.CreateAsync($"{options},\"precision\":\"float64\"}}");
        var x = $"\"x\":{Tensor([.. Distances.Select(distance => reference.Shift + distance)])},\"residual\":{Tensor(Residual)}";
        foreach (var (asked, own) in new[] { (session, ""), (other, $",{parameters}") })
        {
            AssertNear(reference.Y(Residual), Doubles((await asked.TrainAsync($"{{{x}{own}}}")).Expect(200), "y"), 1e-13);
            AssertGradients(reference, (await asked.BackwardAsync($"{{{x},\"dy\":{Tensor(Dy)}{own}}}")).Expect(200));
            if (options.Contains("batch_norm", StringComparison.Ordinal)) continue;
            AssertNear(reference.Y(Residual), Doubles((await asked.InferAsync($"{{{x}{own}}}")).Expect(200), "y"), 1e-13);
        }
        var step = (await session.TrainAsync($"{{{x},\"retain\":true}}")).Expect(200);
        AssertGradients(reference, (await session.BackwardAsync($"{{\"step_id\":\"{step.StepId}\",\"dy\":{Tensor(Dy)}}}")).Expect(200));
        var once = (await service.Client.PostAsync("/v1/normalize", $"{options},\"precision\":\"float64\",{x},{parameters},\"backward\":{{\"dy\":{Tensor(Dy)}}}}}")).Expect(200);
        AssertNear(reference.Y(Residual), Doubles(once, "y"), 1e-13);
        AssertGradients(reference, once);
        if (options.Contains("batch_norm", StringComparison.Ordinal))
        {
            var (mean, variance) = reference.Statistics();
            (await session.PutRunningStatsAsync($"{{\"running_mean\":{Json([.. mean.Select(value => Shared + value)])},\"running_var\":{Json(variance)}}}")).Expect(200);
            AssertNear(reference.Y(Residual), Doubles((await session.InferAsync($"{{{x}}}")).Expect(200), "y"), 1e-6);
        }
        else
        {
            var bytes = Bytes([.. Distances.Select(distance => reference.Shift + distance)]);
            var model = new ModelClient(service.Client, session);
            AssertNear(reference.Y(new double[24]), InferResult.Of(await model.InferAsync(ModelClient.Request(ModelClient.BinaryInput(Shape, "FP64", bytes.Length)), bytes)).Elements, 1e-13);
        }
    }

    [Theory]
    [InlineData("""{"kind":"batch_norm","num_features":3""")]
    [InlineData("""{"kind":"batch_norm","num_features":3,"gamma_offset":1""")]
    public async Task A_mask_of_positions_counts_in_float64(string options)
    {
        bool[] mask = [true, false, true, true, false, false, true, true];
        var reference = new Reference(options, mask);
        var session = await service.CreateAsync($"{options},\"precision\":\"float64\"}}");
        var own = $"\"gamma\":{Json(Gamma)},\"beta\":{Json(Beta)},\"mask\":[[1,0],[true,true],[false,0],[1,1]]";
        var x = $"\"x\":{Tensor([.. Distances.Select(distance => Shared + distance)])},\"residual\":{Tensor(Residual)},{own}";
        AssertNear(reference.Y(Residual), Doubles((await session.TrainAsync($"{{{x}}}")).Expect(200), "y"), 1e-13);
        AssertGradients(reference, (await session.BackwardAsync($"{{{x},\"dy\":{Tensor(Dy)}}}")).Expect(200));
        var once = (await service.Client.PostAsync("/v1/normalize", $"{options},\"precision\":\"float64\",{x},\"backward\":{{\"dy\":{Tensor(Dy)}}}}}")).Expect(200);
        AssertNear(reference.Y(Residual), Doubles(once, "y"), 1e-13);
        AssertGradients(reference, once);
        var calibrated = await service.Client.PostAsync($"{session.Path}/calibration/batches", $"{{\"x\":{Tensor([.. Distances.Select(distance => Shared + distance)])},\"mask\":[[1,0],[1,1],[0,0],[1,1]]}}");
        AssertNear([.. reference.Statistics().Mean.Select(mean => Shared + mean)], calibrated.Expect(200).Numbers("mean"));
    }

    private static void AssertGradients(Reference reference, Answer answer)
    {
        var (dx, dgamma, dbeta) = reference.Gradients(Dy);
        AssertNear(dx, Doubles(answer, "dx"), 1e-13);
        AssertNear(Dy, Doubles(answer, "dresidual"), 0);
        if (reference.HasMean) AssertNear(dbeta, answer.Numbers("dbeta"), 1e-13);
        if (reference.HasGamma) AssertNear(dgamma, answer.Numbers("dgamma"), 1e-13);
        else Assert.False(answer.Has("dgamma"));
    }

    private static string Json(double[] values) => $"[{string.Join(',', values.Select(value => value.ToString("R", CultureInfo.InvariantCulture)))}]";

    private static string Tensor(double[] values) => $"{{\"shape\":[4,3,2],\"data\":{Json(values)}}}";

    // x̂, y and gradients by their definitions, over the groups of elements that share a statistic.
    private sealed class Reference(string options, bool[]? mask)
    {
        private readonly int[] _statistic = [.. Enumerable.Range(0, 24).Select(i => StatisticOf(options, i / 6, i / 2 % 3, i % 2))];

        public bool HasGamma => !options.Contains("\"scale\":false", StringComparison.Ordinal);

        public double Shift => HasMean ? Shared : 0;

        public bool HasMean => !options.Contains("rms_norm", StringComparison.Ordinal);

        private double Offset => options.Contains("gamma_offset", StringComparison.Ordinal) ? 1 : 0;

        public (double[] Mean, double[] Variance) Statistics()
        {
            var (mean, variance) = (new double[_statistic.Max() + 1], new double[_statistic.Max() + 1]);
            for (var s = 0; s < mean.Length; s++)
            {
                double[] values = [.. Enumerable.Range(0, 24).Where(i => _statistic[i] == s && Counts(i)).Select(i => Distances[i])];
                mean[s] = HasMean ? values.Average() : 0;
                variance[s] = values.Average(value => (value - mean[s]) * (value - mean[s]));
            }
            return (mean, variance);
        }

        public double[] Y(double[] residual) => [.. Normalized().Select((normalized, i) => (normalized * Scale(i)) + (HasMean ? Beta[i / 2 % 3] : 0) + residual[i])];

        public (double[] Dx, double[] Dgamma, double[] Dbeta) Gradients(double[] dy)
        {
            var (normalized, variance) = (Normalized(), Statistics().Variance);
            var (dx, dgamma, dbeta) = (new double[24], new double[3], new double[3]);
            for (var i = 0; i < 24; i++)
            {
                dgamma[i / 2 % 3] += dy[i] * normalized[i];
                dbeta[i / 2 % 3] += dy[i];
                int[] alike = [.. Enumerable.Range(0, 24).Where(j => _statistic[j] == _statistic[i])];
                var (sum, along) = (alike.Sum(j => dy[j] * Scale(j)), alike.Sum(j => dy[j] * Scale(j) * normalized[j]));
                var through = Counts(i) ? ((HasMean ? sum : 0) + (normalized[i] * along)) / alike.Count(Counts) : 0;
                dx[i] = ((dy[i] * Scale(i)) - through) / Math.Sqrt(variance[_statistic[i]] + Eps);
            }
            return (dx, dgamma, dbeta);
        }

        private double[] Normalized()
        {
            var (mean, variance) = Statistics();
            return [.. Enumerable.Range(0, 24).Select(i => (Distances[i] - mean[_statistic[i]]) / Math.Sqrt(variance[_statistic[i]] + Eps))];
        }

        private double Scale(int element) => HasGamma ? Gamma[element / 2 % 3] + Offset : 1;

        private bool Counts(int element) => mask is null || mask[(element / 6 * 2) + (element % 2)];

        private static int StatisticOf(string options, int sample, int channel, int position) =>
            options.Contains("batch_norm", StringComparison.Ordinal) ? channel
            : options.Contains("instance_norm", StringComparison.Ordinal) ? (3 * sample) + channel
            : options.Contains("group_norm", StringComparison.Ordinal) ? sample
            : (2 * sample) + position;
    }
}
