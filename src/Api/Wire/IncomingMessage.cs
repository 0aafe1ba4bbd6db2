using System.Runtime.InteropServices;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Errors;
using BnService.Api.Wire.Json;
using BnService.Core;
using BnService.Core.Layers;
using BnService.Core.Tensors;

namespace BnService.Api.Wire;

/// <summary>Something of a binary message whose bytes are still to come.</summary>
internal abstract record IncomingPart(string Path, long Bytes);

/// <summary>A tensor that is still to come.</summary>
/// <param name="IsColumnMajor">Whether its first dimension is the innermost one on the wire.</param>
/// <param name="IsBigEndian">Whether the first byte of an element is the most significant one on the wire.</param>
internal sealed record IncomingTensor(string Path, Shape Shape, ElementType Type, bool IsColumnMajor = false, bool IsBigEndian = false)
    : IncomingPart(Path, (long)Shape.Count * Type.Size())
{
    /// <summary>The shape of dimensions as they were sent.</summary>
    /// <exception cref="ProblemException">No tensor can have it.</exception>
    public static Shape ShapeOf(string path, IReadOnlyList<long> dimensions)
    {
        try
        {
            if (dimensions.Count <= Shape.MaxRank) return new Shape([.. dimensions.Select(dimension => checked((int)dimension))]);
            throw new ProblemException(ProblemCode.ShapeMismatch, $"{path} has at most {Shape.MaxRank} dimensions, got {dimensions.Count}");
        }
        catch (OverflowException)
        {
            throw new ProblemException(ProblemCode.ShapeMismatch,
                $"{path}: a dimension is at most {int.MaxValue}, got [{string.Join(", ", dimensions)}]");
        }
        catch (LayerException exception)
        {
            throw new ProblemException(ProblemCode.ShapeMismatch, $"{path}: {exception.Message}");
        }
    }
}

/// <summary>Values that are no tensor in the contract.</summary>
/// <param name="Type">Type of their elements.</param>
/// <param name="Write">Writes them as JSON numbers.</param>
internal sealed record IncomingValues(
    string Path, int Count, ElementType Type, IncomingValues.NumberWriter Write) : IncomingPart(Path, (long)Count * Type.Size())
{
    public IReadOnlyList<long> Dimensions { get; init; } = [];

    /// <summary>What the field is in the contract.</summary>
    public required Type Field { get; init; }

    /// <summary>The most values of one field: more than any layer has statistics.</summary>
    public const int MostCount = 1 << 26;

    /// <summary>Writes bytes as JSON numbers, one after another.</summary>
    public delegate void NumberWriter(ReadOnlySpan<byte> bytes, Utf8JsonWriter json);

    /// <summary>Refuses more of them than the field may have.</summary>
    public void Require(MessageLimits limits)
    {
        if (Field == typeof(double[]) && Count > limits.MostNumbers) throw limits.TooManyNumbers(Path);
        if (Field != typeof(double[]) && Field != typeof(BatchMask) && Count > MessageLimits.MostItems)
            throw MessageLimits.TooMany(Path, MessageLimits.MostItems);
    }

    /// <summary>What the field will be, where that is an array of numbers or a mask; null where it is read from JSON.</summary>
    public object? Read(ReadOnlySpan<byte> bytes)
    {
        if (Field == typeof(BatchMask))
        {
            MemoryAccount.Hold(Count);
            return MaskConverter.Of(Dimensions, Type, bytes, Count);
        }
        if (Field != typeof(double[])) return null;
        MemoryAccount.Hold((long)Count * sizeof(double));
        var values = new double[Count];
        Type.ToDoubles(bytes, values);
        return values;
    }
}

/// <summary>Bytes that are passed over.</summary>
internal sealed record IncomingRest(string Path, long Bytes) : IncomingPart(Path, Bytes), IByteConsumer
{
    public void Take(ReadOnlySpan<byte> bytes)
    {
    }

    public ValueTask TakenAsync(CancellationToken cancellationToken) => ValueTask.CompletedTask;
}

/// <summary>A message of which the tensors may still be on their way: what it will be is known, what is in it is not.</summary>
internal sealed class IncomingMessage<T>
    where T : class
{
    private readonly JsonTypeInfo<T> _contract;
    private readonly FieldDocument _fields;
    private readonly HashSet<string>? _seen;
    private readonly List<(string Path, object Values)> _values = [];

    /// <summary>A message of which some parts are still to come.</summary>
    /// <exception cref="ProblemException">A field that is there is none of the message's, or its value cannot be read.</exception>
    public IncomingMessage(JsonTypeInfo<T> contract, RequestBytes bytes, FieldDocument fields, IReadOnlyList<IncomingPart> parts)
    {
        (_contract, Bytes, _fields, Parts) = (contract, bytes, fields, parts);
        // Refused before what is to come is waited for; it may complete objects that the fields begin.
        if (!parts.Any(part => part is IncomingValues)) (Begun, _seen) = ReadFields();
    }

    /// <summary>What is to come, in its order.</summary>
    public IReadOnlyList<IncomingPart> Parts { get; }

    public RequestBytes Bytes { get; }

    /// <summary>
    /// The message as far as it is there; null where fields are still to come that are no tensors. The caller's to dispose, where it is
    /// disposable.
    /// </summary>
    public T? Begun { get; }

    /// <summary>
    /// What is there of the message: <see cref="Begun"/>, or one to look at that is the caller's to dispose, where it is disposable.
    /// </summary>
    public T Announced() => Begun ?? ReadFields().Message;

    /// <summary>The JSON of a field that is there; null for none.</summary>
    public ReadOnlySpan<byte> Find(string field) => _fields.JsonOf(field);

    /// <summary>The message, once all of it is there.</summary>
    /// <returns>What has begun, completed; or else a message that is the caller's to dispose, where it is disposable.</returns>
    /// <exception cref="ProblemException">Something of it is missing, malformed or too much.</exception>
    public async ValueTask<T> ReadAsync(IArrivals? arrivals = null, Precision precision = Precision.Float32)
    {
        var tensors = new List<(string Path, Tensor Tensor)>();
        try
        {
            foreach (var part in Parts)
            {
                if (part is IncomingTensor tensor) await ReadAsync(tensor, tensors, arrivals, precision);
                else if (part is IncomingRest rest) await Bytes!.ReadAsync(rest.Bytes, rest, rest.Path);
                else await ReadAsync((IncomingValues)part);
            }
            await Bytes.RequireEndAsync();
            var (message, seen) = Begun is null ? ReadFields() : (Begun, _seen!);
            foreach (var (path, values) in _values) ContractPath.Set(message, _contract, path, values);
            Complete(message, seen, tensors);
            if (message is PutStateRequest state)
            {
                foreach (var values in Parts.OfType<IncomingValues>()) state.Shapes[values.Path] = values.Dimensions;
            }
            tensors.Clear();
            if (!_fields.IsEmpty) TensorRounding.Bring(message, _contract, precision, arrivals: arrivals);
            return message;
        }
        finally
        {
            tensors.ForEach(entry => entry.Tensor.Dispose());
        }
    }

    private void Complete(T message, HashSet<string> seen, List<(string Path, Tensor Tensor)> tensors)
    {
        try
        {
            foreach (var (path, _) in tensors)
            {
                if (!seen.Add(path)) throw FieldDocument.Twice(path);
            }
            JsonMessageReader.RequireAll(_contract, seen, "");
            foreach (var (path, tensor) in tensors)
            {
                if (!TrySet(message, _contract, path, tensor)) throw FieldDocument.Twice(path);
            }
        }
        catch
        {
            if (Begun is null) (message as IDisposable)?.Dispose();
            throw;
        }
    }

    // What comes as text is brought to the precision of the others in the end.
    private (T Message, HashSet<string> Seen) ReadFields()
    {
        var message = _contract.CreateObject!();
        try
        {
            return (message, _fields.IsEmpty ? [] : JsonMessageReader.ReadInto(message, _fields.ToJson(), _contract, Precision.Float64));
        }
        catch
        {
            (message as IDisposable)?.Dispose();
            throw;
        }
    }

    private async ValueTask ReadAsync(
        IncomingTensor part, List<(string Path, Tensor Tensor)> tensors, IArrivals? arrivals, Precision precision)
    {
        // What arrives in another order is rounded once it is in ours, and until then kept as the bytes that it is.
        var isRoundedLater = part.IsColumnMajor && precision == Precision.Float32 && part.Type.IsWiderThanSingle();
        var (type, kept) = !isRoundedLater ? (part.Type, precision)
            : part.Type.Size() == sizeof(double) ? (ElementType.F64, Precision.Float64) : (ElementType.F32, Precision.Float32);
        var tensor = Tensor.Rent(part.Shape, kept);
        tensors.Add((part.Path, tensor));
        // What arrives in another order is known only when all of it is there.
        if (!part.IsColumnMajor) arrivals?.Begin(part.Path, tensor);
        var watching = part.IsColumnMajor ? null : arrivals;
        await Bytes.ReadAsync(part.Bytes, new TensorFill(type, tensor, part.Path, watching, part.IsBigEndian), part.Path);
        if (!part.IsColumnMajor) return;
        var rowMajor = Tensor.Rent(part.Shape, tensor.Precision);
        tensors[^1] = (part.Path, rowMajor);
        using (tensor)
        {
            if (rowMajor.Precision == Precision.Float64) ColumnMajor.ToRowMajor<double>(part.Shape, tensor.Doubles, rowMajor.Doubles);
            else ColumnMajor.ToRowMajor<float>(part.Shape, tensor.Data, rowMajor.Data);
        }
        if (!isRoundedLater) return;
        var rounded = Tensor.Rent(part.Shape);
        tensors[^1] = (part.Path, rounded);
        using (rowMajor)
        {
            arrivals?.Begin(part.Path, rounded);
            var elements = kept == Precision.Float64 ? MemoryMarshal.AsBytes(rowMajor.Doubles) : MemoryMarshal.AsBytes(rowMajor.Data);
            new TensorFill(part.Type, rounded, part.Path, arrivals).Take(elements);
            arrivals?.Arrived(part.Path, part.Shape.Count);
        }
    }

    private async ValueTask ReadAsync(IncomingValues part)
    {
        using var buffer = await Bytes.ReadBufferAsync(part.Bytes, part.Path);
        if (part.Read(buffer.Bytes) is { } values)
        {
            _fields.AddPlace(part.Path);
            _values.Add((part.Path, values));
        }
        else _fields.Add(part, buffer.Bytes);
    }

    // False where there is a tensor already, in an object that came as text.
    private static bool TrySet(object message, JsonTypeInfo contract, string path, Tensor tensor)
    {
        var dot = path.IndexOf('.');
        var property = JsonMessageReader.Find(contract, dot < 0 ? path : path[..dot], "").Property;
        var value = property.Get!(message);
        if (dot < 0)
        {
            if (value is not null) return false;
            property.Set!(message, tensor);
            return true;
        }
        var type = contract.Options.GetTypeInfo(property.PropertyType);
        if (value is null) property.Set!(message, value = type.CreateObject!());
        return TrySet(value, type, path[(dot + 1)..], tensor);
    }
}
