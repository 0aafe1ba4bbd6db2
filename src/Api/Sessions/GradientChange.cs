using BnService.Api.Errors;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>The step that a gradient goes back through.</summary>
internal sealed record ForwardStep(BatchInput Input, Batch Batch, StepStatistics? Statistics)
{
    public LayerState Layer => Batch.Layer;

    /// <summary>Whether it stays as it was: otherwise what normalized it is remembered with the answer.</summary>
    public bool IsRetained { get; init; }

    public bool IsTraining { get; init; }

    public Shape Shape => Input.X.Shape;

    /// <summary>The step as it was when its gradients were answered first.</summary>
    public ForwardStep As(GradientReplay earlier, bool isAlone)
    {
        var (batch, statistics) = isAlone && !IsRetained ? earlier.With!.Apply(Batch, Input, Statistics) : (Batch, Statistics);
        if (earlier.Before is { } before) batch = batch.On(batch.Layer with { Gamma = before.Gamma, Beta = before.Beta });
        return this with { Batch = batch, Statistics = statistics };
    }
}

/// <summary>The change that a backward call makes, of a batch alone or of the parts of several ranks: none without an update.</summary>
internal sealed record GradientChange(ForwardStep Step, ParameterUpdate? Update, ChangeTerms Terms)
    : JoinedChange<GradientReplay>(Terms)
{
    /// <summary>The gradients of this rank, or of all.</summary>
    public ParameterGradients? Gradients { get; init; }

    /// <summary>The sums of this rank, or of all; null where the gradient does not go through statistics of all ranks.</summary>
    public GradientSums? Sums { get; init; }

    private bool IsEmpty { get; init; } = Step.Shape.Count == 0;

    private bool IsJoined { get; init; }

    public override string Call => "backward";

    public override StoredReplay Part =>
        new StoredReplay(0, 0) { Update = UpdateText, Count = Step.Shape.Count }.With(GradientReplay.Part(Sums, Gradients));

    private string UpdateText => Update?.ToString() ?? "";

    public override SessionRecord? Apply(SessionRecord before)
    {
        if (Update is null || IsEmpty) return before;
        var gradients = Sums is null ? Gradients! : Step.Batch.ParametersOf(Step.Statistics!, Sums);
        var sized = before.Layer.SizedFor(Layout.Of(Step.Shape, before.Layer.Options));
        return before with { Layer = sized.Update(Update, gradients) };
    }

    public override GradientReplay Answer(SessionRecord before, SessionRecord after) =>
        new(after.Layer.Version, after.Layer.Running?.BatchesTracked ?? 0)
        {
            After = Update is null ? null : new(after.Layer.Gamma, after.Layer.Beta),
            Before = Update is null ? null : new(Step.Layer.Gamma, Step.Layer.Beta),
            With = IsJoined || Step.IsRetained ? null : NormalizedWith.Of(Step.Layer, Step.Statistics),
            Sums = IsJoined ? Sums : null,
            Gradients = IsJoined ? Gradients : null,
        };

    public override StoredReplay Store(GradientReplay answer) => answer.Store();

    public override GradientReplay Read(StoredReplay replay) => GradientReplay.Of(replay);

    public override GradientChange Of(IReadOnlyList<StoredReplay> parts)
    {
        if (parts.FirstOrDefault(part => part.Update != UpdateText) is { } odd)
            throw Invalid($"update must be the same for all ranks, got '{Update}' and '{odd.Update}'");
        var (sums, gradients) = (parts.Select(GradientReplay.SumsOf).ToList(), parts.Select(GradientReplay.GradientsOf).ToList());
        if (Sums is null ? gradients.Contains(null) : sums.Contains(null))
        {
            throw Invalid("mode must be the same for all ranks: some of them go through the statistics of the batch, and some through the "
                + "running ones");
        }
        if (sums.Select(part => part?.Statistics).Distinct().Count() + gradients.Select(part => part?.DGamma.Length).Distinct().Count() > 2)
            throw new ProblemException(ProblemCode.ShapeMismatch, "the parts of all ranks must have the same number of statistics");
        return this with
        {
            Sums = Sums is null ? null : new(Sum(sums, part => part!.SumDy), Sum(sums, part => part!.SumDyXmu)),
            Gradients = Sums is not null ? null : new(Sum(gradients, part => part!.DGamma), Sum(gradients, part => part!.DBeta)),
            IsEmpty = parts.All(part => part.Count == 0),
            IsJoined = true,
        };
    }

    private static ProblemException Invalid(string detail) => new(ProblemCode.InvalidOption, detail);

    // In the order of the ranks, from 0: the same bits on every node.
    private static double[] Sum<TPart>(List<TPart> parts, Func<TPart, double[]> values)
    {
        var sum = new double[values(parts[0]).Length];
        foreach (var part in parts)
        {
            for (var i = 0; i < sum.Length; i++) sum[i] += values(part)[i];
        }
        return sum;
    }
}

/// <summary>An update of gamma and beta by gradients that were taken elsewhere.</summary>
internal sealed record UpdateChange(ParameterUpdate Update, double[]? Dgamma, double[]? Dbeta, ChangeTerms Terms)
    : Change<GradientReplay>(Terms)
{
    public override SessionRecord? Apply(SessionRecord before) => before with { Layer = before.Layer.Update(Update, Dgamma, Dbeta) };

    public override GradientReplay Answer(SessionRecord before, SessionRecord after) =>
        new(after.Layer.Version, 0) { After = new(after.Layer.Gamma, after.Layer.Beta) };

    public override StoredReplay Store(GradientReplay answer) => answer.Store();

    public override GradientReplay Read(StoredReplay replay) => GradientReplay.Of(replay);
}

/// <summary>What ranks tell each other before a gradient through x: the statistics of all parts, which move nothing.</summary>
internal sealed record MomentsChange(Batch Batch, Moments Own, BatchMask? Mask, ChangeTerms Terms)
    : JoinedChange<NormalizedReplay>(Terms)
{
    public const string Name = "backward-moments";

    private StepStatistics? Statistics { get; init; }

    public override string Call => Name;

    public override StoredReplay Part => NormalizedWith.AddMoments(new(0, 0), Own);

    public override SessionRecord? Apply(SessionRecord before) => before;

    public override NormalizedReplay Answer(SessionRecord before, SessionRecord after)
    {
        var batch = Batch.On(after.Layer);
        return new(after.Layer.Version, NormalizedWith.Of(batch.Layer, batch.Corrected(Statistics!)));
    }

    public override StoredReplay Store(NormalizedReplay answer) => answer.With.AddTo(new(answer.Version, 0));

    public override NormalizedReplay Read(StoredReplay replay) => new(replay.Version, NormalizedWith.Of(replay));

    public override MomentsChange Of(IReadOnlyList<StoredReplay> parts) =>
        this with { Statistics = Batch.Join(NormalizedWith.MomentsOf(parts, Own), Mask) };
}

/// <summary>The replay of the statistics of several ranks.</summary>
internal sealed record NormalizedReplay(long Version, NormalizedWith With);
