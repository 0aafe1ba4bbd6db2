using System.Globalization;
using BnService.Api.Hosting.Telemetry;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>The tensors of a batch; whoever holds it disposes it.</summary>
/// <param name="X">The batch.</param>
/// <param name="Residual">Added to y before the activation, in the shape of x; null for nothing.</param>
/// <param name="Mask">What counts in the statistics; null for all.</param>
internal sealed record BatchInput(Tensor X, Tensor? Residual, BatchMask? Mask) : IDisposable
{
    /// <summary>gamma and beta of this call alone; null for the session's.</summary>
    public OwnParameters? Own { get; init; }

    /// <summary>Refuses a residual of another shape.</summary>
    public void RequireFit()
    {
        if (Residual is not null && !Residual.Shape.Equals(X.Shape))
            throw new LayerException(LayerError.ShapeMismatch, $"residual must have the shape of x, {X.Shape}, got {Residual.Shape}");
    }

    /// <summary>The layer that normalizes the batch, with parameters of the call where it brings them.</summary>
    public LayerState On(LayerState layer) => Own is null ? layer : Own.On(layer);

    /// <summary>The batch on that layer.</summary>
    public Batch On(Batch batch) => Own is null ? batch : batch.On(Own.On(batch.Layer));

    /// <inheritdoc/>
    public void Dispose()
    {
        X.Dispose();
        Residual?.Dispose();
    }
}

/// <summary>Under which terms a change is made.</summary>
/// <param name="Check">Throws to refuse, given the version that would be changed.</param>
/// <param name="Key">The question, where its answer is to be remembered.</param>
internal sealed record ChangeTerms(Action<long> Check, AnswerKey? Key)
{
    /// <summary>The versions that <see cref="Check"/> lets pass, for where it is another one's to check; null for any.</summary>
    public IReadOnlyList<long>? AllowedVersions { get; init; }
}

/// <summary>What a train-step did.</summary>
/// <param name="Y">The normalized batch; the caller's to dispose.</param>
/// <param name="StepId">Names the retained step, or null.</param>
/// <param name="Mean">The mean that normalized it; null for kinds that subtract none.</param>
/// <param name="Variance">The variance that normalized it.</param>
/// <param name="Count">Number of values per statistic.</param>
/// <param name="BatchesTracked">Number of batches that had moved the running statistics after it.</param>
/// <param name="Version">The session's version after it.</param>
/// <param name="Warnings">What is to be said of the batch.</param>
internal sealed record TrainStepResult(
    TensorSource Y, string? StepId, double[]? Mean, double[] Variance, long Count, long BatchesTracked, long Version, IReadOnlyList<Finding> Warnings)
{
    /// <summary>Whether the batch has been taken over by what is retained.</summary>
    public bool HasTakenInput { get; init; }

    /// <summary>Whether the step was made, and answered, before.</summary>
    public bool IsReplayed { get; init; }
}

/// <summary>
/// A train-step: the batch's moments depend on x alone and are gathered while it arrives; the commit is O(features); the beginning of y is
/// computed while the store makes it durable, and the rest while it is sent, which begins when the commit is durable.
/// </summary>
internal sealed class TrainStep(SessionCatalog catalog, RetainedSteps retained, TrafficObserver observer, PassMeter passes, ComputeGate gate, ComputeSettings compute, TimeProvider time)
{
    /// <summary>Normalizes a batch and moves the session's statistics.</summary>
    /// <param name="session">The session.</param>
    /// <param name="input">The batch; taken over if <paramref name="retain"/>, which the result tells.</param>
    /// <param name="gathered">The batch's moments where they have been gathered while it arrived, or null.</param>
    /// <param name="retain">Whether to keep what backward needs.</param>
    /// <param name="terms">The terms.</param>
    /// <param name="cancellationToken">Ends waiting for the store.</param>
    public async Task<TrainStepResult> RunAsync(
        LayerSession session, BatchInput input, ArrivingBatch? gathered, bool retain, ChangeTerms terms, CancellationToken cancellationToken)
    {
        var begun = time.GetTimestamp();
        input.RequireFit();
        var batch = input.On(catalog.BatchOf(session.Current.Layer, input.X.Shape, compute));
        var layer = batch.Layer;
        var bytes = retain ? RetainedStep.BytesOf(input, batch.Layout, layer.Options.GhostBatchSize) : 0;
        if (retain) retained.RequireRoom(bytes);
        batch.RequireMask(input.Mask);
        TensorSource? y = null;
        try
        {
            StepStatistics? statistics;
            if (layer.NormalizesWithBatch && !layer.MovesWithBatch)
            {
                var whole = Tensor.Rent(input.X.Shape, input.X.Precision);
                y = whole;
                using var turn = await gate.EnterAsync(input.X.Shape, cancellationToken);
                using (passes.Begin(PassKind.Normalize, input.X.Shape)) statistics = batch.MeasureAndWrite(input.X, input.Residual, whole);
                RequireFinite(statistics, input.X, layer.Options);
            }
            else
            {
                using var turn = await gate.EnterAsync(input.X.Shape, cancellationToken);
                statistics = Statistics(input, layer, batch, gathered);
            }
            var step = new PreparedStep(batch, statistics, retain ? retained.NewId() : null)
            {
                Own = input.Own,
                Frozen = layer.NormalizesWithBatch ? null : observer.Sample(session, input.X),
            };
            if (gathered is { MayHaveMoreDigits: true } && gathered.LostFrom(step.Mean, step.Variance) is { } lost) step = step with { Lost = lost };
            // Once it is committed it must not fail for want of memory.
            MemoryAccount.Expect(OutputBytes(step, input, y));
            var committing = catalog.ChangeAsync(session, step.Change(terms), cancellationToken);
            // What follows is the same whatever the store answers, and done while it writes.
            if (y is null)
            {
                // The change is on its way: it is answered however long its turn takes.
                using var turn = await gate.EnterAsync(input.X.Shape, CancellationToken.None);
                y = OutputOf(step, input, isAhead: !committing.IsCompleted);
            }
            var committed = await committing;
            // The session's mode has been changed meanwhile: the batch has to be read once more.
            if (step.HasFlipped) return await AgainAsync();
            if (committed.Replayed is { } earlier)
            {
                if (step.Replayed(earlier, () => Gathered(batch, input)) is { } then) (step, y) = (then, Replaced(y, then, input));
                return Result(step, y, earlier) with { IsReplayed = true };
            }
            if (step.MovedTo(committed.Before.Layer) is { } moved) (step, y) = (moved, Replaced(y, moved, input));
            observer.Stepped(session, committed.State.Layer, step, time.GetElapsedTime(begun));
            var result = Result(step, y, step.Answer(committed.State.Layer));
            if (step.Id is null) return result;
            var kept = new RetainedStep(step.Id, session.Id, input, step.Layer, step.Statistics, bytes);
            // The output reads the batch after it may have been dropped again.
            if (y is ComputedOutput computed) computed.Hold(kept);
            Retain(session, kept);
            return result with { HasTakenInput = true };
        }
        catch
        {
            y?.Dispose();
            throw;
        }

        Task<TrainStepResult> AgainAsync()
        {
            y.Dispose();
            y = null;
            return RunAsync(session, input, gathered, retain, terms, cancellationToken);
        }
    }

    /// <summary>Refuses a batch that is not finite where the session says so.</summary>
    /// <exception cref="LayerException">It is not finite.</exception>
    internal static void RequireFinite(StepStatistics step, Tensor x, NormalizerOptions options)
    {
        if (options.NonFinite == NonFinitePolicy.Reject && !step.IsFinite) throw NonFinite(x, step.Moments.Count);
    }

    /// <summary>Refuses finite values whose squares not even float64 can hold: they would be normalized to 0.</summary>
    /// <exception cref="LayerException">They are such.</exception>
    internal static void RequireRange(StepStatistics step, Tensor x)
    {
        if (x.Precision == Precision.Float64 && !step.IsFinite && FirstNonFinite(x) == x.Shape.Count) throw NonFinite(x, step.Moments.Count);
    }

    /// <summary>Refuses to use statistics that no data has touched, where the session asks for that.</summary>
    internal static void RequireStatistics(LayerState layer)
    {
        if (layer.Options.RequireStatistics && layer.Running is { IsInitial: true })
            throw new LayerException(LayerError.NoRunningStatistics, "the session requires running statistics and has seen no batch");
    }

    // Null where the running statistics normalize the batch.
    private StepStatistics? Statistics(BatchInput input, LayerState layer, Batch batch, ArrivingBatch? gathered)
    {
        if (!layer.NormalizesWithBatch)
        {
            RequireStatistics(layer);
            return null;
        }
        var arrived = input.Mask is null && batch.GathersWhole ? gathered?.Finish() : null;
        var step = arrived is null ? Gathered(batch, input) : batch.Measure(input.X, null, arrived);
        RequireFinite(step, input.X, layer.Options);
        return step;
    }

    private StepStatistics Gathered(Batch batch, BatchInput input)
    {
        using var timed = passes.Begin(PassKind.Moments, input.X.Shape);
        return batch.Measure(input.X, input.Mask);
    }

    private TensorSource OutputOf(PreparedStep step, BatchInput input, bool isAhead)
    {
        if (IsComputedLater(step, input))
        {
            var computed = new ComputedOutput(input, passes.Metered(step.Batch.Output(step.Statistics), input.X.Shape));
            if (isAhead) computed.ComputeBeginning();
            return computed;
        }
        using var timed = passes.Begin(PassKind.Normalize, input.X.Shape);
        return WholeOutputOf(step, input);
    }

    private static Tensor WholeOutputOf(PreparedStep step, BatchInput input) => Filled(input.X, y =>
    {
        if (step.Layer.MovesWithBatch || step.Statistics is null) step.Batch.Write(input.X, step.Statistics, input.Residual, y);
        else step.Batch.MeasureAndWrite(input.X, input.Residual, y);
    });

    /// <summary>A tensor of the shape and precision of another one, the caller's to dispose once it has been filled.</summary>
    internal static Tensor Filled(Tensor like, Action<Tensor> fill)
    {
        var tensor = Tensor.Rent(like.Shape, like.Precision);
        try
        {
            fill(tensor);
            return tensor;
        }
        catch
        {
            tensor.Dispose();
            throw;
        }
    }

    // Statistics per sample have no output a stretch at a time, and neither has float64.
    private static bool IsComputedLater(PreparedStep step, BatchInput input) =>
        input.X.Precision == Precision.Float32 && (step.Statistics is null || step.Batch.IsOverBatch);

    // First the old one goes: there is memory for one.
    private TensorSource Replaced(TensorSource y, PreparedStep step, BatchInput input)
    {
        y.Dispose();
        return OutputOf(step, input, isAhead: false);
    }

    // What normalizes, for each statistic, and the beginning of y or all of it.
    private static long OutputBytes(PreparedStep step, BatchInput input, TensorSource? y) =>
        SessionCatalog.AnswerBytes + (64L * step.Layer.Features) + (y is not null ? 0
            : IsComputedLater(step, input) ? ComputedOutput.BytesOf(input.X.Shape)
            : NativeBuffer.LengthFor((long)input.X.Shape.Count * input.X.Precision.Size()));

    private static TrainStepResult Result(PreparedStep step, TensorSource y, RememberedAnswer answer) => new(
        y, answer.StepId, step.Mean, step.Variance, step.Count, answer.BatchesTracked, answer.Version, answer.Warnings);

    private void Retain(LayerSession session, RetainedStep step)
    {
        retained.Add(step);
        // Deleted since the commit: its steps have been dropped already, without this one.
        if (session.IsGone) retained.Drop(session.Id);
    }

    /// <summary>Index of the first element that is not finite; the length where all are.</summary>
    internal static int FirstNonFinite(Tensor x)
    {
        var index = 0;
        while (index < x.Shape.Count && double.IsFinite(ValueAt(x, index))) index++;
        return index;
    }

    /// <summary>An element of x, and where it stands in nested arrays.</summary>
    internal static string Describe(Tensor x, int index)
    {
        var (place, rest) = (new int[x.Shape.Rank], index);
        for (var axis = place.Length - 1; axis >= 0; axis--) (rest, place[axis]) = Math.DivRem(rest, x.Shape[axis]);
        return string.Create(CultureInfo.InvariantCulture, $"element {index} is {ValueAt(x, index)}, at x[{string.Join("][", place)}]");
    }

    private static double ValueAt(Tensor x, int index) => x.Precision == Precision.Float64 ? x.Doubles[index] : x.Data[index];

    /// <summary>The refusal of a batch that is not finite.</summary>
    /// <param name="x">The batch.</param>
    /// <param name="count">Number of values per statistic.</param>
    internal static LayerException NonFinite(Tensor x, long count)
    {
        var index = FirstNonFinite(x);
        if (index == x.Shape.Count)
        {
            return new LayerException(LayerError.NonFiniteInput,
                $"x has finite values, but statistics beyond float64's range ({count} values each): divide x by a constant before it is sent");
        }
        return new LayerException(LayerError.NonFiniteInput,
            $"x must be finite, since it moves the running statistics forever: {Describe(x, index)}; " +
            "a session with non_finite propagate lets it through");
    }
}
