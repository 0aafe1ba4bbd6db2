namespace BnService.Core;

/// <summary>The ways in which a layer can refuse what it is asked for.</summary>
public enum LayerError
{
    /// <summary>A tensor or a parameter does not have the shape that the layer needs.</summary>
    ShapeMismatch,

    /// <summary>An option has a value outside its range, or does not belong to the layer.</summary>
    InvalidOption,

    /// <summary>A statistic would be taken over a single value: its variance is undefined.</summary>
    BatchTooSmall,

    /// <summary>NaN or an infinity where it would poison the state.</summary>
    NonFiniteInput,

    /// <summary>The layer tracks running statistics, has none yet and was told to require them.</summary>
    NoRunningStatistics,
}

/// <summary>A layer's refusal. Nothing has changed when it is thrown.</summary>
/// <param name="error">Which refusal it is.</param>
/// <param name="message">Names the field, what came and what is allowed; fit to be shown to the caller.</param>
public sealed class LayerException(LayerError error, string message) : Exception(message)
{
    /// <summary>Which refusal it is.</summary>
    public LayerError Error { get; } = error;
}
