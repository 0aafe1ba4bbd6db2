namespace BnService.Core.Normalizers;

/// <summary>
/// Watches numbers that are rounded to float32 while they arrive: of each statistic it learns whether any of its values was rounded, and
/// whether they differed before. What it knows of all statistics it looks for no longer, which for most data is after two samples.
/// </summary>
/// <param name="plan">How the tensor is laid out.</param>
public sealed class LostPrecision(Layout plan)
{
    // Rounding moves a normalized value by up to |μ|·2⁻²⁴/σ. From 2⁻¹⁰ on, |μ| > 2¹⁴·σ, the statistics are not those of what was sent.
    private const double MostRatio = 1 << 14;

    private readonly IEnumerator<Float64Block> _blocks = Float64Block.Of(plan, CancellationToken.None).GetEnumerator();
    private readonly double[] _first = new double[plan.Statistics];
    private readonly State[] _states = new State[plan.Statistics];
    private Float64Block _block;
    private int _unseen = plan.Statistics;
    private int _roundedAlike;
    private int _open = plan.Statistics;

    [Flags]
    private enum State : byte
    {
        IsSeen = 1,
        IsRounded = 2,
        Varies = 4,
    }

    /// <summary>Number of statistics.</summary>
    public int Statistics => plan.Statistics;

    /// <summary>Looks at the next elements, in row-major order.</summary>
    /// <param name="sent">The elements as they were sent.</param>
    public void Look(ReadOnlySpan<double> sent)
    {
        if (_open == 0) return;
        var isExact = _unseen == 0 && _roundedAlike == 0 && AreExact(sent);
        while (!sent.IsEmpty)
        {
            if (_block.Length == 0)
            {
                _blocks.MoveNext();
                _block = _blocks.Current;
            }
            var count = Math.Min(sent.Length, _block.Length);
            for (var i = 0; !isExact && i < count; i++) Look(sent[i], _block.StatisticOf(i));
            _block = _block with { Length = _block.Length - count, Statistic = _block.StatisticOf(count) };
            sent = sent[count..];
        }
    }

    /// <summary>
    /// Whether rounding to float32 has spoilt a statistic: values that differed have become one, or what was rounded is more than a
    /// thousandth of their standard deviation.
    /// </summary>
    /// <param name="statistic">The statistic.</param>
    /// <param name="mean">Mean of the rounded values.</param>
    /// <param name="variance">Their variance.</param>
    public bool IsLost(int statistic, double mean, double variance) =>
        MayBeLost(mean, variance) && _states[statistic].HasFlag(State.IsRounded)
            && (variance > 0 || _states[statistic].HasFlag(State.Varies));

    /// <summary>Whether values with this mean and variance, had they been rounded to float32, would have lost too much.</summary>
    /// <param name="mean">Mean of the rounded values.</param>
    /// <param name="variance">Their variance.</param>
    public static bool MayBeLost(double mean, double variance) =>
        variance == 0 || mean * mean > MostRatio * MostRatio * variance;

    private void Look(double value, int statistic)
    {
        ref var state = ref _states[statistic];
        if (state == (State.IsSeen | State.IsRounded | State.Varies)) return;
        var before = state;
        if (!state.HasFlag(State.IsSeen))
        {
            _first[statistic] = value;
            _unseen--;
        }
        state |= State.IsSeen;
        if (value != _first[statistic]) state |= State.Varies;
        // A value that is no number is none in float32 either.
        if ((float)value != value && !double.IsNaN(value)) state |= State.IsRounded;
        if (state == before) return;
        _roundedAlike += AsNumber(state == (State.IsSeen | State.IsRounded)) - AsNumber(before == (State.IsSeen | State.IsRounded));
        if (state == (State.IsSeen | State.IsRounded | State.Varies)) _open--;
    }

    private static int AsNumber(bool condition) => condition ? 1 : 0;

    private static bool AreExact(ReadOnlySpan<double> values)
    {
        foreach (var value in values)
        {
            if ((float)value != value) return false;
        }
        return true;
    }
}
