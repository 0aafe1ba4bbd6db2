using System.Buffers;
using System.Runtime.InteropServices;

namespace BnService.Client.Wire;

/// <summary>The bytes of numbers where they lie, so that a tensor is sent and received without a copy. Little-endian machines only.</summary>
internal sealed class ElementBytes<T>(Memory<T> values) : MemoryManager<byte>
    where T : unmanaged
{
    // A span of bytes has at most 2 GiB.
    private const int MostValues = 1 << 27;

    /// <summary>The bytes of values, in pieces that a span can hold.</summary>
    public static IEnumerable<ReadOnlyMemory<byte>> Of(ReadOnlyMemory<T> values) =>
        Of(MemoryMarshal.AsMemory(values)).Select(bytes => (ReadOnlyMemory<byte>)bytes);

    /// <summary>The bytes of values, in pieces that a span can hold.</summary>
    public static IEnumerable<Memory<byte>> Of(Memory<T> values)
    {
        for (; values.Length > 0; values = values[Math.Min(MostValues, values.Length)..])
            yield return new ElementBytes<T>(values[..Math.Min(MostValues, values.Length)]).Memory;
    }

    /// <inheritdoc/>
    public override Span<byte> GetSpan() => MemoryMarshal.AsBytes(values.Span);

    /// <inheritdoc/>
    public override unsafe MemoryHandle Pin(int elementIndex = 0)
    {
        var pinned = values.Pin();
        return new MemoryHandle((byte*)pinned.Pointer + elementIndex, pinnable: new Pinned(pinned));
    }

    /// <inheritdoc/>
    public override void Unpin()
    {
        // Each pin is undone by its own handle.
    }

    /// <inheritdoc/>
    protected override void Dispose(bool disposing)
    {
        // The memory is the caller's.
    }

    private sealed class Pinned(MemoryHandle handle) : IPinnable
    {
        public MemoryHandle Pin(int elementIndex) => throw new NotSupportedException("pinned already");

        public void Unpin() => handle.Dispose();
    }
}
