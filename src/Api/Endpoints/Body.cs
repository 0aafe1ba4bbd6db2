using System.Diagnostics;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Limits;
using BnService.Api.Hosting.Memory;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Sessions;
using BnService.Api.Wire;
using BnService.Api.Wire.Json;
using BnService.Api.Wire.Npy;
using BnService.Api.Wire.Safetensors;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;
using Microsoft.Extensions.Options;

namespace BnService.Api.Endpoints;

/// <summary>
/// A request's body. Nothing of it is read before the call asks for it, so that a call on a session that does not exist costs nothing.
/// What is rented for it is given back when the answer has been sent.
/// </summary>
internal sealed class Body<T>(HttpContext context)
    where T : class
{
    private static readonly JsonTypeInfo<T> Contract = (JsonTypeInfo<T>)ContractJson.Context.GetTypeInfo(typeof(T))!;

    private BodyBuffer? _text;
    private Activity? _reading;
    private bool _isReleased;

    /// <summary>The message in a binary form, of which not all has been read; null for JSON, and before it is opened.</summary>
    public IncomingMessage<T>? Message { get; private set; }

    public static ValueTask<Body<T>?> BindAsync(HttpContext context) => new(new Body<T>(context));

    /// <summary>Reads as much of the body as says what it will be: the header of a binary form, the text of JSON.</summary>
    public async ValueTask OpenAsync()
    {
        var limits = context.RequestServices.GetRequiredService<IOptions<LimitOptions>>().Value;
        var bytes = new RequestBytes(context.Request, MessageLimits.MostBytesOf(Contract, limits));
        bytes.RequireAllowedLength();
        _reading = Spans.Begin(Spans.Read);
        // At the latest: what is answered while it arrives is read as long as the request lasts.
        if (_reading is not null) context.Response.RegisterForDispose(new Span(_reading));
        Message = Negotiation.Of(context).Request switch
        {
            MediaTypes.Safetensors => await SafetensorsReader.OpenAsync(bytes, Options(), Contract, State()),
            MediaTypes.Npy => await NpyReader.OpenAsync(bytes, Options(), Contract),
            _ => null,
        };
        if (Message is null)
        {
            await ReadTextAsync(bytes);
            return;
        }
        if (Message.Begun is { } begun) Own(begun);
        foreach (var part in Message.Parts)
        {
            if (part is IncomingTensor tensor) MessageLimits.RequireTensor(limits, tensor.Path, tensor.Shape);
            else if (part is IncomingValues values) values.Require(MessageLimits.Of(Contract, Precision.Float64, limits));
        }
        if (Message.Parts.Count == 0) MessageLimits.RequireTensors(limits, Message.Begun!, Contract);
    }

    /// <summary>The message of a call without tensors, once all of it is there.</summary>
    /// <param name="isOptional">Whether it may be absent: then it is what its type has as defaults.</param>
    public async ValueTask<T> ReadAsync(bool isOptional = false)
    {
        await OpenAsync();
        return await ReadAsync(null, Precision.Float32, isOptional: isOptional);
    }

    /// <summary>The message that has been opened, once all of it is there.</summary>
    /// <param name="outputs">How many tensors as large as its largest are made of it; null for what the call mostly makes.</param>
    /// <param name="keepsText">Whether JSON is kept until it is known whether it has to be read again.</param>
    public async ValueTask<T> ReadAsync(
        IArrivals? arrivals, Precision precision, int? outputs = null, bool keepsText = false, bool isOptional = false)
    {
        var memory = RequestMemory.Of(context);
        T value;
        if (Message is null) value = await ParseTextAsync(precision, memory, keepsText, isOptional);
        else
        {
            if (Message.Parts.Count > 0 && memory is not null)
                await memory.ReserveAsync(MemoryNeed.OfParts<T>(Message.Parts, outputs, precision));
            using (await LargeBodies.EnterAsync(context, Message.Parts)) value = await Message.ReadAsync(arrivals, precision);
            if (!ReferenceEquals(value, Message.Begun)) Own(value);
        }
        Spans.End(_reading);
        return value;
    }

    /// <summary>Whether the body itself may ask for a precision, which is an option of the call.</summary>
    public bool AsksForFloat64 => Message is null ? _text!.Bytes.IndexOf("\"precision\""u8) >= 0 : Says("precision", "64"u8);

    /// <summary>
    /// Whether a field may have a value: known before the body has been read, and of text only that the value stands in it.
    /// </summary>
    public bool Says(string field, ReadOnlySpan<byte> value) => (Message is null ? _text!.Bytes : Message.Find(field)).IndexOf(value) >= 0;

    /// <summary>Whether x may have digits that float32 has not.</summary>
    public bool MayBeRounded => Message is null
        || Message.Parts.Any(part => part is IncomingTensor { Path: SentDigits.Input } x && x.Type.IsWiderThanSingle());

    /// <summary>Watches the digits of x; null where float32 has all of them.</summary>
    /// <param name="usesBatch">Whether the batch's own statistics normalize it.</param>
    public SentDigits? Digits(NormalizerOptions options, bool usesBatch, Func<T, Tensor?> x) =>
        options.Precision == Precision.Float32 && MayBeRounded ? Digits(SentDigits.LayoutOf(options, usesBatch), x) : null;

    /// <summary>Watches the digits of x.</summary>
    public SentDigits Digits(Func<Shape, Layout> layout, Func<T, Tensor?> x) =>
        Message is not null ? new(layout) : new(layout) { Again = look => Reread(x, look), Forget = Release };

    // With all digits that a double holds.
    private void Reread(Func<T, Tensor?> x, Action<Tensor> look)
    {
        if (_isReleased) return;
        var again = JsonMessageReader.Read(_text!.Bytes, Contract, Precision.Float64);
        using var owned = again as IDisposable;
        if (x(again) is { } sent) look(sent);
    }

    private void Release()
    {
        _isReleased = true;
        _text?.Dispose();
    }

    private async ValueTask ReadTextAsync(RequestBytes bytes)
    {
        // A body that does not say how long it is takes what there is when it comes.
        if (RequestMemory.Of(context) is { } memory && bytes.Length is { } length)
            await memory.ReserveAsync(MemoryNeed.OfText<T>(length, Precision.Float32));
        _text = await bytes.ReadBufferAsync(null, "it");
        context.Response.RegisterForDispose(_text);
    }

    private async ValueTask<T> ParseTextAsync(Precision precision, RequestMemory? memory, bool keepsText, bool isOptional)
    {
        var length = _text!.Length;
        if (memory is not null && precision == Precision.Float64)
            await memory.ReserveAsync(MemoryNeed.OfText<T>(length, precision) - length);
        using var turn = await context.RequestServices.GetRequiredService<ComputeGate>().EnterTextAsync(length, context.RequestAborted);
        var limits = context.RequestServices.GetRequiredService<IOptions<LimitOptions>>().Value;
        T value;
        try
        {
            Negotiation.RequireJson(context, _text.Bytes);
            using var rewritten = State()?.Rewritten(_text.Bytes);
            value = length == 0 && isOptional
                ? Contract.CreateObject!()
                : JsonMessageReader.Read(rewritten is null ? _text.Bytes : rewritten.Bytes, Contract, precision, limits);
        }
        catch
        {
            _text.Dispose();
            throw;
        }
        if (!keepsText) Release();
        Own(value);
        MessageLimits.RequireTensors(limits, value, Contract);
        memory?.SettleFor(rented => MemoryNeed.OfOutputs<T>(rented - (keepsText ? length : 0)));
        return value;
    }

    private void Own(T value)
    {
        if (value is IDisposable disposable) context.Response.RegisterForDispose(disposable);
    }

    // A state comes under the names of many libraries.
    private StateSource? State() => typeof(T) == typeof(PutStateRequest) ? StateSource.Of(context.Request) : null;

    // Options of a binary body may come in the query: an array has no place for them.
    private FieldDocument Options()
    {
        var fields = new FieldDocument(Contract);
        var own = context.GetEndpoint()?.Metadata.GetMetadata<CallQuery>()?.Names ?? [];
        foreach (var (name, values) in context.Request.Query)
        {
            if (own.Contains(name)) continue;
            foreach (var value in values) fields.Add(name, value ?? "");
        }
        return fields;
    }
}
