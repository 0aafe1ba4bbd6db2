namespace BnService.Experiments.Networks;

/// <summary>Softmax and cross-entropy over the logits of a batch.</summary>
public static class Loss
{
    /// <summary>The mean loss, and its gradient by the logits; <paramref name="samples"/> is what it is the mean over, where the batch is a part.</summary>
    public static (double Value, Tensor Gradient) CrossEntropy(Tensor logits, ReadOnlySpan<int> labels, int? samples = null)
    {
        var (gradient, total, count) = (new Tensor(logits.Shape), 0.0, samples ?? logits.Rows);
        for (var row = 0; row < logits.Rows; row++)
        {
            var values = logits.Row(row);
            var result = gradient.Row(row);
            var (largest, sum) = (float.NegativeInfinity, 0.0);
            foreach (var value in values) largest = MathF.Max(largest, value);
            foreach (var value in values) sum += Math.Exp(value - largest);
            for (var i = 0; i < values.Length; i++) result[i] = (float)((Math.Exp(values[i] - largest) / sum - (i == labels[row] ? 1 : 0)) / count);
            total += Math.Log(sum) + largest - values[labels[row]];
        }
        return (total / count, gradient);
    }

    /// <summary>The class of each sample: that of its largest logit; −1 where logits are no numbers.</summary>
    public static int[] Predictions(Tensor logits)
    {
        var classes = new int[logits.Rows];
        for (var row = 0; row < logits.Rows; row++)
        {
            var values = logits.Row(row);
            var best = 0;
            for (var i = 1; i < values.Length; i++) if (values[i] > values[best]) best = i;
            classes[row] = float.IsFinite(values[best]) ? best : -1;
        }
        return classes;
    }

    /// <summary>How many of the samples are of the class that is predicted.</summary>
    public static int Correct(Tensor logits, int[] labels) => Predictions(logits).Zip(labels).Count(pair => pair.First == pair.Second);
}
