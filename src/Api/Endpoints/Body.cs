using System.Diagnostics;
using System.Reflection;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Memory;
using BnService.Api.Hosting.OpenApi;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Wire;
using BnService.Api.Wire.Json;
using BnService.Api.Wire.Npy;
using BnService.Api.Wire.Safetensors;
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
        return new Body<T>(await incoming.ReadAsync(null));
    }
}

/// <summary>A request's body of which the tensors may still be on their way. What it rents is given back when the answer has been sent.</summary>
/// <param name="context">The request.</param>
/// <param name="message">The body.</param>
/// <param name="reading">The part of the request in which it is read; null where nobody looks.</param>
internal sealed class Incoming<T>(HttpContext context, IncomingMessage<T> message, Activity? reading)
    where T : class
{
    private static readonly JsonTypeInfo<T> Contract = (JsonTypeInfo<T>)ContractJson.Context.GetTypeInfo(typeof(T))!;

    /// <summary>The body, of which not all has been read.</summary>
    public IncomingMessage<T> Message => message;

    /// <summary>Binds a handler's parameter.</summary>
    public static async ValueTask<Incoming<T>?> BindAsync(HttpContext context) => await OpenAsync(context, false);

    /// <summary>Reads as much of a body as says what it will be.</summary>
    /// <param name="context">The request.</param>
    /// <param name="isOptional">Whether the body may be absent.</param>
    /// <exception cref="Hosting.Problems.ProblemException">It is malformed.</exception>
    public static async ValueTask<Incoming<T>> OpenAsync(HttpContext context, bool isOptional)
    {
        var limits = context.RequestServices.GetRequiredService<IOptions<LimitOptions>>().Value;
        var bytes = new RequestBytes(context.Request, limits.MaxBodyBytes);
        bytes.RequireAllowedLength();
        var reading = Spans.Begin(Spans.Read);
        // At the latest: what is answered while it arrives is read as long as the request lasts.
        if (reading is not null) context.Response.RegisterForDispose(new Span(reading));
        var message = Negotiation.Of(context).Request switch
        {
            MediaTypes.Safetensors => await SafetensorsReader.OpenAsync(bytes, Options(context.Request), Contract),
            MediaTypes.Npy => await NpyReader.OpenAsync(bytes, Options(context.Request), Contract),
            _ => new IncomingMessage<T>(await ReadJsonAsync(context, bytes, isOptional)),
        };
        if (message.Begun is { } begun) Own(context, begun);
        foreach (var part in message.Parts)
        {
            if (part is IncomingTensor tensor) TensorLimits.Require(limits, tensor.Path, tensor.Shape);
        }
        if (message.Parts.Count == 0) TensorLimits.RequireAll(limits, message.Begun!, Contract, "");
        return new Incoming<T>(context, message, reading);
    }

    /// <summary>The body, once all of it is there.</summary>
    /// <param name="arrivals">Told of its tensors as they arrive, or null.</param>
    /// <param name="outputs">How many tensors as large as its largest are made of it; null for what the call mostly makes.</param>
    public async ValueTask<T> ReadAsync(IArrivals? arrivals, int? outputs = null)
    {
        if (message.Parts.Count > 0 && RequestMemory.Of(context) is { } memory)
            await memory.ReserveAsync(MemoryNeed.OfParts<T>(message.Parts, outputs));
        var value = await message.ReadAsync(arrivals);
        Spans.End(reading);
        if (!ReferenceEquals(value, message.Begun)) Own(context, value);
        return value;
    }

    private static void Own(HttpContext context, T value)
    {
        if (value is IDisposable disposable) context.Response.RegisterForDispose(disposable);
    }

    private static async ValueTask<T> ReadJsonAsync(HttpContext context, RequestBytes bytes, bool isOptional)
    {
        var memory = RequestMemory.Of(context);
        // A body that does not say how long it is takes what there is when it comes.
        if (memory is not null && bytes.Length is { } length) await memory.ReserveAsync(MemoryNeed.OfText<T>(length));
        T value;
        using (var body = await bytes.ReadBufferAsync(null, "it"))
        {
            Negotiation.RequireJson(context, body.Bytes);
            value = body.Length == 0 && isOptional ? Contract.CreateObject!() : JsonMessageReader.Read(body.Bytes, Contract);
        }
        memory?.SettleFor(MemoryNeed.OfOutputs<T>);
        return value;
    }

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
