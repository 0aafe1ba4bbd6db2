using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics;
using BnService.Bench.Cases;

namespace BnService.Bench.Contenders;

/// <summary>
/// Σ(x − K) and Σ(x − K)² with float lanes, flushed to double after a few additions, on one thread: what double statistics are compared
/// with. Good for nothing else: float rounds x − K and every square.
/// </summary>
internal sealed unsafe class FloatStatistics : IDisposable
{
    private const MethodImplOptions Fast = MethodImplOptions.AggressiveOptimization;

    // Elements of a run, and rows, that float lanes sum before they are flushed.
    private const int ChunkElements = 4096, ChunkRows = 128;

    private readonly BenchCase _case;
    private readonly CaseData _data;
    private readonly double[] _sums, _squares;
    private readonly FloatMemory _scratch;

    public FloatStatistics(CaseData data)
    {
        (_case, _data) = (data.Case, data);
        (_sums, _squares) = (new double[_case.C], new double[_case.C]);
        // K, then the sums and the squares of one chunk of rows.
        _scratch = new FloatMemory(3 * (_case.C + 64));
    }

    /// <summary>Takes the statistics of one set.</summary>
    public void Run(int set)
    {
        Array.Clear(_sums);
        Array.Clear(_squares);
        var x = _data.X(set);
        if (_case.Inner > 1) Runs(x);
        else Columns(x);
    }

    /// <summary>Why they cannot be the statistics of the first set; null where they can.</summary>
    public string? Flaw()
    {
        Run(0);
        for (var c = 0; c < _case.C; c++)
        {
            double m = _case.ValuesPerChannel;
            var difference = _sums[c] / m;
            var variance = (_squares[c] / m) - (difference * difference);
            var right = _data.Reference.Variance[c];
            if (!(Math.Abs(variance - right) <= 1e-3 * right)) return $"the variance of channel {c} is {variance}, not {right}";
        }
        return null;
    }

    /// <inheritdoc/>
    public void Dispose() => _scratch.Dispose();

    private void Runs(float* x)
    {
        for (var c = 0; c < _case.C; c++)
        {
            var k = x[(nint)c * _case.Inner];
            for (var n = 0; n < _case.Outer; n++)
            {
                var run = x + ((((nint)n * _case.C) + c) * _case.Inner);
                for (var i = 0; i < _case.Inner; i += ChunkElements)
                {
                    var length = Math.Min(ChunkElements, _case.Inner - i);
                    var (sum, square) = Vector512.IsHardwareAccelerated
                        ? Chunk512(run + i, length, k)
                        : Chunk256(run + i, length, k);
                    _sums[c] += sum;
                    _squares[c] += square;
                }
            }
        }
    }

    [MethodImpl(Fast)]
    private static (float Sum, float Square) Chunk512(float* x, int length, float shift)
    {
        var k = Vector512.Create(shift);
        Vector512<float> s0 = default, s1 = default, s2 = default, s3 = default, q0 = default, q1 = default, q2 = default, q3 = default;
        var i = 0;
        for (; i <= length - 64; i += 64)
        {
            Vector512<float> d0 = Vector512.Load(x + i) - k, d1 = Vector512.Load(x + i + 16) - k;
            Vector512<float> d2 = Vector512.Load(x + i + 32) - k, d3 = Vector512.Load(x + i + 48) - k;
            (s0, s1, s2, s3) = (s0 + d0, s1 + d1, s2 + d2, s3 + d3);
            q0 = Vector512.FusedMultiplyAdd(d0, d0, q0);
            q1 = Vector512.FusedMultiplyAdd(d1, d1, q1);
            q2 = Vector512.FusedMultiplyAdd(d2, d2, q2);
            q3 = Vector512.FusedMultiplyAdd(d3, d3, q3);
        }
        for (; i <= length - 16; i += 16)
        {
            var d = Vector512.Load(x + i) - k;
            s0 += d;
            q0 = Vector512.FusedMultiplyAdd(d, d, q0);
        }
        return Rest(x, i, length, shift, Vector512.Sum(s0 + s1 + s2 + s3), Vector512.Sum(q0 + q1 + q2 + q3));
    }

    [MethodImpl(Fast)]
    private static (float Sum, float Square) Chunk256(float* x, int length, float shift)
    {
        var k = Vector256.Create(shift);
        Vector256<float> s0 = default, s1 = default, s2 = default, s3 = default, q0 = default, q1 = default, q2 = default, q3 = default;
        var i = 0;
        for (; i <= length - 32; i += 32)
        {
            Vector256<float> d0 = Vector256.Load(x + i) - k, d1 = Vector256.Load(x + i + 8) - k;
            Vector256<float> d2 = Vector256.Load(x + i + 16) - k, d3 = Vector256.Load(x + i + 24) - k;
            (s0, s1, s2, s3) = (s0 + d0, s1 + d1, s2 + d2, s3 + d3);
            q0 = Vector256.FusedMultiplyAdd(d0, d0, q0);
            q1 = Vector256.FusedMultiplyAdd(d1, d1, q1);
            q2 = Vector256.FusedMultiplyAdd(d2, d2, q2);
            q3 = Vector256.FusedMultiplyAdd(d3, d3, q3);
        }
        return Rest(x, i, length, shift, Vector256.Sum(s0 + s1 + s2 + s3), Vector256.Sum(q0 + q1 + q2 + q3));
    }

    private static (float Sum, float Square) Rest(float* x, int from, int length, float shift, float sum, float square)
    {
        for (var i = from; i < length; i++)
        {
            var d = x[i] - shift;
            sum += d;
            square += d * d;
        }
        return (sum, square);
    }

    private void Columns(float* x)
    {
        var channels = _case.C;
        float* k = _scratch.Pointer, sums = k + channels + 64, squares = sums + channels + 64;
        new ReadOnlySpan<float>(x, channels).CopyTo(new Span<float>(k, channels));
        for (var row = 0; row < _case.Outer; row += ChunkRows)
        {
            new Span<float>(sums, channels).Clear();
            new Span<float>(squares, channels).Clear();
            var rows = Math.Min(ChunkRows, _case.Outer - row);
            var chunk = x + ((nint)row * channels);
            var done = 0;
            // In cache strips of 64 channels stay in registers; out of it rows are read as they lie, which prefetching needs.
            if (!_case.IsOutOfCache && Vector512.IsHardwareAccelerated)
                for (; done <= channels - 64; done += 64) Strip512(chunk + done, rows, channels, k + done, sums + done, squares + done);
            for (var r = 0; r < rows; r++) Sweep(chunk + ((nint)r * channels), done, channels, k, sums, squares);
            for (var c = 0; c < channels; c++)
            {
                _sums[c] += sums[c];
                _squares[c] += squares[c];
            }
        }
    }

    [MethodImpl(Fast)]
    private static void Strip512(float* x, int rows, int stride, float* shifts, float* sums, float* squares)
    {
        Vector512<float> k0 = Vector512.Load(shifts), k1 = Vector512.Load(shifts + 16);
        Vector512<float> k2 = Vector512.Load(shifts + 32), k3 = Vector512.Load(shifts + 48);
        Vector512<float> s0 = default, s1 = default, s2 = default, s3 = default, q0 = default, q1 = default, q2 = default, q3 = default;
        for (var row = 0; row < rows; row++, x += stride)
        {
            Vector512<float> d0 = Vector512.Load(x) - k0, d1 = Vector512.Load(x + 16) - k1;
            Vector512<float> d2 = Vector512.Load(x + 32) - k2, d3 = Vector512.Load(x + 48) - k3;
            (s0, s1, s2, s3) = (s0 + d0, s1 + d1, s2 + d2, s3 + d3);
            q0 = Vector512.FusedMultiplyAdd(d0, d0, q0);
            q1 = Vector512.FusedMultiplyAdd(d1, d1, q1);
            q2 = Vector512.FusedMultiplyAdd(d2, d2, q2);
            q3 = Vector512.FusedMultiplyAdd(d3, d3, q3);
        }
        s0.Store(sums);
        s1.Store(sums + 16);
        s2.Store(sums + 32);
        s3.Store(sums + 48);
        q0.Store(squares);
        q1.Store(squares + 16);
        q2.Store(squares + 32);
        q3.Store(squares + 48);
    }

    [MethodImpl(Fast)]
    private static void Sweep(float* x, int from, int to, float* shifts, float* sums, float* squares)
    {
        var c = from;
        if (Vector512.IsHardwareAccelerated)
        {
            for (; c <= to - 16; c += 16)
            {
                var d = Vector512.Load(x + c) - Vector512.Load(shifts + c);
                (Vector512.Load(sums + c) + d).Store(sums + c);
                Vector512.FusedMultiplyAdd(d, d, Vector512.Load(squares + c)).Store(squares + c);
            }
        }
        for (; c <= to - 8; c += 8)
        {
            var d = Vector256.Load(x + c) - Vector256.Load(shifts + c);
            (Vector256.Load(sums + c) + d).Store(sums + c);
            Vector256.FusedMultiplyAdd(d, d, Vector256.Load(squares + c)).Store(squares + c);
        }
        for (; c < to; c++)
        {
            var d = x[c] - shifts[c];
            sums[c] += d;
            squares[c] += d * d;
        }
    }
}
