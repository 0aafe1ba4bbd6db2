using System.Numerics.Tensors;
using BnService.Bench.Cases;

namespace BnService.Bench.Contenders;

/// <summary>
/// What a C# programmer writes by hand: a few calls of TensorPrimitives per row or per plane, statistics in float, y = (x − μ)·a + β.
/// </summary>
internal sealed unsafe class Composed
{
    private readonly CaseData _data;
    private readonly BenchCase _case;
    private readonly int _threads;
    private readonly float[] _gamma, _beta, _runningMean, _runningScale, _batchMean, _batchInverse;

    public Composed(CaseData data, int threads)
    {
        (_data, _case, _threads) = (data, data.Case, threads);
        (_gamma, _beta, _runningMean) = (Single(data.Gamma), Single(data.Beta), Single(data.RunningMean));
        _runningScale = [.. data.RunningVariance.Zip(data.Gamma, (variance, gamma) => (float)(gamma / Math.Sqrt(variance + CaseData.Eps)))];
        _batchMean = Single(data.Reference.Mean);
        _batchInverse = [.. data.Reference.Variance.Select(variance => (float)(1 / Math.Sqrt(variance + CaseData.Eps)))];
    }

    private bool IsRows => _case.Inner == 1;

    /// <summary>The call for an operation, for a set of tensors.</summary>
    public Action<int> Of(Operation operation) => (operation, IsRows) switch
    {
        (Operation.Inference, true) => set => Split(_case.Outer, (from, to) => InferRows(set, from, to)),
        (Operation.Inference, false) => set => Split(_case.Outer * _case.C, (from, to) => InferPlanes(set, from, to)),
        (Operation.Train, true) => set => Split(_case.C, (from, to) => TrainColumns(set, from, to)),
        (Operation.Train, false) => set => Split(_case.C, (from, to) => TrainPlanes(set, from, to)),
        (_, true) => set => Split(_case.C, (from, to) => BackwardColumns(set, from, to)),
        (_, false) => set => Split(_case.C, (from, to) => BackwardPlanes(set, from, to)),
    };

    private static float[] Single(double[] values) => Array.ConvertAll(values, value => (float)value);

    private void Split(int items, Action<int, int> work)
    {
        if (_threads == 1) work(0, items);
        else Parallel.For(0, _threads, t => work(items * t / _threads, items * (t + 1) / _threads));
    }

    private Span<float> Plane(float* tensor, int n, int c) => new(tensor + ((((nint)n * _case.C) + c) * _case.Inner), _case.Inner);

    private Span<float> Row(float* tensor, int row, int from, int to) => new(tensor + ((nint)row * _case.C) + from, to - from);

    private void InferRows(int set, int from, int to)
    {
        for (var row = from; row < to; row++)
        {
            var y = Row(_data.Result(set), row, 0, _case.C);
            TensorPrimitives.Subtract(Row(_data.X(set), row, 0, _case.C), _runningMean, y);
            TensorPrimitives.MultiplyAdd(y, _runningScale, _beta, y);
        }
    }

    private void InferPlanes(int set, int from, int to)
    {
        for (var plane = from; plane < to; plane++)
        {
            var c = plane % _case.C;
            NormalizePlane(set, plane / _case.C, c, _runningMean[c], _runningScale[c]);
        }
    }

    private void NormalizePlane(int set, int n, int c, float mean, float scale)
    {
        var y = Plane(_data.Result(set), n, c);
        TensorPrimitives.Subtract(Plane(_data.X(set), n, c), mean, y);
        TensorPrimitives.Multiply(y, scale, y);
        TensorPrimitives.Add(y, _beta[c], y);
    }

    private void TrainPlanes(int set, int from, int to)
    {
        for (var c = from; c < to; c++)
        {
            var (sum, squares) = (0f, 0f);
            for (var n = 0; n < _case.Outer; n++) sum += TensorPrimitives.Sum<float>(Plane(_data.X(set), n, c));
            var mean = sum / _case.ValuesPerChannel;
            for (var n = 0; n < _case.Outer; n++)
            {
                var centered = Plane(_data.Result(set), n, c);
                TensorPrimitives.Subtract(Plane(_data.X(set), n, c), mean, centered);
                squares += TensorPrimitives.SumOfSquares<float>(centered);
            }
            var scale = _gamma[c] / MathF.Sqrt((squares / _case.ValuesPerChannel) + (float)CaseData.Eps);
            for (var n = 0; n < _case.Outer; n++) NormalizePlane(set, n, c, mean, scale);
        }
    }

    private void TrainColumns(int set, int from, int to)
    {
        var width = to - from;
        Span<float> mean = new float[width], scale = new float[width], centered = new float[width];
        for (var row = 0; row < _case.Outer; row++) TensorPrimitives.Add(mean, Row(_data.X(set), row, from, to), mean);
        TensorPrimitives.Divide(mean, _case.ValuesPerChannel, mean);
        for (var row = 0; row < _case.Outer; row++)
        {
            TensorPrimitives.Subtract(Row(_data.X(set), row, from, to), mean, centered);
            TensorPrimitives.MultiplyAdd(centered, centered, scale, scale);
        }
        TensorPrimitives.Divide(scale, _case.ValuesPerChannel, scale);
        TensorPrimitives.Add(scale, (float)CaseData.Eps, scale);
        TensorPrimitives.Sqrt<float>(scale, scale);
        TensorPrimitives.Divide(_gamma.AsSpan(from, width), scale, scale);
        for (var row = 0; row < _case.Outer; row++)
        {
            var y = Row(_data.Result(set), row, from, to);
            TensorPrimitives.Subtract(Row(_data.X(set), row, from, to), mean, y);
            TensorPrimitives.MultiplyAdd(y, scale, _beta.AsSpan(from, width), y);
        }
    }

    // dx = a·g + b·(x − μ) + c with a = γ·s, b = −a·s·dγ/m, c = −a·dβ/m.
    private void BackwardPlanes(int set, int from, int to)
    {
        for (var c = from; c < to; c++)
        {
            var (dBeta, dGamma) = (0f, 0f);
            for (var n = 0; n < _case.Outer; n++)
            {
                var centered = Plane(_data.Result(set), n, c);
                TensorPrimitives.Subtract(Plane(_data.X(set), n, c), _batchMean[c], centered);
                dBeta += TensorPrimitives.Sum<float>(Plane(_data.Dy(set), n, c));
                dGamma += TensorPrimitives.Dot<float>(Plane(_data.Dy(set), n, c), centered);
            }
            var a = _gamma[c] * _batchInverse[c];
            var b = -a * _batchInverse[c] * _batchInverse[c] * dGamma / _case.ValuesPerChannel;
            for (var n = 0; n < _case.Outer; n++)
            {
                var dx = Plane(_data.Result(set), n, c);
                TensorPrimitives.Multiply(dx, b, dx);
                TensorPrimitives.MultiplyAdd(Plane(_data.Dy(set), n, c), a, dx, dx);
                TensorPrimitives.Add(dx, -a * dBeta / _case.ValuesPerChannel, dx);
            }
        }
    }

    private void BackwardColumns(int set, int from, int to)
    {
        var width = to - from;
        var mean = _batchMean.AsSpan(from, width);
        var inverse = _batchInverse.AsSpan(from, width);
        Span<float> a = new float[width], b = new float[width], c = new float[width], centered = new float[width];
        for (var row = 0; row < _case.Outer; row++)
        {
            var dy = Row(_data.Dy(set), row, from, to);
            TensorPrimitives.Subtract(Row(_data.X(set), row, from, to), mean, centered);
            TensorPrimitives.MultiplyAdd(dy, centered, b, b);
            TensorPrimitives.Add(c, dy, c);
        }
        TensorPrimitives.Multiply(_gamma.AsSpan(from, width), inverse, a);
        TensorPrimitives.Multiply(b, a, b);
        TensorPrimitives.Multiply(b, inverse, b);
        TensorPrimitives.Multiply(b, inverse, b);
        TensorPrimitives.Multiply(b, -1f / _case.ValuesPerChannel, b);
        TensorPrimitives.Multiply(c, a, c);
        TensorPrimitives.Multiply(c, -1f / _case.ValuesPerChannel, c);
        for (var row = 0; row < _case.Outer; row++)
        {
            var dx = Row(_data.Result(set), row, from, to);
            TensorPrimitives.Subtract(Row(_data.X(set), row, from, to), mean, dx);
            TensorPrimitives.MultiplyAdd(dx, b, c, dx);
            TensorPrimitives.MultiplyAdd(Row(_data.Dy(set), row, from, to), a, dx, dx);
        }
    }
}
