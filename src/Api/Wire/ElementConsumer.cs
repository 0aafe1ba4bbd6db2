using BnService.Core.Tensors;

namespace BnService.Api.Wire;

/// <summary>Takes the elements of a tensor as they arrive; one that was cut in two on the road is put together again.</summary>
/// <param name="type">Their type.</param>
internal abstract class ElementConsumer(ElementType type) : IByteConsumer
{
    private readonly int _size = type.Size();
    private readonly byte[] _cut = new byte[sizeof(double)];
    private int _cutLength;

    /// <summary>The elements' type.</summary>
    protected ElementType Type => type;

    /// <inheritdoc/>
    public void Take(ReadOnlySpan<byte> bytes)
    {
        if (_cutLength > 0)
        {
            var rest = Math.Min(_size - _cutLength, bytes.Length);
            bytes[..rest].CopyTo(_cut.AsSpan(_cutLength));
            _cutLength += rest;
            bytes = bytes[rest..];
            if (_cutLength < _size) return;
            TakeWhole(_cut.AsSpan(0, _size));
            _cutLength = 0;
        }
        var whole = bytes.Length - (bytes.Length % _size);
        if (whole > 0) TakeWhole(bytes[..whole]);
        bytes[whole..].CopyTo(_cut);
        _cutLength = bytes.Length - whole;
    }

    /// <inheritdoc/>
    public virtual ValueTask TakenAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <inheritdoc/>
    public virtual ValueTask WaitingAsync(Task arrival, CancellationToken cancellationToken) => ValueTask.CompletedTask;

    /// <summary>Takes whole elements, which lie at any address.</summary>
    protected abstract void TakeWhole(ReadOnlySpan<byte> elements);
}

/// <summary>Puts elements into a tensor, as float32.</summary>
/// <param name="type">Their type.</param>
/// <param name="tensor">The tensor, which stays the caller's.</param>
/// <param name="field">Its name in the message.</param>
/// <param name="arrivals">Told what has arrived, or null.</param>
internal sealed class TensorFill(ElementType type, Tensor tensor, string field, IArrivals? arrivals) : ElementConsumer(type)
{
    private int _count;

    /// <inheritdoc/>
    public override ValueTask TakenAsync(CancellationToken cancellationToken)
    {
        arrivals?.Arrived(field, _count);
        return ValueTask.CompletedTask;
    }

    /// <inheritdoc/>
    protected override void TakeWhole(ReadOnlySpan<byte> elements)
    {
        var count = elements.Length / Type.Size();
        Type.ToSingles(elements, tensor.Data.Slice(_count, count));
        _count += count;
    }
}

/// <summary>Watches the tensors of a message while they arrive.</summary>
internal interface IArrivals
{
    /// <summary>A tensor is about to arrive, in this memory.</summary>
    /// <param name="field">Its name in the message.</param>
    /// <param name="tensor">Its memory, which is whole when the message is.</param>
    /// <exception cref="Core.LayerException">It does not fit; the message is refused.</exception>
    void Begin(string field, Tensor tensor);

    /// <summary>Elements have arrived.</summary>
    /// <param name="field">The tensor's name in the message.</param>
    /// <param name="count">Number of its elements that are there.</param>
    void Arrived(string field, int count);
}
