using System.Text.Json;
using BnService.Api.Errors;
using BnService.Api.Wire.Json;
using BnService.Core.Tensors;

namespace BnService.Api.Wire.OpenInference;

/// <summary>
/// Reads the JSON of an infer request (inference_rest.md, <c>$inference_request</c>). Members that it does not know are passed over,
/// and null is as good as absent; what it knows must be right.
/// </summary>
internal ref struct InferHeaderReader
{
    public const int MaxDepth = 100;

    private const int LongestId = 4096;
    private const int LongestText = 8 * LongestId; // each character may be an escape

    private readonly ReadOnlySpan<byte> _json;
    private Utf8JsonReader _reader;
    private readonly int? _length; // of the JSON, where a header says it
    private int _start; // where in the JSON the reader's text begins
    private string? _id, _inputName;
    private bool _hasInput, _hasOutput;
    private bool? _binaryOutputs, _binaryOutput;
    private long? _binarySize;
    private Shape? _shape;
    private ElementType? _datatype;
    private InferData? _data;
    private readonly Precision _precision;

    private InferHeaderReader(ReadOnlySpan<byte> json, int? length, Precision precision)
    {
        _precision = precision;
        _json = JsonToken.WithoutMark(json);
        _length = length;
        _reader = new Utf8JsonReader(_json, new JsonReaderOptions { MaxDepth = MaxDepth });
    }

    /// <summary>Reads the whole text.</summary>
    /// <param name="hasLength">Whether a header says how long it is; else it is the whole body.</param>
    public static InferHeader Read(ReadOnlySpan<byte> json, bool hasLength, Precision precision)
    {
        var reader = new InferHeaderReader(json, hasLength ? json.Length : null, precision);
        try
        {
            reader.ReadRequest();
            return reader.Header();
        }
        catch (Exception exception)
        {
            reader._data?.Dispose();
            if (!InferText.IsMalformedJson(exception)) throw;
            throw InferText.Refused(reader.Explain(json.Length - reader._json.Length));
        }
    }

    // Bytes that follow the JSON, or a part of it that is missing, come mostly of a header that is not there or not right.
    private readonly string Explain(int markLength)
    {
        var flaw = JsonFlaw.Of(_json, MaxDepth);
        var end = flaw.ValueLength + markLength;
        if (_length is { } length)
        {
            return flaw.Explain($"the JSON of the body, its first {length} bytes by {InferText.LengthHeader},") +
                (flaw.ValueLength > 0 ? $"; the JSON takes {end} bytes" : "");
        }
        var tensor = flaw.ValueLength > 0 ? $"; if that is a tensor, send the header {InferText.LengthHeader}: {end}"
            : flaw.IsBinary ? $"; if the body is a tensor alone, send the header {InferText.LengthHeader}: 0" : "";
        return flaw.Explain("the body") + tensor;
    }

    private void ReadRequest()
    {
        _reader.Read();
        Require(JsonTokenType.StartObject, "the request must be a JSON object");
        while (NextMember())
        {
            if (Take("id"u8)) SetOnce(ref _id, Id(), "id");
            else if (Take("parameters"u8)) ReadParameters("the request");
            else if (Take("inputs"u8)) ReadInputs();
            else if (Take("outputs"u8)) ReadOutputs();
            else Pass();
        }
        if (_reader.Read()) throw new JsonException();
    }

    private void ReadInputs()
    {
        Require(JsonTokenType.StartArray, "inputs must be an array of objects");
        while (_reader.Read() && _reader.TokenType != JsonTokenType.EndArray)
        {
            Require(JsonTokenType.StartObject, "inputs must be an array of objects");
            if (_hasInput) throw InferText.Refused($"the model has one input, '{InferText.Input}'; the request has more");
            _hasInput = true;
            while (NextMember())
            {
                if (Take("name"u8)) SetOnce(ref _inputName, Text("name of an input"), "name");
                else if (Take("shape"u8)) SetOnce(ref _shape, ReadShape(), "shape");
                else if (Take("datatype"u8)) SetOnce(ref _datatype, Datatype(), "datatype");
                else if (Take("parameters"u8)) ReadParameters("an input");
                else if (_reader.ValueTextEquals("data"u8)) ReadData();
                else Pass();
            }
        }
    }

    private void ReadOutputs()
    {
        if (_reader.TokenType == JsonTokenType.Null) return;
        Require(JsonTokenType.StartArray, "outputs must be an array of objects");
        while (_reader.Read() && _reader.TokenType != JsonTokenType.EndArray)
        {
            Require(JsonTokenType.StartObject, "outputs must be an array of objects");
            if (_hasOutput) throw InferText.Refused($"the model has one output, '{InferText.Output}'; the request asks for more");
            _hasOutput = true;
            string? name = null;
            while (NextMember())
            {
                if (Take("name"u8)) SetOnce(ref name, Text("name of an output"), "name");
                else if (Take("parameters"u8)) ReadParameters("an output");
                else Pass();
            }
            if (name != InferText.Output) throw InferText.Refused($"the model's output is '{InferText.Output}', got {Quoted(name)}");
        }
    }

    private void ReadParameters(string owner)
    {
        if (_reader.TokenType == JsonTokenType.Null) return;
        Require(JsonTokenType.StartObject, $"parameters of {owner} must be an object");
        while (NextMember())
        {
            if (owner == "the request" && Take("binary_data_output"u8))
                SetOnce(ref _binaryOutputs, Flag("binary_data_output"), "binary_data_output");
            else if (owner == "an output" && Take("binary_data"u8)) SetOnce(ref _binaryOutput, Flag("binary_data"), "binary_data");
            else if (owner == "an input" && Take("binary_data_size"u8)) SetOnce(ref _binarySize, Size(), "binary_data_size");
            else if (Take("shared_memory_region"u8))
                throw InferText.Refused("shared_memory_region: the service shares no memory with its clients; send the tensor's bytes");
            else if (Take("classification"u8))
                throw InferText.Refused("classification: the output of a normalization is no set of classes");
            else Pass();
        }
    }

    // JSON's own reader ends at a bare NaN. So the elements are read here, and the reader goes on after them as if null had stood there.
    private void ReadData()
    {
        var position = _start + (int)_reader.BytesConsumed;
        while (position < _json.Length && _json[position] is (byte)' ' or (byte)'\t' or (byte)'\r' or (byte)'\n') position++;
        if (position == _json.Length || _json[position] != '[')
        {
            _reader.Read();
            Require(JsonTokenType.Null, "data must be an array of numbers");
            return;
        }
        if (_data is not null) throw Twice("data");
        _data = InferData.Read(_json, ref position, _precision);
        var inPlace = new Utf8JsonReader("null"u8, isFinalBlock: false, _reader.CurrentState);
        inPlace.Read();
        _reader = new Utf8JsonReader(_json[position..], isFinalBlock: true, inPlace.CurrentState);
        _start = position;
    }

    private Shape? ReadShape()
    {
        if (_reader.TokenType == JsonTokenType.Null) return null;
        Require(JsonTokenType.StartArray, "shape must be an array of whole numbers");
        Span<int> dimensions = stackalloc int[Shape.MaxRank];
        var rank = 0;
        while (_reader.Read() && _reader.TokenType != JsonTokenType.EndArray)
        {
            if (rank == Shape.MaxRank) throw InferText.Refused($"shape has at most {Shape.MaxRank} dimensions, got more");
            if (_reader.TokenType != JsonTokenType.Number || !_reader.TryGetInt32(out dimensions[rank]) || dimensions[rank] < 0)
                throw InferText.Refused(
                    $"a dimension of shape must be a whole number from 0 to {int.MaxValue}, got {JsonToken.Describe(ref _reader)}");
            rank++;
        }
        return new Shape(dimensions[..rank]);
    }

    private readonly InferHeader Header()
    {
        if (!_hasInput) throw InferText.Refused($"inputs is missing or empty; it must hold the model's input, '{InferText.Input}'");
        if (_inputName != InferText.Input) throw InferText.Refused($"the model's input is '{InferText.Input}', got {Quoted(_inputName)}");
        if (_shape is not { } shape) throw Missing("shape");
        if (_datatype is not { } datatype) throw Missing("datatype");
        if (_data is null == _binarySize is null)
        {
            throw InferText.Refused($"input '{InferText.Input}' must have either data or the parameter binary_data_size, " +
                $"with the header {InferText.LengthHeader} and the bytes after the JSON; got {(_data is null ? "neither" : "both")}");
        }
        if (_data is not null && !datatype.HasJson())
            throw BinaryOnly($"input '{InferText.Input}'", datatype, "send its bytes after the JSON, with the parameter binary_data_size");
        var isOutputBinary = _binaryOutput ?? _binaryOutputs ?? false;
        if (!isOutputBinary && !datatype.HasJson())
            throw BinaryOnly($"output '{InferText.Output}'", datatype, "ask for it with the parameter binary_data");
        if (_binarySize > 0 && _length is null)
        {
            throw InferText.Refused($"input '{InferText.Input}' has binary_data_size {_binarySize}, but the request has no header " +
                $"{InferText.LengthHeader}, which says how many bytes of the body are the JSON");
        }
        if (_binarySize is { } size && size != (long)shape.Count * datatype.Size())
        {
            throw InferText.Refused($"binary_data_size of input '{InferText.Input}' must be {(long)shape.Count * datatype.Size()} " +
                $"({datatype.Name()} of shape {shape}), got {size}");
        }
        return new InferHeader
        {
            Id = _id,
            Shape = shape,
            Datatype = datatype,
            Data = _data,
            IsOutputBinary = isOutputBinary,
            Precision = _precision,
        };
    }

    private bool NextMember() => _reader.Read() && _reader.TokenType == JsonTokenType.PropertyName;

    // Whether the member has this name; the reader then stands on its value.
    private bool Take(ReadOnlySpan<byte> name) => _reader.ValueTextEquals(name) && _reader.Read();

    private void Pass() => _reader.Skip();

    private readonly void Require(JsonTokenType token, string rule)
    {
        if (_reader.TokenType == token) return;
        var reader = _reader;
        throw InferText.Refused($"{rule}, got {JsonToken.Describe(ref reader)}");
    }

    private string? Text(string what)
    {
        if (_reader.TokenType != JsonTokenType.Null) Require(JsonTokenType.String, $"{what} must be a string");
        if (_reader.ValueSpan.Length > LongestText)
            throw InferText.Refused($"{what} has at most {LongestText} bytes, got {_reader.ValueSpan.Length}");
        return _reader.GetString();
    }

    private string? Id() => Text("id") is { Length: > LongestId } id
        ? throw InferText.Refused($"id has at most {LongestId} characters, got {id.Length}")
        : _reader.GetString();

    private bool? Flag(string what) => _reader.TokenType switch
    {
        JsonTokenType.True => true,
        JsonTokenType.False => false,
        JsonTokenType.Null => null,
        _ => throw InferText.Refused($"{what} must be true or false, got {JsonToken.Describe(ref _reader)}"),
    };

    private long? Size()
    {
        if (_reader.TokenType == JsonTokenType.Null) return null;
        if (_reader.TokenType == JsonTokenType.Number && _reader.TryGetInt64(out var size) && size >= 0) return size;
        throw InferText.Refused($"binary_data_size must be a whole number of 0 or more, got {JsonToken.Describe(ref _reader)}");
    }

    private ElementType? Datatype() => Text("datatype") is not { } name
        ? null
        : Datatypes.Find(name) ?? throw InferText.Refused($"datatype must be one of {Datatypes.All}, got {Quoted(name)}");

    private static void SetOnce<T>(ref T? field, T? value, string name)
    {
        if (field is not null) throw Twice(name);
        field = value;
    }

    private static Exception Twice(string name) => InferText.Refused($"the JSON of the request names '{name}' twice");

    private static Exception Missing(string member) => InferText.Refused($"{member} of input '{InferText.Input}' is missing");

    private static Exception BinaryOnly(string tensor, ElementType datatype, string advice) =>
        InferText.Refused($"{tensor} is {datatype.Name()}, which travels in binary only: {advice}");

    private static string Quoted(string? name) => name is null ? "none" : $"'{Excerpt.Of(name)}'";
}
