using System.Reflection;
using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Hosting;
using BnService.Api.Hosting.Problems;
using BnService.Api.Wire;
using BnService.Api.Wire.Json;
using Microsoft.Extensions.Options;

namespace BnService.Api.Endpoints;

/// <summary>A request's body, read into a contract type. What it rented is given back when the answer has been sent.</summary>
/// <param name="Value">What was read; for an absent body the type's defaults.</param>
internal sealed record Body<T>(T Value)
    where T : class
{
    private static readonly JsonTypeInfo<T> Contract = (JsonTypeInfo<T>)ContractJson.Context.GetTypeInfo(typeof(T))!;

    /// <summary>Binds a handler's parameter.</summary>
    public static async ValueTask<Body<T>?> BindAsync(HttpContext context, ParameterInfo parameter)
    {
        var limits = context.RequestServices.GetRequiredService<IOptions<LimitOptions>>().Value;
        using var bytes = await BodyBuffer.ReadAsync(context.Request, limits.MaxBodyBytes);
        RequestMetering.Of(context).BodyBytes = bytes.Length;
        if (bytes.Length > 0 && string.IsNullOrEmpty(context.Request.ContentType)) throw Untyped();
        var isAbsent = bytes.Length == 0 && parameter.GetCustomAttribute<OptionalBodyAttribute>() is not null;
        var value = isAbsent ? Contract.CreateObject!() : JsonMessageReader.Read(bytes.Bytes, Contract);
        if (value is IDisposable disposable) context.Response.RegisterForDispose(disposable);
        return new Body<T>(value);
    }

    // Routing refuses a wrong media type but lets a missing one pass.
    private static ProblemException Untyped() => new(ProblemCode.UnsupportedMediaType,
        $"Content-Type must be one of {string.Join(", ", MediaTypes.Readable)}, got none");
}

/// <summary>Marks a body that may be absent.</summary>
[AttributeUsage(AttributeTargets.Parameter)]
internal sealed class OptionalBodyAttribute : Attribute;
