using System.Text;
using System.Text.Json;
using BnService.Bench.Cases;

namespace BnService.Bench.Http;

/// <summary>
/// What all requests of a case end with: the floats, or the JSON. It lies in memory once, for all contenders; what precedes it is put
/// right before it at the beginning of each turn.
/// </summary>
internal sealed unsafe class Payload : IDisposable
{
    // A page, so that the payload is aligned as well as the memory.
    private const int RoomBefore = 4096;

    private readonly FloatMemory _memory;

    private Payload(ReadOnlySpan<byte> bytes)
    {
        Length = bytes.Length;
        _memory = new FloatMemory((RoomBefore + bytes.Length + sizeof(float)) / sizeof(float));
        bytes.CopyTo(new Span<byte>(Start, bytes.Length));
    }

    /// <summary>Number of its bytes.</summary>
    public int Length { get; }

    /// <summary>They themselves.</summary>
    public ReadOnlySpan<byte> Bytes => new(Start, Length);

    private byte* Start => (byte*)_memory.Pointer + RoomBefore;

    /// <summary>The floats of x, as NumPy files and binary tensors have them.</summary>
    public static Payload OfFloats(CaseData data) => new(new ReadOnlySpan<byte>(data.X(0), (int)data.Case.Bytes));

    /// <summary>The body of an inference: <c>{"x":{"shape":[…],"data":[…]}}</c>.</summary>
    public static Payload OfJson(CaseData data)
    {
        using var bytes = new MemoryStream();
        using (var json = new Utf8JsonWriter(bytes))
        {
            json.WriteStartObject();
            json.WriteStartObject("x");
            json.WriteStartArray("shape");
            json.WriteNumberValue(data.Case.N);
            json.WriteNumberValue(data.Case.C);
            json.WriteEndArray();
            json.WriteStartArray("data");
            for (var i = 0; i < data.Case.Count; i++) json.WriteNumberValue(data.X(0)[i]);
            json.WriteEndArray();
            json.WriteEndObject();
            json.WriteEndObject();
        }
        return new Payload(bytes.GetBuffer().AsSpan(0, (int)bytes.Length));
    }

    /// <summary>The head of a NumPy file of format 1.0 with as many rows of floats.</summary>
    public static byte[] NumPyHead(int rows, int columns = HttpCase.Features)
    {
        const int length = 128, preamble = 10;
        var description = $"{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}";
        var padded = description.PadRight(length - preamble - 1) + '\n';
        return [0x93, .. "NUMPY"u8, 1, 0, length - preamble, 0, .. Encoding.ASCII.GetBytes(padded)];
    }

    /// <summary>The JSON before the floats in an infer request of the Open Inference Protocol that asks for a binary answer.</summary>
    public static byte[] OpenInferenceHead(int rows) => JsonSerializer.SerializeToUtf8Bytes(new
    {
        inputs = new[]
        {
            new
            {
                name = "x",
                shape = new[] { rows, HttpCase.Features },
                datatype = "FP32",
                parameters = new { binary_data_size = rows * HttpCase.Features * sizeof(float) },
            },
        },
        parameters = new { binary_data_output = true },
    });

    /// <summary>Puts bytes right before the payload.</summary>
    /// <returns>The first of them.</returns>
    public byte* Precede(ReadOnlySpan<byte> bytes)
    {
        var first = Start - bytes.Length;
        bytes.CopyTo(new Span<byte>(first, RoomBefore));
        return first;
    }

    /// <inheritdoc/>
    public void Dispose() => _memory.Dispose();
}
