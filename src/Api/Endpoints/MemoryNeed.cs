using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Hosting;
using BnService.Api.Wire;
using BnService.Core.Tensors;

namespace BnService.Api.Endpoints;

/// <summary>
/// About how much memory a request will take, told before its tensors are read. An estimate decides who waits; what is rented beyond it is
/// still counted, and refused where there is no room.
/// </summary>
internal static class MemoryNeed
{
    /// <summary>What an answer takes beside its tensors: the beginning of y, chunks of text, sums.</summary>
    public const long Beside = 2 << 20;

    // All labels with every character an escape, twice; and a number on a line of its own.
    private const int BytesOfOptions = 512 << 10, BytesOfNumber = 40;

    // Elements of a text are mostly eight characters or more, which makes their four bytes half of it.
    private const int CharactersPerByte = 2;

    /// <summary>Of a message in JSON: its text, and the tensors that are read from it and made of them.</summary>
    public static long OfText<T>(long length, Precision precision) =>
        length + ((length / CharactersPerByte * (precision.Size() / sizeof(float))) * (1 + OutputsOf<T>([]))) + BesideOf(length);

    /// <summary>Of a message whose tensors are still to come.</summary>
    /// <param name="parts">What is to come.</param>
    /// <param name="outputs">How many tensors as large as the largest of them are made of it; null for what the call mostly makes.</param>
    /// <param name="precision">Type of the tensors' elements.</param>
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
            // What is put into another order, and what is made text of, is there twice for a moment; what is rounded then as well, in float64.
            sum += part is IncomingTensor { IsColumnMajor: false } ? bytes
                : part is IncomingTensor { Type: ElementType.F64 } && precision == Precision.Float32 ? 4 * bytes
                : 2 * bytes;
        }
        return sum + buffer + (largest * (outputs ?? OutputsOf<T>(parts))) + BesideOf(sum);
    }

    /// <summary>The longest body of a call: what carries no tensors, no state and no lists of arrays has no use for more than its fields can hold.</summary>
    /// <param name="contract">Metadata of the message's type.</param>
    /// <param name="limits">What is allowed.</param>
    public static long MostOf(JsonTypeInfo contract, LimitOptions limits)
    {
        var fields = ContractField.Of(contract);
        if (contract.Type == typeof(PutStateRequest) || contract.Type == typeof(MergeRequest) || Array.Exists(fields, field => field.IsTensor)) return limits.MaxBodyBytes;
        var arrays = fields.Count(field => field.Property.PropertyType == typeof(double[]));
        return Math.Min(limits.MaxBodyBytes, BytesOfOptions + ((long)arrays * limits.MaxFeatures * BytesOfNumber));
    }

    /// <summary>Of the tensors that are made of a message that is there.</summary>
    /// <param name="rented">What the message takes.</param>
    public static long OfOutputs<T>(long rented) => (rented * OutputsOf<T>([])) + BesideOf(rented);

    private static long BesideOf(long bytes) => Math.Min(bytes, Beside);

    private static int OutputsOf<T>(IReadOnlyList<IncomingPart> parts) =>
        typeof(T) == typeof(NormalizeRequest) ? Math.Max(1, parts.Count)
        : typeof(T) == typeof(BackwardRequest) && parts.Any(part => part.Path == "residual") ? 2
        : typeof(T) == typeof(TrainStepRequest) || typeof(T) == typeof(InferenceRequest) || typeof(T) == typeof(BackwardRequest) || typeof(T) == typeof(FoldRequest) ? 1
        : 0;
}
