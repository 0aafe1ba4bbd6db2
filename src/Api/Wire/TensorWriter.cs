using System.IO.Pipelines;
using System.Runtime.InteropServices;
using BnService.Api.Errors;
using BnService.Core.Tensors;

namespace BnService.Api.Wire;

/// <summary>Writes a tensor's elements as they are, little-endian: computed or copied into the answer's own memory.</summary>
internal static class TensorWriter
{
    // What is written before the client is given the chance to take it: bounds the memory of an answer of any size.
    private const int FlushBytes = 64 << 10;

    private const int FewestBytes = 4096;

    /// <summary>Writes all elements.</summary>
    /// <param name="output">Where to.</param>
    /// <param name="source">The tensor.</param>
    /// <param name="cancellationToken">Ends writing when the client is gone.</param>
    public static async ValueTask WriteAsync(PipeWriter output, TensorSource source, CancellationToken cancellationToken)
    {
        for (int written = 0, unflushed = 0; written < source.Shape.Count;)
        {
            var count = WriteSome(output, source, written);
            written += count;
            unflushed += count * source.Precision.Size();
            if (unflushed < FlushBytes) continue;
            unflushed = 0;
            await FlushAsync(output, cancellationToken);
        }
    }

    /// <summary>Gives the client the chance to take what has been written.</summary>
    public static async ValueTask FlushAsync(PipeWriter output, CancellationToken cancellationToken) =>
        RequireReader(await output.FlushAsync(cancellationToken));

    /// <summary>Ends writing where the client no longer reads.</summary>
    /// <exception cref="ClientGoneException">It does not.</exception>
    public static void RequireReader(FlushResult flushed)
    {
        if (flushed.IsCompleted || flushed.IsCanceled) throw new ClientGoneException();
    }

    private static int WriteSome(PipeWriter output, TensorSource source, int start)
    {
        var size = source.Precision.Size();
        var left = (source.Shape.Count - start) * (long)size;
        var span = output.GetSpan((int)Math.Min(left, FewestBytes));
        var count = (int)Math.Min(left, span.Length) / size;
        span = span[..(count * size)];
        if (source.Precision == Precision.Float64) source.CopyTo(start, MemoryMarshal.Cast<byte, double>(span));
        else source.CopyTo(start, MemoryMarshal.Cast<byte, float>(span));
        output.Advance(span.Length);
        return count;
    }
}
