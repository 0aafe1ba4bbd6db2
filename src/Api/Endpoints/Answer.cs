using System.Text.Json.Serialization.Metadata;
using BnService.Api.Contracts;
using BnService.Api.Hosting.Memory;
using BnService.Api.Hosting.Telemetry;
using BnService.Api.Wire;
using BnService.Api.Wire.Json;
using BnService.Api.Wire.Npy;
using BnService.Api.Wire.Safetensors;
using BnService.Core.Layers;
using BnService.Core.Statistics;

namespace BnService.Api.Endpoints;

/// <summary>An answer in the form that the request asks for, with the state's version as its ETag where it carries state.</summary>
/// <param name="value">What to write; disposed when it has been written.</param>
internal sealed class Answer<T>(T value, long? version = null) : IResult
    where T : class
{
    private static readonly JsonTypeInfo<T> Contract = (JsonTypeInfo<T>)ContractJson.Context.GetTypeInfo(typeof(T))!;

    public int Status { get; init; } = StatusCodes.Status200OK;

    public string? Location { get; init; }

    /// <summary>Whether the request was answered before, and has changed nothing now.</summary>
    public bool IsReplayed { get; init; }

    /// <summary>What rounding x to float32 has spoilt, which a header says in every form; null for nothing.</summary>
    public Finding? Rounding { get; init; }

    /// <summary>
    /// The state that it is written from, whose arrays are counted until it has been; null where that is counted already, or little.
    /// </summary>
    public LayerState? Holds { get; init; }

    /// <summary>About how many bytes it takes itself, where that may be many.</summary>
    public long HeldBytes { get; init; }

    /// <summary>What computes the tensor while the request arrives; null if the value has it.</summary>
    public StreamedOutput? Arriving { get; init; }

    public async Task ExecuteAsync(HttpContext httpContext)
    {
        using var owned = value as IDisposable;
        if (Holds is not null) await RequestMemory.HoldAsync(httpContext, Holds);
        if (HeldBytes > 0 && RequestMemory.Of(httpContext) is { } memory) await memory.ReserveAsync(HeldBytes);
        var (response, form) = (httpContext.Response, Negotiation.Of(httpContext).Answer);
        SetHeaders(response, form);
        if (Arriving is not null)
        {
            var head = form == MediaTypes.Npy ? NpyWriter.Begin(response, value, Contract)
                : SafetensorsWriter.Begin(response, value, Contract);
            await Arriving.SendAsync(httpContext, head, ElementType.F32, null);
            return;
        }
        using var span = Spans.Of(Spans.Write);
        await (form switch
        {
            MediaTypes.Safetensors => SafetensorsWriter.WriteAsync(response, value, Contract, httpContext.RequestAborted),
            MediaTypes.Npy => NpyWriter.WriteAsync(response, value, Contract, httpContext.RequestAborted),
            _ => JsonMessageWriter.WriteAsync(response, value, Contract),
        });
    }

    private void SetHeaders(HttpResponse response, string form)
    {
        response.StatusCode = Status;
        response.ContentType = form;
        if (version is { } tag) response.Headers.ETag = Precondition.Tag(tag);
        if (Location is not null) response.Headers.Location = Location;
        if (IsReplayed) response.Headers[IdempotencyKey.ReplayedHeader] = "true";
        if (Rounding is not null) response.Headers[DiagnosticsEndpoints.WarningsHeader] = Rounding.Code;
    }
}
