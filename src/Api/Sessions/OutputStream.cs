using System.Runtime.InteropServices;
using BnService.Api.Wire;
using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Sessions;

/// <summary>Turns the elements of a batch into those of its output while they arrive, straight into the answer's memory.</summary>
/// <param name="input">The batch.</param>
/// <param name="output">What computes the output.</param>
/// <param name="answer">Where it goes.</param>
/// <param name="answerType">Type of the output's elements.</param>
/// <param name="sample">Receives the first elements, for whoever looks at them; or null.</param>
internal sealed class OutputStream(IncomingTensor input, LayerOutput output, OverflowingWriter answer, ElementType answerType, Tensor? sample)
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

    /// <summary>Number of elements whose output has been written.</summary>
    public int Position { get; private set; }

    /// <summary>Told how many bytes of the output are still to be written, each time when some have been.</summary>
    public Action<long>? LeftToWrite { get; init; }

    /// <summary>The most bytes that elements are put together in.</summary>
    public static long GatheredBytes(LayerOutput output) => 2L * Capacity(output) * sizeof(float);

    /// <inheritdoc/>
    public override ValueTask TakenAsync(CancellationToken cancellationToken)
    {
        LeftToWrite?.Invoke((long)(input.Shape.Count - Position) * answerType.Size());
        return answer.FlushAsync(cancellationToken);
    }

    /// <inheritdoc/>
    public override ValueTask WaitingAsync(Task arrival, CancellationToken cancellationToken) => answer.DrainAsync(arrival, cancellationToken);

    /// <inheritdoc/>
    public void Dispose() => _gathered?.Dispose();

    /// <inheritdoc/>
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
