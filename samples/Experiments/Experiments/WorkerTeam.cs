using BnService.Experiments.Data;
using BnService.Experiments.Networks;

namespace BnService.Experiments.Experiments;

/// <summary>
/// Workers with a copy of the network each, who train on parts of a batch at the same time and add their gradients up. gamma and beta of
/// synchronized layers are moved on the service, by the sum of all; those of layers that each worker has for itself here, by the sum too.
/// </summary>
internal sealed class WorkerTeam(IReadOnlyList<Network> networks)
{
    private readonly List<(Parameter Gamma, Parameter Beta)> _own =
        [.. networks[0].Layers.OfType<NormalizationLayer>().Select(_ => (new Parameter([]), new Parameter([])))];

    /// <summary>One step with a batch that the workers share evenly.</summary>
    public async Task TrainAsync(Digits batch, Sgd sgd, CancellationToken cancellationToken)
    {
        var part = batch.Labels.Length / networks.Count;
        await Task.WhenAll(networks.Select(async (network, rank) =>
        {
            var labels = batch.Labels[(rank * part)..((rank + 1) * part)];
            var logits = await network.ForwardAsync(batch.Images.Slice(rank * part, part), training: true);
            var (_, gradient) = Loss.CrossEntropy(logits, labels, samples: batch.Labels.Length);
            await network.BackwardAsync(gradient, _own.Count == 0 ? sgd : null);
        }));
        var copies = networks.Select(network => network.Parameters.ToList()).ToList();
        for (var i = 0; i < copies[0].Count; i++) Apply(sgd, [.. copies.Select(parameters => parameters[i])]);
        for (var i = 0; i < _own.Count; i++) await MoveOwnAsync(i, sgd, cancellationToken);
    }

    private static void Apply(Sgd sgd, IReadOnlyList<Parameter> copies)
    {
        var sum = new float[copies[0].Values.Length];
        foreach (var copy in copies) for (var i = 0; i < sum.Length; i++) sum[i] += copy.Gradient[i];
        foreach (var copy in copies)
        {
            sum.CopyTo(copy.Gradient, 0);
            sgd.Apply(copy);
        }
    }

    private async Task MoveOwnAsync(int index, Sgd sgd, CancellationToken cancellationToken)
    {
        var layers = networks.Select(network => network.Layers.OfType<NormalizationLayer>().ElementAt(index)).ToList();
        var width = layers[0].ParameterGradients.Gamma.Count;
        if (_own[index].Gamma.Values.Length == 0) _own[index] = (new Parameter([.. Enumerable.Repeat(1f, width)]), new Parameter(new float[width]));
        var (gamma, beta) = _own[index];
        for (var i = 0; i < width; i++)
        {
            gamma.Gradient[i] = (float)layers.Sum(layer => layer.ParameterGradients.Gamma[i]);
            beta.Gradient[i] = (float)layers.Sum(layer => layer.ParameterGradients.Beta[i]);
        }
        sgd.Apply(gamma);
        sgd.Apply(beta);
        double[] newGamma = [.. gamma.Values.Select(value => (double)value)], newBeta = [.. beta.Values.Select(value => (double)value)];
        foreach (var layer in layers) await layer.Session.PutParametersAsync(newGamma, newBeta, cancellationToken: cancellationToken);
    }
}
