using BnService.Core;

namespace BnService.Api.Errors;

/// <summary>A request that ends with a problem. Nothing has changed when it is thrown.</summary>
/// <param name="code">Which problem.</param>
/// <param name="detail">Names the field, what came and what is allowed.</param>
public class ProblemException(ProblemCode code, string detail) : Exception(detail)
{
    /// <summary>Which problem.</summary>
    public ProblemCode Code { get; } = code;

    /// <summary>The problem that a layer's refusal is answered with.</summary>
    internal static ProblemCode CodeOf(LayerError error) => error switch
    {
        LayerError.ShapeMismatch => ProblemCode.ShapeMismatch,
        LayerError.InvalidOption => ProblemCode.InvalidOption,
        LayerError.BatchTooSmall => ProblemCode.BatchTooSmall,
        LayerError.NonFiniteInput => ProblemCode.NonFiniteInput,
        LayerError.NoRunningStatistics => ProblemCode.NoRunningStatistics,
        _ => ProblemCode.InternalError,
    };
}
