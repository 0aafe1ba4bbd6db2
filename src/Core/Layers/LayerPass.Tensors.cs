using System.Runtime.InteropServices;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Layers;

// The passes over tensors, whose precision says with what they are computed: all tensors of a call have the same one.
public sealed partial class LayerPass
{
    /// <inheritdoc cref="Statistics{T}(ReadOnlySpan{T}, BatchMask, Moments, bool)"/>
    public StepStatistics Statistics(Tensor x, BatchMask? mask, Moments? gathered = null, bool isTraining = true) =>
        IsDouble(x) ? Statistics<double>(x.Doubles, mask, gathered, isTraining) : Statistics<float>(x.Data, mask, gathered, isTraining);

    /// <inheritdoc cref="OwnMoments{T}(ReadOnlySpan{T}, BatchMask, Moments)"/>
    public Moments OwnMoments(Tensor x, BatchMask? mask, Moments? gathered = null) =>
        IsDouble(x) ? OwnMoments<double>(x.Doubles, mask, gathered) : OwnMoments<float>(x.Data, mask, gathered);

    /// <inheritdoc cref="MomentsOf{T}(ReadOnlySpan{T}, BatchMask)"/>
    public Moments MomentsOf(Tensor x, BatchMask? mask) => IsDouble(x) ? MomentsOf<double>(x.Doubles, mask) : MomentsOf<float>(x.Data, mask);

    /// <inheritdoc cref="Normalize{T}(ReadOnlySpan{T}, StepStatistics, ReadOnlySpan{T}, Span{T})"/>
    public void Normalize(Tensor x, StepStatistics? statistics, Tensor? residual, Tensor y)
    {
        if (IsDouble(x)) Normalize(x.Doubles, statistics, DoublesOf(residual), y.Doubles);
        else Normalize(x.Data, statistics, FloatsOf(residual), y.Data);
    }

    /// <inheritdoc cref="NormalizeAtOnce{T}(ReadOnlySpan{T}, ReadOnlySpan{T}, Span{T}, bool)"/>
    public StepStatistics NormalizeAtOnce(Tensor x, Tensor? residual, Tensor y, bool isTraining = true) => IsDouble(x)
        ? NormalizeAtOnce(x.Doubles, DoublesOf(residual), y.Doubles, isTraining)
        : NormalizeAtOnce(x.Data, FloatsOf(residual), y.Data, isTraining);

    /// <inheritdoc cref="Differentiate{T}(ReadOnlySpan{T}, ReadOnlySpan{T}, StepStatistics, ReadOnlySpan{T}, Span{T}, Span{T})"/>
    public ParameterGradients Differentiate(Tensor x, Tensor dy, StepStatistics? statistics, Tensor? residual, Tensor dx, Tensor? dresidual) =>
        IsDouble(x)
            ? Differentiate(x.Doubles, dy.Doubles, statistics, DoublesOf(residual), dx.Doubles, dresidual is null ? [] : dresidual.Doubles)
            : Differentiate(x.Data, dy.Data, statistics, FloatsOf(residual), dx.Data, dresidual is null ? [] : dresidual.Data);

    /// <inheritdoc cref="OwnGradientSums{T}(ReadOnlySpan{T}, ReadOnlySpan{T}, StepStatistics, ReadOnlySpan{T}, Span{T})"/>
    public GradientSums OwnGradientSums(Tensor x, Tensor dy, StepStatistics statistics, Tensor? residual, Tensor gradient) => IsDouble(x)
        ? OwnGradientSums(x.Doubles, dy.Doubles, statistics, DoublesOf(residual), gradient.Doubles)
        : OwnGradientSums(x.Data, dy.Data, statistics, FloatsOf(residual), gradient.Data);

    /// <inheritdoc cref="DifferentiateJoint{T}(ReadOnlySpan{T}, ReadOnlySpan{T}, StepStatistics, GradientSums, GradientSums, Span{T})"/>
    public ParameterGradients DifferentiateJoint(
        Tensor x, Tensor gradient, StepStatistics statistics, GradientSums own, GradientSums total, Tensor dx) => IsDouble(x)
        ? DifferentiateJoint<double>(x.Doubles, gradient.Doubles, statistics, own, total, dx.Doubles)
        : DifferentiateJoint<float>(x.Data, gradient.Data, statistics, own, total, dx.Data);

    private void NormalizeByRunning<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> residual, Span<T> y)
        where T : unmanaged
    {
        var plan = NormalizationPlan.ForRunningStatistics(shape, _options);
        if (typeof(T) == typeof(double)) Forward.Apply(plan, x, layer.Running!.AsMoments(), Parameters(), y, compute, residual);
        else
        {
            using var map = RunningMap();
            Forward.Apply(plan, Floats(x), map, _options.Activation, MemoryMarshal.Cast<T, float>(y), compute, Floats(residual));
        }
    }

    private static ReadOnlySpan<float> Floats<T>(ReadOnlySpan<T> values)
        where T : unmanaged => MemoryMarshal.Cast<T, float>(values);

    private static bool IsDouble(Tensor x)
    {
        ArgumentNullException.ThrowIfNull(x);
        return x.Precision == Precision.Float64;
    }

    private static ReadOnlySpan<float> FloatsOf(Tensor? tensor) => tensor is null ? [] : tensor.Data;

    private static ReadOnlySpan<double> DoublesOf(Tensor? tensor) => tensor is null ? [] : tensor.Doubles;
}
