using BnService.Client;
using BnService.Experiments.Data;
using BnService.Experiments.Networks;

namespace BnService.Experiments.Experiments;

/// <summary>A network in training, looked at now and then.</summary>
/// <param name="Accuracies">Steps, and the accuracy of inference on held-out digits after them.</param>
/// <param name="TrainModeAccuracy">Accuracy on the batches of the last tenth of the steps, each before it was trained on, as normalized in training.</param>
/// <param name="IsDiverged">Whether training ended early because its numbers were no longer finite.</param>
public sealed record Trial(IReadOnlyList<(double Step, double Accuracy)> Accuracies, double TrainModeAccuracy, bool IsDiverged)
{
    /// <summary>The accuracy at the end; of numbers that are no longer finite none.</summary>
    public double Final => IsDiverged ? 0 : Accuracies[^1].Accuracy;

    /// <summary>The best accuracy, and the first step that had it.</summary>
    public (double Step, double Accuracy) Best => Accuracies.MaxBy(point => point.Accuracy);

    /// <summary>The first step that is as accurate; null where none is.</summary>
    public double? StepsTo(double accuracy)
    {
        var reached = Accuracies.Where(point => point.Accuracy >= accuracy).ToList();
        return reached.Count == 0 ? null : reached[0].Step;
    }

    /// <summary>Trains a network and disposes it.</summary>
    /// <param name="laboratory">Whose held-out digits are judged by.</param>
    /// <param name="network">The network.</param>
    /// <param name="next">Makes the next batch.</param>
    /// <param name="steps">Steps of training.</param>
    /// <param name="every">Steps from one look to the next.</param>
    /// <param name="sgd">How weights are moved.</param>
    /// <param name="areImagesPlanes">Whether the network takes [N, 8, 8, 1] and not [N, 64].</param>
    public static async Task<Trial> RunAsync(
        Laboratory laboratory, Network network, Func<Digits> next, int steps, int every, Sgd sgd, bool areImagesPlanes = false)
    {
        await using var _ = network;
        Tensor Images(Digits digits) => areImagesPlanes ? digits.Planes : digits.Images;
        var accuracies = new List<(double, double)>();
        var (correct, seen) = (0, 0);
        for (var step = 1; step <= steps; step++)
        {
            laboratory.CancellationToken.ThrowIfCancellationRequested();
            var batch = next();
            try
            {
                var (loss, right) = await network.TrainAsync(Images(batch), batch.Labels, sgd);
                if (!double.IsFinite(loss)) return new(accuracies, 0, IsDiverged: true);
                if (step > steps - Math.Max(1, steps / 10)) (correct, seen) = (correct + right, seen + batch.Labels.Length);
                if (step % every == 0 || step == steps) accuracies.Add((step, await network.AccuracyAsync(Images(laboratory.Test), laboratory.Test.Labels)));
            }
            catch (BnServiceException exception) when (exception.Code == ProblemCodes.NonFiniteInput)
            {
                // The service keeps numbers that are none out of the running statistics: the network has diverged before the layer.
                return new(accuracies, 0, IsDiverged: true);
            }
        }
        return new(accuracies, (double)correct / seen, IsDiverged: false);
    }
}
