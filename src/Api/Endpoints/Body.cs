using System.Diagnostics;
using System.Reflection;
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

/// <summary>A request's body, read into a contract type. What it rented is given back when the answer has been sent.</summary>
/// <param name="Value">What was read; for an absent body the type's defaults.</param>
internal sealed record Body<T>(T Value)
    where T : class
{
    /// <summary>Binds a handler's parameter.</summary>
    public static async ValueTask<Body<T>?> BindAsync(HttpContext context, ParameterInfo parameter)
    {
        var incoming = await Incoming<T>.OpenAsync(context, parameter.GetCustomAttribute<OptionalBodyAttribute>() is not null);
        return new Body<T>(await incoming.ReadAsync(null, Precision.Float32));
    }
}

/// <summary>A request's body of which the tensors may still be on their way. What it rents is given back when the answer has been sent.</summary>
/// <param name="context">The request.</param>
/// <param name="message">The body in a binary form; null for JSON.</param>
/// <param name="text">The body in JSON; null for a binary form.</param>
/// <param name="isOptional">Whether it may be absent.</param>
/// <param name="reading">The part of the request in which it is read; null where nobody looks.</param>
internal sealed class Incoming<T>(HttpContext context, IncomingMessage<T>? message, BodyBuffer? text, bool isOptional, Activity? reading)
    where T : class
{
    private static readonly JsonTypeInfo<T> Contract = (JsonTypeInfo<T>)ContractJson.Context.GetTypeInfo(typeof(T))!;

    private bool _isReleased;

    /// <summary>The body, of which not all has been read; null for JSON.</summary>
    public IncomingMessage<T>? Message => message;

    /// <summary>Whether the body itself may ask for a precision, which is an option of the call.</summary>
    public bool AsksForFloat64 => text is null
        ? message!.Find("precision").IndexOf("64"u8) >= 0
        : text.Bytes.IndexOf("\"precision\""u8) >= 0;

    /// <summary>Binds a handler's parameter.</summary>
    public static async ValueTask<Incoming<T>?> BindAsync(HttpContext context) => await OpenAsync(context, false);

    /// <summary>Reads as much of a body as says what it will be.</summary>
    /// <param name="context">The request.</param>
    /// <param name="isOptional">Whether the body may be absent.</param>
    /// <exception cref="Errors.ProblemException">It is malformed.</exception>
    public static async ValueTask<Incoming<T>> OpenAsync(HttpContext context, bool isOptional)
    {
        var limits = context.RequestServices.GetRequiredService<IOptions<LimitOptions>>().Value;
        var bytes = new RequestBytes(context.Request, MemoryNeed.MostOf(Contract, limits));
        bytes.RequireAllowedLength();
        var reading = Spans.Begin(Spans.Read);
        // At the latest: what is answered while it arrives is read as long as the request lasts.
        if (reading is not null) context.Response.RegisterForDispose(new Span(reading));
        var message = Negotiation.Of(context).Request switch
        {
            MediaTypes.Safetensors => await SafetensorsReader.OpenAsync(bytes, Options(context.Request), Contract, StateOf(context.Request)),
            MediaTypes.Npy => await NpyReader.OpenAsync(bytes, Options(context.Request), Contract),
            _ => null,
        };
        if (message is null) return new Incoming<T>(context, null, await ReadTextAsync(bytes, context), isOptional, reading);
        if (message.Begun is { } begun) Own(context, begun);
        foreach (var part in message.Parts)
        {
            if (part is IncomingTensor tensor) TensorLimits.Require(limits, tensor.Path, tensor.Shape);
            else if (part is IncomingValues values) values.Require(JsonTerms.Of(Contract, Precision.Float64, limits));
        }
        if (message.Parts.Count == 0) TensorLimits.RequireAll(limits, message.Begun!, Contract, "");
        return new Incoming<T>(context, message, null, isOptional, reading);
    }

    /// <summary>The body, once all of it is there.</summary>
    /// <param name="arrivals">Told of its tensors as they arrive, or null.</param>
    /// <param name="precision">Type of its tensors' elements.</param>
    /// <param name="outputs">How many tensors as large as its largest are made of it; null for what the call mostly makes.</param>
    /// <param name="keepsText">Whether JSON is kept until it is known whether it has to be read again.</param>
    public async ValueTask<T> ReadAsync(IArrivals? arrivals, Precision precision, int? outputs = null, bool keepsText = false)
    {
        var memory = RequestMemory.Of(context);
        T value;
        if (message is null) value = await ReadTextAsync(precision, memory, keepsText);
        else
        {
            if (message.Parts.Count > 0 && memory is not null) await memory.ReserveAsync(MemoryNeed.OfParts<T>(message.Parts, outputs, precision));
            using (await LargeBodies.EnterAsync(context, message.Parts)) value = await message.ReadAsync(arrivals, precision);
            if (!ReferenceEquals(value, message.Begun)) Own(context, value);
        }
        Spans.End(reading);
        return value;
    }

    /// <summary>Whether a field may have a value: known before the body has been read, and of text only that the value stands in it.</summary>
    public bool Says(string field, ReadOnlySpan<byte> value) => (text is null ? message!.Find(field) : text.Bytes).IndexOf(value) >= 0;

    /// <summary>Watches the digits of x; null where float32 has all of them.</summary>
    /// <param name="options">The layer's options.</param>
    /// <param name="usesBatch">Whether the batch's own statistics normalize it.</param>
    /// <param name="x">The batch of a message.</param>
    public SentDigits? Digits(NormalizerOptions options, bool usesBatch, Func<T, Tensor?> x) =>
        options.Precision == Precision.Float32 && MayBeRounded ? Digits(SentDigits.LayoutOf(options, usesBatch), x) : null;

    /// <summary>Watches the digits of x.</summary>
    /// <param name="layout">How a batch of a shape is laid out.</param>
    /// <param name="x">The batch of a message.</param>
    public SentDigits Digits(Func<Shape, Layout> layout, Func<T, Tensor?> x) =>
        text is null ? new(layout) : new(layout) { Again = look => Reread(x, look), Forget = Release };

    /// <summary>Whether x may have digits that float32 has not.</summary>
    public bool MayBeRounded
    {
        get
        {
            for (var i = 0; i < message?.Parts.Count; i++)
            {
                if (message.Parts[i] is IncomingTensor { Path: SentDigits.Input } x && x.Type.IsWiderThanSingle()) return true;
            }
            return text is not null;
        }
    }

    // With all digits that a double holds.
    private void Reread(Func<T, Tensor?> x, Action<Tensor> look)
    {
        if (_isReleased) return;
        var again = JsonMessageReader.Read(text!.Bytes, Contract, Precision.Float64);
        using var owned = again as IDisposable;
        if (x(again) is { } sent) look(sent);
    }

    private void Release()
    {
        _isReleased = true;
        text?.Dispose();
    }

    private async ValueTask<T> ReadTextAsync(Precision precision, RequestMemory? memory, bool keepsText)
    {
        var length = text!.Length;
        if (memory is not null && precision == Precision.Float64) await memory.ReserveAsync(MemoryNeed.OfText<T>(length, precision) - length);
        using var turn = await context.RequestServices.GetRequiredService<ComputeGate>().EnterTextAsync(length, context.RequestAborted);
        var limits = context.RequestServices.GetRequiredService<IOptions<LimitOptions>>().Value;
        T value;
        try
        {
            Negotiation.RequireJson(context, text.Bytes);
            using var rewritten = StateOf(context.Request)?.Rewritten(text.Bytes);
            value = length == 0 && isOptional
                ? Contract.CreateObject!()
                : JsonMessageReader.Read(rewritten is null ? text.Bytes : rewritten.Bytes, Contract, precision, limits);
        }
        catch
        {
            text.Dispose();
            throw;
        }
        if (!keepsText) Release();
        Own(context, value);
        TensorLimits.RequireAll(limits, value, Contract, "");
        memory?.SettleFor(rented => MemoryNeed.OfOutputs<T>(rented - (keepsText ? length : 0)));
        return value;
    }

    private static void Own(HttpContext context, T value)
    {
        if (value is IDisposable disposable) context.Response.RegisterForDispose(disposable);
    }

    private static async ValueTask<BodyBuffer> ReadTextAsync(RequestBytes bytes, HttpContext context)
    {
        // A body that does not say how long it is takes what there is when it comes.
        if (RequestMemory.Of(context) is { } memory && bytes.Length is { } length)
            await memory.ReserveAsync(MemoryNeed.OfText<T>(length, Precision.Float32));
        var text = await bytes.ReadBufferAsync(null, "it");
        context.Response.RegisterForDispose(text);
        return text;
    }

    // A state comes under the names of many libraries.
    private static StateSource? StateOf(HttpRequest request) => typeof(T) == typeof(PutStateRequest) ? StateSource.Of(request) : null;

    // Options of a binary body may come in the query: an array has no place for them.
    private static FieldDocument Options(HttpRequest request)
    {
        var fields = new FieldDocument(Contract);
        var own = request.HttpContext.GetEndpoint()?.Metadata.GetMetadata<CallQuery>()?.Names ?? [];
        foreach (var (name, values) in request.Query)
        {
            if (own.Contains(name)) continue;
            foreach (var value in values) fields.Add(name, value ?? "");
        }
        return fields;
    }
}

/// <summary>Marks a body that may be absent.</summary>
[AttributeUsage(AttributeTargets.Parameter)]
internal sealed class OptionalBodyAttribute : Attribute;
