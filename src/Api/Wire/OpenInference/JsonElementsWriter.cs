using System.Text.Json;

namespace BnService.Api.Wire.OpenInference;

/// <summary>Writes the elements of a tensor as JSON numbers, in shortest round-trip form.</summary>
internal static class JsonElementsWriter
{
    /// <summary>Writes elements until enough is pending.</summary>
    /// <param name="json">Where to, inside an array.</param>
    /// <param name="datatype">Type of the numbers: a float64 has the digits that it needs to be the float32 again bit by bit, and more.</param>
    /// <param name="elements">All elements, finite.</param>
    /// <param name="from">The first to write.</param>
    /// <param name="enough">Bytes after which to stop.</param>
    /// <returns>The first that is not yet written.</returns>
    public static int Write(Utf8JsonWriter json, ElementType datatype, ReadOnlySpan<float> elements, int from, int enough)
    {
        var index = from;
        for (; index < elements.Length && json.BytesPending < enough; index++)
        {
            if (datatype == ElementType.F64) json.WriteNumberValue((double)elements[index]);
            else json.WriteNumberValue(elements[index]);
        }
        return index;
    }
}
