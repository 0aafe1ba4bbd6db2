using System.Runtime.InteropServices;
using BnService.Api.Wire;
using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>Turns the elements of a batch into those of its output while they arrive, straight into the answer's memory.</summary>
internal sealed class OutputStream(
    IncomingTensor input, LayerOutput output, OverflowingWriter answer, ElementType answerType, Tensor? sample)
    : ElementConsumer(input.Type, input.IsBigEndian), IDisposable
{
    // What is computed at once where elements have to be put together first: whole samples, about a part of the second-level cache.
    private const int GatheredElements = 1 << 14;

    private const int FewestBytes = 4096;

    private readonly NativeBuffer? _gathered = (input.Type, answerType, output.Unit) == (ElementType.F32, ElementType.F32, 1)
        ? null
        : NativeBuffer.Rent(GatheredBytes(output));

    private readonly int _capacity = Capacity(output);
    private int _waiting;
    private int _sampled;

    public int Position { get; private set; }

    /// <summary>Told how many bytes of the output are still to be written, each time when some have been.</summary>
    public Action<long>? LeftToWrite { get; init; }

    /// <summary>The most bytes that elements are put together in.</summary>
    public static long GatheredBytes(LayerOutput output) => 2L * Capacity(output) * sizeof(float);

    public override ValueTask TakenAsync(CancellationToken cancellationToken)
    {
        LeftToWrite?.Invoke((long)(input.Shape.Count - Position) * answerType.Size());
        return answer.FlushAsync(cancellationToken);
    }

    public override ValueTask WaitingAsync(Task arrival, CancellationToken cancellationToken) =>
        answer.DrainAsync(arrival, cancellationToken);

    public void Dispose() => _gathered?.Dispose();

    protected override void TakeWhole(ReadOnlySpan<byte> elements)
    {
        if (_gathered is null) Compute(MemoryMarshal.Cast<byte, float>(elements));
        else Gather(elements);
    }

    private static int Capacity(LayerOutput output) => Math.Max(1, GatheredElements / output.Unit) * output.Unit;

    private void Gather(ReadOnlySpan<byte> elements)
    {
        var size = Type.Size();
        var gathered = _gathered!.Span<float>(2 * _capacity);
        while (!elements.IsEmpty)
        {
            var count = Math.Min(elements.Length / size, _capacity - _waiting);
            Type.ToSingles(elements[..(count * size)], gathered.Slice(_waiting, count));
            elements = elements[(count * size)..];
            _waiting += count;
            // The last samples of a batch may be fewer.
            if (_waiting < _capacity && Position + _waiting < input.Shape.Count) continue;
            Keep(gathered[.._waiting]);
            output.Apply(Position, gathered[.._waiting], [], gathered.Slice(_capacity, _waiting));
            Write(gathered.Slice(_capacity, _waiting));
            Position += _waiting;
            _waiting = 0;
        }
    }

    private void Compute(ReadOnlySpan<float> x)
    {
        Keep(x);
        while (!x.IsEmpty)
        {
            var y = MemoryMarshal.Cast<byte, float>(answer.GetSpan(Math.Min(x.Length * sizeof(float), FewestBytes)));
            y = y[..Math.Min(y.Length, x.Length)];
            output.Apply(Position, x[..y.Length], [], y);
            answer.Advance(y.Length * sizeof(float));
            Position += y.Length;
            x = x[y.Length..];
        }
    }

    private void Write(ReadOnlySpan<float> y)
    {
        for (var size = answerType.Size(); !y.IsEmpty;)
        {
            var span = answer.GetSpan(size);
            var count = Math.Min(span.Length / size, y.Length);
            answerType.FromSingles(y[..count], span[..(count * size)]);
            answer.Advance(count * size);
            y = y[count..];
        }
    }

    private void Keep(ReadOnlySpan<float> x)
    {
        if (sample is null || _sampled == sample.Shape.Count) return;
        var count = Math.Min(x.Length, sample.Shape.Count - _sampled);
        x[..count].CopyTo(sample.Data[_sampled..]);
        _sampled += count;
    }
}

/// <summary>y of a batch, computed where it is written to: into the answer's own memory.</summary>
/// <param name="input">The batch, which stays the caller's and must live until this is disposed.</param>
/// <param name="output">What computes y; taken over.</param>
internal sealed class ComputedOutput(BatchInput input, LayerOutput output) : TensorSource
{
    // As much as is sent at once, so that it pays to have it ready; the whole of a small batch.
    private const int Beginning = 1 << 18;

    private Tensor? _beginning;
    private RetainedStep? _held;

    /// <summary>The most bytes that the output of a batch holds beside the batch.</summary>
    public static long BytesOf(Shape shape) => NativeBuffer.LengthFor(Math.Min(shape.Count, Beginning) * sizeof(float));

    public override Shape Shape => input.X.Shape;

    public override void CopyTo(int start, Span<float> values)
    {
        if (_beginning is { } ready && start < ready.Shape.Count)
        {
            var part = ready.Data[start..];
            if (part.Length >= values.Length)
            {
                part[..values.Length].CopyTo(values);
                return;
            }
            part.CopyTo(values);
            start += part.Length;
            values = values[part.Length..];
        }
        Compute(start, values);
    }

    /// <summary>Computes the beginning of y now, while there is nothing else to do.</summary>
    public void ComputeBeginning()
    {
        // Whole units: what is computed together is asked for together.
        var count = Math.Min(Shape.Count, Beginning / output.Unit * output.Unit);
        if (count == 0) return;
        _beginning = Tensor.Rent(new Shape([count]));
        Compute(0, _beginning.Data);
    }

    /// <summary>Keeps a step, which has the batch, until this is disposed.</summary>
    public void Hold(RetainedStep step)
    {
        if (step.TryHold()) _held = step;
    }

    protected override void Dispose(bool disposing)
    {
        output.Dispose();
        _beginning?.Dispose();
        _held?.Dispose();
    }

    private void Compute(int start, Span<float> values) => output.Apply(
        start, input.X.Data.Slice(start, values.Length),
        input.Residual is { } residual ? residual.Data.Slice(start, values.Length) : [], values);
}
