using BnService.Api.Contracts;
using BnService.Api.Sessions;
using BnService.Api.Wire;
using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Endpoints;

/// <summary>
/// About how much memory a request will take, told before its tensors are read. An estimate decides who waits; what is rented beyond it is
/// still counted, and refused where there is no room.
/// </summary>
internal static class MemoryNeed
{
    /// <summary>What an answer takes besides its tensors: the beginning of y, chunks of text, sums.</summary>
    public const long Besides = 2 << 20;

    private const long BytesOfSession = 16 << 10, BytesOfEntry = 200;

    private static readonly Type[] OneOutput =
        [typeof(TrainStepRequest), typeof(InferenceRequest), typeof(BackwardRequest), typeof(FoldRequest)];

    // Elements of a text are mostly eight characters or more, which makes their four bytes half of it.
    private const int CharactersPerByte = 2;

    /// <summary>Of a message in JSON: its text, and the tensors that are read from it and made of them.</summary>
    public static long OfText<T>(long length, Precision precision) =>
        length + ((length / CharactersPerByte * (precision.Size() / sizeof(float))) * (1 + OutputsOf<T>([]))) + BesidesOf(length);

    /// <summary>Of a message whose tensors are still to come.</summary>
    /// <param name="outputs">How many tensors as large as the largest of them are made of it; null for what the call mostly makes.</param>
    public static long OfParts<T>(IReadOnlyList<IncomingPart> parts, int? outputs, Precision precision)
    {
        var (sum, largest, buffer) = (0L, 0L, 0L);
        foreach (var part in parts)
        {
            if (part is IncomingRest) continue;
            if (part is IncomingValues values)
            {
                // One after the other is read and becomes an array.
                (sum, buffer) = (sum + ((long)values.Count * sizeof(double)), Math.Max(buffer, values.Bytes));
                continue;
            }
            var bytes = part is IncomingTensor tensor ? NativeBuffer.LengthFor((long)tensor.Shape.Count * precision.Size()) : part.Bytes;
            largest = Math.Max(largest, bytes);
            // What is put into another order, and what is made text of, is there twice for a moment; what is rounded then as well, in
            // float64.
            sum += part is IncomingTensor { IsColumnMajor: false } ? bytes
                : part is IncomingTensor { Type: ElementType.F64 } && precision == Precision.Float32 ? 4 * bytes
                : 2 * bytes;
        }
        return sum + buffer + (largest * (outputs ?? OutputsOf<T>(parts))) + BesidesOf(sum);
    }

    /// <summary>Of an output that is sent while its batch arrives, to a client that reads nothing until it has sent all.</summary>
    public static long OfStream(LayerOutput output, long answer) =>
        OutputStream.GatheredBytes(output) + OverflowingWriter.MostBytes(answer);

    /// <summary>Of the tensors that are made of a message that is there.</summary>
    public static long OfOutputs<T>(long rented) => (rented * OutputsOf<T>([])) + BesidesOf(rented);

    /// <summary>Of a page of so many sessions: for a moment it exists as it is stored, as it is read, and as it is answered.</summary>
    public static long OfSessions(int count) => Math.Min(2 * SessionOverview.MostBytes, (long)count * BytesOfSession);

    /// <summary>Of a list of keys.</summary>
    public static long OfKeys(int count) => (long)count * BytesOfEntry;

    /// <summary>Of a list of snapshots.</summary>
    public static long OfSnapshots(IEnumerable<SnapshotSummary> snapshots) =>
        snapshots.Sum(snapshot => BytesOfEntry + ((snapshot.Description?.Length ?? 0) * sizeof(char)));

    private static long BesidesOf(long bytes) => Math.Min(bytes, Besides);

    private static int OutputsOf<T>(IReadOnlyList<IncomingPart> parts) =>
        typeof(T) == typeof(NormalizeRequest) ? Math.Max(1, parts.Count)
        : typeof(T) == typeof(BackwardRequest) && parts.Any(part => part.Path == "residual") ? 2
        : OneOutput.Contains(typeof(T)) ? 1 : 0;
}
