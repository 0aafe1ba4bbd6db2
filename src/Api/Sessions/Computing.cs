using BnService.Api.Errors;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Telemetry;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;
using Microsoft.Extensions.Options;

namespace BnService.Api.Sessions;

/// <summary>Computes over batches: within the limits, large ones in turn, and metered.</summary>
internal sealed class Computing(PassMeter passes, ComputeGate gate, ComputeSettings settings, IOptions<LimitOptions> limits)
{
    /// <summary>A batch of a shape, as a layer sees it.</summary>
    /// <exception cref="ProblemException">More statistics than a session may have: refused before any are allocated.</exception>
    public Batch BatchOf(LayerState layer, Shape shape) => Batch.Of(layer, shape, settings, layout =>
    {
        var most = limits.Value.MaxStatistics;
        if (layout.Reduction == Reduction.Channels) RequireFeatures(limits.Value, layout.Statistics);
        else if (layout.Statistics > most)
        {
            throw new ProblemException(ProblemCode.LimitReached,
                $"a batch has at most {most} statistics (Limits:MaxStatistics), x of shape {shape} has {layout.Statistics}");
        }
    });

    /// <inheritdoc cref="ComputeGate.EnterAsync(Shape, CancellationToken)"/>
    public ValueTask<ComputeGate.Turn> EnterAsync(Shape shape, CancellationToken cancellationToken) =>
        gate.EnterAsync(shape, cancellationToken);

    /// <inheritdoc cref="PassMeter.Begin"/>
    public PassMeter.WholePass Begin(PassKind kind, Shape shape) => passes.Begin(kind, shape);

    /// <inheritdoc cref="PassMeter.Divided"/>
    public PassMeter.DividedPass Divided(PassKind kind, Shape shape) => passes.Divided(kind, shape);

    /// <inheritdoc cref="PassMeter.Metered"/>
    public LayerOutput Metered(LayerOutput output, Shape shape) => passes.Metered(output, shape);

    public StepStatistics Measure(Batch batch, BatchInput input, bool isTraining = true)
    {
        using var timed = passes.Begin(PassKind.Moments, input.X.Shape);
        return batch.Measure(input.X, input.Mask, isTraining: isTraining);
    }

    /// <summary>y of a batch: computed where it is sent from, if it can be.</summary>
    /// <param name="batch">The batch, on the layer that normalizes it.</param>
    /// <param name="statistics">Its statistics; null for the running ones.</param>
    /// <param name="input">The batch, which must live as long as y.</param>
    /// <param name="isAhead">Whether to compute its beginning now, while there is nothing else to do.</param>
    public TensorSource Output(Batch batch, StepStatistics? statistics, BatchInput input, bool isAhead = false)
    {
        if (IsComputedLater(batch, statistics, input.X))
        {
            var computed = new ComputedOutput(input, passes.Metered(batch.Output(statistics), input.X.Shape));
            if (isAhead) computed.ComputeBeginning();
            return computed;
        }
        using var timed = passes.Begin(PassKind.Normalize, input.X.Shape);
        var y = Tensor.Rent(input.X.Shape, input.X.Precision);
        try
        {
            if (statistics is null || batch.Layer.MovesWithBatch) batch.Write(input.X, statistics, input.Residual, y);
            else batch.MeasureAndWrite(input.X, input.Residual, y);
            return y;
        }
        catch
        {
            y.Dispose();
            throw;
        }
    }

    /// <summary>Bytes that <see cref="Output"/> takes at first.</summary>
    public static long OutputBytes(Batch batch, StepStatistics? statistics, Tensor x) => IsComputedLater(batch, statistics, x)
        ? ComputedOutput.BytesOf(x.Shape)
        : NativeBuffer.LengthFor((long)x.Shape.Count * x.Precision.Size());

    public static void RequireFeatures(LimitOptions limits, int features)
    {
        if (features <= limits.MaxFeatures) return;
        throw new ProblemException(ProblemCode.LimitReached,
            $"a session has at most {limits.MaxFeatures} features (Limits:MaxFeatures), got {features}");
    }

    // Neither statistics per sample nor float64 have an output that is computed in parts.
    private static bool IsComputedLater(Batch batch, StepStatistics? statistics, Tensor x) =>
        x.Precision == Precision.Float32 && (statistics is null || batch.IsOverBatch);
}

/// <summary>
/// Bounds how many large batches are computed at once (Compute:LargeBatches), in the order in which they come; small ones pass at once.
/// A large one holds a thread of the pool for as long as it computes: without a bound a few of them hold all, and a small one waits for
/// one of them to be done.
/// </summary>
internal sealed class ComputeGate(IOptions<ComputeOptions> options, WaitMeter waits) : IDisposable
{
    /// <summary>Batches of fewer elements pass: 1 MiB takes less time than waking who waits.</summary>
    public const int LargeElements = 1 << 18;

    private const int LongText = 8 << 20;

    private readonly SemaphoreSlim _free = new(options.Value.LargeBatches);

    public int Free => _free.CurrentCount;

    /// <summary>Waits until a batch may be computed; what is returned is disposed when it has been.</summary>
    public async ValueTask<Turn> EnterAsync(Shape shape, CancellationToken cancellationToken)
    {
        if (shape.Count < LargeElements) return default;
        return await EnterAsync(cancellationToken);
    }

    /// <summary>Waits until a text may be read: a long one holds a thread as a large batch does.</summary>
    public async ValueTask<Turn> EnterTextAsync(long bytes, CancellationToken cancellationToken) =>
        bytes < LongText ? default : await EnterAsync(cancellationToken);

    private async ValueTask<Turn> EnterAsync(CancellationToken cancellationToken)
    {
        var turn = _free.WaitAsync(cancellationToken);
        if (turn.IsCompletedSuccessfully) waits.Compute.Passed();
        else await waits.Compute.WaitAsync(turn);
        return new Turn(_free);
    }

    public void Dispose() => _free.Dispose();

    internal readonly struct Turn(SemaphoreSlim? free) : IDisposable
    {
        public void Dispose() => free?.Release();
    }
}
