using System.Runtime.InteropServices;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;
using BnService.Core.Tensors;

namespace BnService.Core.Layers;

// The passes over tensors, whose precision says with what they are computed: all tensors of a call have the same one.
public sealed partial class Batch
{
    /// <inheritdoc cref="Measure{T}(ReadOnlySpan{T}, BatchMask, Moments, bool)"/>
    public StepStatistics Measure(Tensor x, BatchMask? mask, Moments? gathered = null, bool isTraining = true) =>
        IsDouble(x) ? Measure<double>(x.Doubles, mask, gathered, isTraining) : Measure<float>(x.Data, mask, gathered, isTraining);

    /// <inheritdoc cref="OwnMoments{T}(ReadOnlySpan{T}, BatchMask, Moments)"/>
    public Moments OwnMoments(Tensor x, BatchMask? mask, Moments? gathered = null) =>
        IsDouble(x) ? OwnMoments<double>(x.Doubles, mask, gathered) : OwnMoments<float>(x.Data, mask, gathered);

    /// <inheritdoc cref="MomentsOf{T}(ReadOnlySpan{T}, BatchMask)"/>
    public Moments MomentsOf(Tensor x, BatchMask? mask) => IsDouble(x) ? MomentsOf<double>(x.Doubles, mask) : MomentsOf<float>(x.Data, mask);

    /// <summary>The moments of a batch that running statistics would take or be compared with, whatever the kind.</summary>
    public Moments RunningMoments(Tensor x) => Forward.BatchMoments(RunningLayout, x, _compute);

    /// <inheritdoc cref="Write{T}(ReadOnlySpan{T}, StepStatistics, ReadOnlySpan{T}, Span{T})"/>
    public void Write(Tensor x, StepStatistics? statistics, Tensor? residual, Tensor y)
    {
        if (IsDouble(x)) Write(x.Doubles, statistics, DoublesOf(residual), y.Doubles);
        else Write(x.Data, statistics, FloatsOf(residual), y.Data);
    }

    /// <inheritdoc cref="MeasureAndWrite{T}(ReadOnlySpan{T}, ReadOnlySpan{T}, Span{T}, bool)"/>
    public StepStatistics MeasureAndWrite(Tensor x, Tensor? residual, Tensor y, bool isTraining = true) => IsDouble(x)
        ? MeasureAndWrite(x.Doubles, DoublesOf(residual), y.Doubles, isTraining)
        : MeasureAndWrite(x.Data, FloatsOf(residual), y.Data, isTraining);

    /// <inheritdoc cref="Gradients{T}(ReadOnlySpan{T}, ReadOnlySpan{T}, StepStatistics, ReadOnlySpan{T}, Span{T}, Span{T})"/>
    public ParameterGradients Gradients(Tensor x, Tensor dy, StepStatistics? statistics, Tensor? residual, Tensor dx, Tensor? dresidual) =>
        IsDouble(x)
            ? Gradients(x.Doubles, dy.Doubles, statistics, DoublesOf(residual), dx.Doubles, dresidual is null ? [] : dresidual.Doubles)
            : Gradients(x.Data, dy.Data, statistics, FloatsOf(residual), dx.Data, dresidual is null ? [] : dresidual.Data);

    /// <inheritdoc cref="SumGradients{T}(ReadOnlySpan{T}, ReadOnlySpan{T}, StepStatistics, ReadOnlySpan{T}, Span{T})"/>
    public GradientSums SumGradients(Tensor x, Tensor dy, StepStatistics statistics, Tensor? residual, Tensor gradient) => IsDouble(x)
        ? SumGradients(x.Doubles, dy.Doubles, statistics, DoublesOf(residual), gradient.Doubles)
        : SumGradients(x.Data, dy.Data, statistics, FloatsOf(residual), gradient.Data);

    /// <inheritdoc cref="JoinedGradients{T}(ReadOnlySpan{T}, ReadOnlySpan{T}, StepStatistics, GradientSums, GradientSums, Span{T})"/>
    public ParameterGradients JoinedGradients(
        Tensor x, Tensor gradient, StepStatistics statistics, GradientSums own, GradientSums total, Tensor dx) => IsDouble(x)
        ? JoinedGradients<double>(x.Doubles, gradient.Doubles, statistics, own, total, dx.Doubles)
        : JoinedGradients<float>(x.Data, gradient.Data, statistics, own, total, dx.Data);

    private void NormalizeByRunning<T>(ReadOnlySpan<T> x, ReadOnlySpan<T> residual, Span<T> y)
        where T : unmanaged
    {
        var plan = RunningLayout;
        if (typeof(T) == typeof(double)) Forward.Apply(plan, x, Layer.Running!.AsMoments(), Parameters(), y, _compute, residual);
        else
        {
            using var map = RunningMap();
            Forward.Apply(plan, Floats(x), map, _options.Activation, MemoryMarshal.Cast<T, float>(y), _compute, Floats(residual));
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
