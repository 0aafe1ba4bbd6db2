using System.Buffers;
using System.Buffers.Binary;
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Nodes;

namespace BnService.Client.Wire;

/// <summary>A request as a safetensors file: tensors by their names, options as texts. Its tensors stay where they are.</summary>
internal sealed class SafetensorsMessage
{
    /// <summary>Media type of the form.</summary>
    public const string MediaType = "application/x-safetensors";

    // Elements begin at whole multiples of the widest type.
    private const int Alignment = 8;

    private readonly List<(string Name, string Type, int[] Shape, long Length, IReadOnlyList<ReadOnlyMemory<byte>> Bytes)> _tensors = [];
    private readonly List<(string Name, string Text)> _texts = [];
    private byte[]? _header;

    /// <summary>Adds a tensor of float32.</summary>
    public SafetensorsMessage Add(string name, ReadOnlyMemory<float> values, IReadOnlyList<int> shape)
    {
        _tensors.Add((name, "F32", [.. shape], (long)values.Length * sizeof(float), [.. ElementBytes<float>.Of(values)]));
        return this;
    }

    /// <summary>Adds a tensor of float32 or float64.</summary>
    public SafetensorsMessage Add(string name, InputTensor tensor, IReadOnlyList<int> shape)
    {
        if (tensor.Doubles.IsEmpty) return Add(name, tensor.Singles, shape);
        _tensors.Add((name, "F64", [.. shape], (long)tensor.Length * sizeof(double), [.. ElementBytes<double>.Of(tensor.Doubles)]));
        return this;
    }

    /// <summary>Adds an array of float64.</summary>
    public SafetensorsMessage Add(string name, IReadOnlyList<double> values)
    {
        double[] array = [.. values];
        _tensors.Add((name, "F64", [array.Length], (long)array.Length * sizeof(double), [.. ElementBytes<double>.Of((ReadOnlyMemory<double>)array)]));
        return this;
    }

    /// <summary>Adds a mask, where there is one.</summary>
    /// <param name="values">Its values; empty for none.</param>
    /// <param name="shape">Its dimensions; null for one value per sample.</param>
    public SafetensorsMessage AddMask(ReadOnlyMemory<bool> values, IReadOnlyList<int>? shape)
    {
        if (values.IsEmpty) return this;
        var bytes = new byte[values.Length];
        for (var i = 0; i < bytes.Length; i++) bytes[i] = values.Span[i] ? (byte)1 : (byte)0;
        int[] dimensions = [.. shape ?? [values.Length]];
        if (dimensions.Aggregate(1.0, (product, dimension) => product * dimension) != bytes.Length)
            throw new ArgumentException($"the mask has {bytes.Length} values, its shape [{string.Join(", ", dimensions)}] others");
        _tensors.Add(("mask", "BOOL", dimensions, bytes.Length, [bytes]));
        return this;
    }

    /// <summary>Adds gamma and beta of a call alone, where it has them.</summary>
    public SafetensorsMessage AddOwn(IReadOnlyList<double>? gamma, IReadOnlyList<double>? beta)
    {
        if (gamma is not null) Add("gamma", gamma);
        if (beta is not null) Add("beta", beta);
        return this;
    }

    /// <summary>Adds a text: a word or a number as it is, anything else as JSON.</summary>
    public SafetensorsMessage Add(string name, string text)
    {
        _texts.Add((name, text));
        return this;
    }

    /// <summary>Adds every field of an object as a text.</summary>
    public SafetensorsMessage Add(JsonObject fields)
    {
        foreach (var (name, value) in fields)
            Add(name, value?.GetValueKind() == JsonValueKind.String ? value.GetValue<string>() : value?.ToJsonString() ?? "null");
        return this;
    }

    /// <summary>The body of one attempt to send it.</summary>
    public HttpContent ToContent() => new Content(_header ??= Header(), [.. Ordered.SelectMany(tensor => tensor.Bytes)]);

    // Wide types first, so that each begins at a whole multiple of its size.
    private IEnumerable<(string Name, string Type, int[] Shape, long Length, IReadOnlyList<ReadOnlyMemory<byte>> Bytes)> Ordered =>
        _tensors.OrderBy(tensor => tensor.Type switch { "F64" => 0, "F32" => 1, _ => 2 });

    private byte[] Header()
    {
        var json = new ArrayBufferWriter<byte>();
        json.Advance(WriteLength(json.GetSpan(sizeof(ulong)), 0));
        using (var writer = new Utf8JsonWriter(json))
        {
            writer.WriteStartObject();
            if (_texts.Count > 0)
            {
                writer.WriteStartObject("__metadata__");
                foreach (var (name, text) in _texts) writer.WriteString(name, text);
                writer.WriteEndObject();
            }
            long begin = 0;
            foreach (var (name, type, shape, length, _) in Ordered)
            {
                writer.WriteStartObject(name);
                writer.WriteString("dtype", type);
                writer.WriteStartArray("shape");
                foreach (var dimension in shape) writer.WriteNumberValue(dimension);
                writer.WriteEndArray();
                writer.WriteStartArray("data_offsets");
                writer.WriteNumberValue(begin);
                writer.WriteNumberValue(begin += length);
                writer.WriteEndArray();
                writer.WriteEndObject();
            }
            writer.WriteEndObject();
        }
        var padding = (Alignment - (json.WrittenCount % Alignment)) % Alignment;
        json.GetSpan(padding)[..padding].Fill((byte)' ');
        json.Advance(padding);
        var header = json.WrittenSpan.ToArray();
        WriteLength(header, header.Length - sizeof(ulong));
        return header;
    }

    private static int WriteLength(Span<byte> destination, int length)
    {
        BinaryPrimitives.WriteUInt64LittleEndian(destination, (ulong)length);
        return sizeof(ulong);
    }

    private sealed class Content : HttpContent
    {
        private readonly byte[] _header;
        private readonly IReadOnlyList<ReadOnlyMemory<byte>> _pieces;

        public Content(byte[] header, IReadOnlyList<ReadOnlyMemory<byte>> pieces)
        {
            (_header, _pieces) = (header, pieces);
            Headers.ContentType = new MediaTypeHeaderValue(MediaType);
        }

        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) =>
            SerializeToStreamAsync(stream, context, CancellationToken.None);

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
        {
            await stream.WriteAsync(_header, cancellationToken).ConfigureAwait(false);
            foreach (var piece in _pieces) await stream.WriteAsync(piece, cancellationToken).ConfigureAwait(false);
        }

        // Known, so that the service refuses too large a body before it is sent, and HTTP/1.1 needs no chunks.
        protected override bool TryComputeLength(out long length)
        {
            length = _header.Length + _pieces.Sum(piece => (long)piece.Length);
            return true;
        }
    }
}
