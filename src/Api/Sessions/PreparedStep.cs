using BnService.Api.Errors;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Api.Sessions;

/// <summary>A train-step whose statistics are known and that has to be committed: O(features), whatever the batch was.</summary>
/// <param name="Batch">The batch, on the layer that normalizes it.</param>
/// <param name="Statistics">The batch's statistics; null where the running statistics normalize it.</param>
internal sealed record PreparedStep(Batch Batch, StepStatistics? Statistics)
{
    public LayerState Layer => Batch.Layer;

    /// <summary>Names the step where it is to be retained, or null.</summary>
    public string? Id { get; init; }

    /// <summary>The batch's own statistics where the running ones normalize it and it was looked at.</summary>
    public LastBatch? Frozen { get; init; }

    /// <summary>gamma and beta of the call, where it has brought them; null for the session's.</summary>
    public OwnParameters? Own { get; init; }

    /// <summary>What rounding the batch to float32 has done to its statistics; null for nothing.</summary>
    public LostPrecision? Lost { get; init; }

    /// <summary>The mean that normalizes; null for kinds that subtract none.</summary>
    public double[]? Mean => !Layer.Options.Kind.HasMean ? null : Statistics?.Moments.Mean ?? Layer.Running!.Mean;

    public double[] Variance => Statistics?.Moments.Variance(unbiased: false) ?? Layer.Running!.Variance;

    public long Count => Statistics?.Moments.Count ?? Batch.Layout.Count;

    /// <summary>What the caller should know about the batch.</summary>
    /// <param name="after">The layer after the step.</param>
    public IReadOnlyList<Finding> Warnings(LayerState after)
    {
        var findings = Diagnosis.OfStep(after, BatchFor(after), Statistics is not null, Lost);
        return Lost is not null && Diagnosis.OfRounding(Lost, Mean, Variance) is { } rounding ? [rounding, .. findings] : findings;
    }

    /// <summary>The batch as diagnostics see it; null where nothing is known of it.</summary>
    /// <remarks>Statistics of each sample say nothing of the batch, but for the average that running statistics take.</remarks>
    /// <param name="after">The layer after the step.</param>
    public LastBatch? BatchFor(LayerState after) =>
        Statistics is null ? Frozen
        : !Layer.Options.Kind.IsOverBatch ? after.LastBatch
        : new LastBatch(Statistics.Moments.Mean, Variance, Count) { Samples = Statistics.Samples };

    /// <summary>The step with the layer that it was made on; null where that is the same to it.</summary>
    /// <param name="before">The layer before it, which other changes may have moved since it was prepared.</param>
    public PreparedStep? MovedTo(LayerState before)
    {
        var usesRunning = Statistics is null || Layer.Options.Kind == NormalizerKind.BatchRenorm;
        if (ReferenceEquals(before, Layer)
            || (ReferenceEquals(Own?.Gamma ?? before.Gamma, Layer.Gamma) && ReferenceEquals(Own?.Beta ?? before.Beta, Layer.Beta)
                && before.Options == Layer.Options && (!usesRunning || ReferenceEquals(before.Running, Layer.Running))))
        {
            return null;
        }
        var batch = Batch.On(before);
        if (Own is not null) batch = batch.On(Own.On(batch.Layer));
        return this with { Batch = batch, Statistics = Statistics is null ? null : batch.Corrected(Statistics) };
    }

    /// <summary>The step with what a batch was normalized with elsewhere, or when it was answered first.</summary>
    /// <param name="with">What that was.</param>
    /// <param name="input">The batch.</param>
    /// <param name="own">The batch's own statistics, where they normalized it.</param>
    public PreparedStep As(NormalizedWith with, BatchInput input, StepStatistics? own)
    {
        var (batch, statistics) = with.Apply(Batch, input, own);
        return this with { Batch = batch, Statistics = statistics };
    }
}

/// <summary>The change that a train-step makes: of a batch alone, or of the parts of several ranks.</summary>
internal sealed record StepChange(PreparedStep Step, ChangeTerms Terms, TrafficObserver Observer) : JoinedChange<StepReplay>(Terms)
{
    /// <summary>When the batch came, in timestamps of the clock; null where the step waits for other ranks.</summary>
    public long? Begun { get; init; }

    public Moments? Own { get; init; }

    /// <summary>What of this rank's part counts; null for all.</summary>
    public BatchMask? Mask { get; init; }

    /// <summary>The name under which this rank retains its part.</summary>
    public string? RankStepId { get; init; }

    public override string Call => "train-step";

    public override StoredReplay Part => NormalizedWith.AddMoments(new(0, 0) { StepId = RankStepId }, Own!);

    public override SessionRecord? Apply(SessionRecord before)
    {
        if (before.Layer.NormalizesWithBatch != Step.Layer.NormalizesWithBatch) return Own is null ? null : throw ModeChanged();
        if (Step.Statistics is null) return before;
        var sized = before.Layer.SizedFor(Step.Batch.Layout);
        var next = sized.Advance(Step.Statistics);
        return ReferenceEquals(next, sized) ? before : before with { Layer = next };
    }

    public override StepReplay Answer(SessionRecord before, SessionRecord after)
    {
        var step = Step.MovedTo(before.Layer) ?? Step;
        return new(after.Layer.Version, after.Layer.Running?.BatchesTracked ?? 0, step.Id, step.Warnings(after.Layer),
            NormalizedWith.Of(step.Layer, step.Statistics));
    }

    public override StoredReplay Store(StepReplay answer) => answer.Store();

    public override StepReplay Read(StoredReplay replay) => StepReplay.Of(replay);

    public override void Made(LayerSession session, Made<StepReplay> made) => Observer.Stepped(session, this, made);

    public override StepChange Of(IReadOnlyList<StoredReplay> parts) =>
        this with { Step = Joined(Step, NormalizedWith.MomentsOf(parts, Own!), Mask) };

    // gamma and beta of a call are those of its rank alone.
    private static PreparedStep Joined(PreparedStep step, Moments joint, BatchMask? mask) =>
        step with { Own = null, Statistics = step.Batch.Join(joint, mask) };

    private static ProblemException ModeChanged() =>
        new(ProblemCode.VersionConflict, "the session's mode was changed to frozen while the ranks of the step came; send it again");
}

/// <summary>
/// What a batch was normalized with besides itself, gamma and beta, which have moved when the call comes again; of several ranks together
/// also the moments of all parts, gamma and beta, which each rank needs for its own part, whatever has become of the session meanwhile.
/// </summary>
internal sealed record NormalizedWith(double Eps)
{
    private const string RunningMean = "running_mean", RunningVariance = "running_var", R = "r", D = "d";
    private const string Mean = "mean", MeanResidual = "mean_residual", M2 = "m2", JointEps = "eps", Gamma = "gamma", Beta = "beta";

    /// <summary>The running mean and variance, where they normalized the batch.</summary>
    public (double[] Mean, double[] Variance)? Running { get; init; }

    /// <summary>r and d of batch renormalization, one entry for each part of the batch.</summary>
    public IReadOnlyList<Renormalization> Corrections { get; init; } = [];

    /// <summary>The moments of several ranks; null for a batch alone.</summary>
    public Moments? Joint { get; init; }

    /// <summary>The session's parameters, where <see cref="Joint"/> tells of ranks.</summary>
    public Parameters? Parameters { get; init; }

    /// <summary>Whether the batch's own statistics, and nobody else's, normalized it.</summary>
    public bool IsOwn => Running is null && Joint is null;

    /// <param name="layer">The layer that normalized the batch.</param>
    /// <param name="statistics">The batch's statistics, or those of several ranks; null where the running ones normalized it.</param>
    public static NormalizedWith Of(LayerState layer, StepStatistics? statistics) => statistics is null
        ? new(layer.Options.Eps) { Running = (layer.Running!.Mean, layer.Running.Variance) }
        : new(layer.Options.Eps)
        {
            Corrections = [.. statistics.Parts.Select(part => part.Correction).OfType<Renormalization>()],
            Joint = statistics.AreJoint ? statistics.Moments : null,
            Parameters = statistics.AreJoint ? new(layer.Gamma, layer.Beta) : null,
        };

    /// <summary>A batch on the layer that normalized it, and the statistics that did.</summary>
    /// <param name="batch">The batch on the session's layer of this moment.</param>
    /// <param name="input">The batch.</param>
    /// <param name="own">The batch's own statistics, where <see cref="IsOwn"/>.</param>
    public (Batch Batch, StepStatistics? Statistics) Apply(Batch batch, BatchInput input, StepStatistics? own)
    {
        var then = batch.Layer with { Options = batch.Layer.Options with { Eps = Eps } };
        if (Joint is not null)
        {
            batch = input.On(batch.On(then with { Gamma = Parameters!.Gamma, Beta = Parameters.Beta }));
            return (batch, Corrected(batch.Join(Joint, input.Mask)));
        }
        if (Running is not { } running) return (batch.On(then), Corrected(own!));
        var tracked = then.Running?.BatchesTracked ?? 0;
        return (batch.On(then with { Running = new RunningStatistics(running.Mean, running.Variance, tracked, isInitial: false) }), null);
    }

    public StoredReplay AddTo(StoredReplay replay)
    {
        if (Joint is { } joint)
        {
            return AddMoments(replay, joint).With(
                (JointEps, [Eps]), (Gamma, Parameters!.Gamma), (Beta, Parameters.Beta),
                (R, Corrections.Count == 0 ? null : Corrections[0].R), (D, Corrections.Count == 0 ? null : Corrections[0].D));
        }
        return (replay with { Eps = Eps }).With([
            (RunningMean, Running?.Mean), (RunningVariance, Running?.Variance),
            .. Corrections.SelectMany((correction, i) => ((string, double[]?)[])[($"{R}{i}", correction.R), ($"{D}{i}", correction.D)])]);
    }

    public static NormalizedWith Of(StoredReplay replay)
    {
        if (replay.Find(JointEps) is [var eps])
        {
            return new(eps)
            {
                Joint = MomentsOf(replay),
                Parameters = new(replay.Find(Gamma), replay.Find(Beta)),
                Corrections = replay.Find(R) is { } r ? [new(r, replay.Arrays[D])] : [],
            };
        }
        var corrections = new List<Renormalization>();
        for (var i = 0; replay.Find($"{R}{i}") is { } r; i++) corrections.Add(new(r, replay.Arrays[$"{D}{i}"]));
        return new(replay.Eps)
        {
            Running = replay.Find(RunningMean) is { } mean ? (mean, replay.Arrays[RunningVariance]) : null,
            Corrections = corrections,
        };
    }

    /// <summary>Moments as they are stored, and as ranks tell them to each other.</summary>
    public static StoredReplay AddMoments(StoredReplay replay, Moments moments) =>
        (replay with { Count = moments.Count }).With((Mean, moments.Mean), (MeanResidual, moments.MeanResidual), (M2, moments.M2));

    public static Moments MomentsOf(StoredReplay replay) =>
        new(replay.Count, replay.Arrays[Mean], replay.Arrays[MeanResidual], replay.Arrays[M2]);

    /// <summary>The moments of all parts, merged in the order of the ranks: the same bits on every node.</summary>
    /// <exception cref="ProblemException">The parts do not have the same number of statistics.</exception>
    public static Moments MomentsOf(IReadOnlyList<StoredReplay> parts, Moments own)
    {
        var moments = parts.Select(MomentsOf).ToList();
        if (moments.TrueForAll(part => part.Channels == own.Channels)) return moments.Aggregate(Moments.Merge);
        var numbers = string.Join(", ", moments.Select(part => part.Channels).Distinct());
        throw new ProblemException(ProblemCode.ShapeMismatch,
            $"the parts of all ranks must have the same number of statistics, got {numbers}");
    }

    private StepStatistics Corrected(StepStatistics statistics) => Corrections.Count == 0 ? statistics : statistics with
    {
        Parts = [.. statistics.Parts.Select((part, i) => part with { Correction = Corrections[i] })],
    };
}
