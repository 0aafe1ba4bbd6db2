using BnService.Core.Layers;

namespace BnService.Core.Tests.Layers;

public sealed class ParameterUpdateTests
{
    /// <summary>Options of every optimizer, alone and together.</summary>
    public static TheoryData<string> Rules => [.. Known.Keys];

    private static readonly ParameterUpdate Tuned =
        new() { Optimizer = Optimizer.Adam, LearningRate = 0.03, Beta1 = 0.8, Beta2 = 0.95, Eps = 1e-3, WeightDecay = 0.1 };

    private static readonly Dictionary<string, ParameterUpdate> Known = new()
    {
        ["SGD"] = new() { Optimizer = Optimizer.Sgd, LearningRate = 0.1 },
        ["SGD, defaults"] = new() { Optimizer = Optimizer.Sgd },
        ["SGD, momentum"] = new() { Optimizer = Optimizer.Sgd, LearningRate = 0.1, Momentum = 0.9 },
        ["SGD, Nesterov"] = new() { Optimizer = Optimizer.Sgd, LearningRate = 0.1, Momentum = 0.7, Nesterov = true },
        ["SGD, weight decay"] = new() { Optimizer = Optimizer.Sgd, LearningRate = 0.1, WeightDecay = 0.05 },
        ["SGD, all"] = new() { Optimizer = Optimizer.Sgd, LearningRate = 0.02, Momentum = 0.9, Nesterov = true, WeightDecay = 0.05 },
        ["Adam"] = new() { Optimizer = Optimizer.Adam, LearningRate = 0.1 },
        ["Adam, defaults"] = new() { Optimizer = Optimizer.Adam },
        ["Adam, all"] = Tuned with { Optimizer = Optimizer.Adam },
        ["Adam, no memory"] = new() { Optimizer = Optimizer.Adam, LearningRate = 0.03, Beta1 = 0, Beta2 = 0 },
        ["AdamW"] = new() { Optimizer = Optimizer.AdamW, LearningRate = 0.1 },
        ["AdamW, all"] = Tuned with { Optimizer = Optimizer.AdamW },
    };

    [Theory]
    [MemberData(nameof(Rules))]
    public void Twenty_steps_are_those_of_torch(string rule)
    {
        var update = Known[rule].Validated();
        var torch = new TorchOptimizer(update);
        var random = new Random(3);
        double[] values = [1, -2, 0, 0.5, 1e-3], expected = [.. values];
        OptimizerMoments? moments = null;
        for (var step = 1; step <= 20; step++)
        {
            // The fourth value never gets a gradient.
            double[] gradient =
                [random.NextDouble() - 0.5, 100 * random.NextDouble(), random.NextDouble() - 0.5, 0, 1e-9 * random.NextDouble()];
            (values, moments) = update.Apply(values, gradient, moments, step);
            expected = torch.Step(expected, gradient);
            for (var i = 0; i < values.Length; i++) Assert.InRange(values[i] - expected[i], -1e-14, 1e-14);
        }
    }

    // By hand: a parameter of 1, gradients 0.5 and then −0.25, a learning rate of 0.1.
    [Theory]
    [InlineData("SGD", 0.95, 0.975)]
    [InlineData("SGD, momentum", 0.95, 0.93)] // buffer 0.5, then 0.45 − 0.25 = 0.2
    [InlineData("Adam", 0.900000002, 0.873366299)] // m̂ 0.105263158 over √v̂ 0.395225381
    [InlineData("AdamW", 0.900000002, 0.873366299)]
    public void Two_steps_by_hand(string rule, double first, double second)
    {
        var update = Known[rule] with { WeightDecay = 0 };
        var (values, moments) = update.Apply([1], [0.5], null, 1);
        Assert.Equal(first, values[0], 1e-9);
        (values, _) = update.Apply(values, [-0.25], moments, 2);
        Assert.Equal(second, values[0], 1e-9);
    }

    [Fact]
    public void Nesterov_looks_ahead_by_hand()
    {
        var update = new ParameterUpdate { Optimizer = Optimizer.Sgd, LearningRate = 0.1, Momentum = 0.9, Nesterov = true };
        var (values, moments) = update.Apply([1], [0.5], null, 1);
        Assert.Equal(0.905, values[0], 1e-15); // 1 − 0.1·(0.5 + 0.9·0.5)
        (values, _) = update.Apply(values, [0.5], moments, 2);
        Assert.Equal(0.7695, values[0], 1e-15); // 0.905 − 0.1·(0.5 + 0.9·0.95)
    }

    [Fact]
    public void Weight_decay_by_hand()
    {
        var sgd = new ParameterUpdate { Optimizer = Optimizer.Sgd, LearningRate = 0.1, WeightDecay = 0.1 };
        Assert.Equal(0.94, sgd.Apply([1], [0.5], null, 1).Values[0], 1e-15); // 1 − 0.1·(0.5 + 0.1·1)
        var adam = sgd with { Optimizer = Optimizer.Adam };
        Assert.Equal(0.9, adam.Apply([1], [0.5], null, 1).Values[0], 1e-7); // decay is part of a gradient that Adam divides by itself
        var adamW = sgd with { Optimizer = Optimizer.AdamW };
        Assert.Equal(0.890000002, adamW.Apply([1], [0.5], null, 1).Values[0], 1e-12); // 1·(1 − 0.01) − 0.1
    }

    [Fact]
    public void A_step_leaves_its_arguments_alone()
    {
        foreach (var update in Known.Values)
        {
            double[] values = [1, 2], gradient = [0.5, -1];
            var (_, moments) = update.Apply(values, gradient, null, 1);
            var (first, second) = ((double[])moments.First.Clone(), (double[])moments.Second.Clone());
            update.Apply(values, gradient, moments, 2);
            Assert.Equal([1, 2], values);
            Assert.Equal([0.5, -1], gradient);
            Assert.Equal(first, moments.First);
            Assert.Equal(second, moments.Second);
        }
    }

    [Fact]
    public void Adam_without_eps_stands_still_where_there_never_was_a_gradient()
    {
        var update = new ParameterUpdate { Optimizer = Optimizer.Adam, Eps = 0 };
        Assert.Equal([3], update.Apply([3], [0], null, 1).Values);
    }

    public static TheoryData<string, string> Mistakes => new()
    {
        { "learning_rate", "update.learning_rate must be a finite number of 0 or more, got -0.1" },
        { "learning_rate NaN", "update.learning_rate must be a finite number of 0 or more, got NaN" },
        { "momentum", "update.momentum must be a finite number of 0 or more, got -1" },
        { "eps", "update.eps must be a finite number of 0 or more, got Infinity" },
        { "weight_decay", "update.weight_decay must be a finite number of 0 or more, got -0.5" },
        { "beta1", "update.beta1 must be a number of 0 or more and below 1, got 1" },
        { "beta2", "update.beta2 must be a number of 0 or more and below 1, got -0.25" },
        { "nesterov", "update.nesterov must be false where momentum is 0, got true" },
    };

    [Theory]
    [MemberData(nameof(Mistakes))]
    public void A_number_out_of_its_range_is_refused_by_name(string mistake, string message)
    {
        var update = new ParameterUpdate { Optimizer = Optimizer.Sgd };
        update = mistake switch
        {
            "learning_rate" => update with { LearningRate = -0.1 },
            "learning_rate NaN" => update with { LearningRate = double.NaN },
            "momentum" => update with { Momentum = -1 },
            "eps" => update with { Eps = double.PositiveInfinity },
            "weight_decay" => update with { WeightDecay = -0.5 },
            "beta1" => update with { Beta1 = 1 },
            "beta2" => update with { Beta2 = -0.25 },
            _ => update with { Nesterov = true },
        };
        var refusal = Assert.Throws<LayerException>(() => update.Validated());
        Assert.Equal(LayerError.InvalidOption, refusal.Error);
        Assert.Equal(message, refusal.Message);
    }
}

/// <summary>SGD, Adam and AdamW, line by line as in the pseudo-code of torch.optim's documentation, one parameter at a time.</summary>
internal sealed class TorchOptimizer(ParameterUpdate options)
{
    private readonly Dictionary<int, double> _b = [], _m = [], _v = [];
    private int _t;

    public double[] Step(double[] theta, double[] gradient)
    {
        _t++;
        Func<int, double, double, double> rule = options.Optimizer == Optimizer.Sgd ? Sgd : Adam;
        return [.. theta.Select((value, i) => rule(i, value, gradient[i]))];
    }

    private double Sgd(int i, double theta, double g)
    {
        if (options.WeightDecay != 0) g += options.WeightDecay * theta;
        if (options.Momentum != 0)
        {
            _b[i] = _t > 1 ? (options.Momentum * _b[i]) + g : g;
            g = options.Nesterov ? g + (options.Momentum * _b[i]) : _b[i];
        }
        return theta - (options.LearningRate * g);
    }

    private double Adam(int i, double theta, double g)
    {
        if (options.Optimizer == Optimizer.AdamW) theta -= options.LearningRate * options.WeightDecay * theta;
        else g += options.WeightDecay * theta;
        _m[i] = (options.Beta1 * _m.GetValueOrDefault(i)) + ((1 - options.Beta1) * g);
        _v[i] = (options.Beta2 * _v.GetValueOrDefault(i)) + ((1 - options.Beta2) * g * g);
        var corrected = (M: _m[i] / (1 - Math.Pow(options.Beta1, _t)), V: _v[i] / (1 - Math.Pow(options.Beta2, _t)));
        return theta - (options.LearningRate * corrected.M / (Math.Sqrt(corrected.V) + options.Eps));
    }
}
