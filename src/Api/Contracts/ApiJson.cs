using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using BnService.Api.Hosting.Auth;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Tensors;

namespace BnService.Api.Contracts;

/// <summary>How the contract is written in JSON: snake_case, enumerations by name, NaN and infinities as strings, no field twice.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    AllowDuplicateProperties = false,
    UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow,
    RespectNullableAnnotations = true,
    Converters = [typeof(SnakeCaseEnum<NormalizerKind>), typeof(SnakeCaseEnum<Granularity>), typeof(SnakeCaseEnum<NormalizationMode>),
        typeof(SnakeCaseEnum<Activation>), typeof(SnakeCaseEnum<NonFinitePolicy>), typeof(SnakeCaseEnum<Precision>),
        typeof(SnakeCaseEnum<BackwardMode>),
        typeof(SnakeCaseEnum<Framework>), typeof(SnakeCaseEnum<FoldableLayer>), typeof(SnakeCaseEnum<FoldPosition>),
            typeof(SnakeCaseEnum<FoldLayout>),
        typeof(SnakeCaseEnum<Role>), typeof(SnakeCaseEnum<Health>), typeof(OptimizerName), typeof(MaskConverter)])]
[JsonSerializable(typeof(CreateSessionRequest))]
[JsonSerializable(typeof(PatchSessionRequest))]
[JsonSerializable(typeof(ResetRequest))]
[JsonSerializable(typeof(SessionResource))]
[JsonSerializable(typeof(SessionList))]
[JsonSerializable(typeof(TrainStepRequest))]
[JsonSerializable(typeof(TrainStepResponse))]
[JsonSerializable(typeof(InferenceRequest))]
[JsonSerializable(typeof(InferenceResponse))]
[JsonSerializable(typeof(BackwardRequest))]
[JsonSerializable(typeof(BackwardResponse))]
[JsonSerializable(typeof(UpdateParametersRequest))]
[JsonSerializable(typeof(NormalizeRequest))]
[JsonSerializable(typeof(NormalizeResponse))]
[JsonSerializable(typeof(StatsResponse))]
[JsonSerializable(typeof(PutParametersRequest))]
[JsonSerializable(typeof(ParametersResponse))]
[JsonSerializable(typeof(PutRunningStatsRequest))]
[JsonSerializable(typeof(RunningStatsResponse))]
[JsonSerializable(typeof(CalibrationBatchRequest))]
[JsonSerializable(typeof(MergeRequest))]
[JsonSerializable(typeof(PopulationResponse))]
[JsonSerializable(typeof(DiagnosticsResponse))]
[JsonSerializable(typeof(HistoryResponse))]
[JsonSerializable(typeof(StateEvent))]
[JsonSerializable(typeof(ActivityEvent))]
[JsonSerializable(typeof(FoldRequest))]
[JsonSerializable(typeof(FoldResponse))]
[JsonSerializable(typeof(PutStateRequest))]
[JsonSerializable(typeof(StateResponse))]
[JsonSerializable(typeof(CreateSnapshotRequest))]
[JsonSerializable(typeof(SnapshotResource))]
[JsonSerializable(typeof(SnapshotDetails))]
[JsonSerializable(typeof(SnapshotList))]
[JsonSerializable(typeof(CreateKeyRequest))]
[JsonSerializable(typeof(CreatedKey))]
[JsonSerializable(typeof(KeyList))]
[JsonSerializable(typeof(HealthResponse))]
[JsonSerializable(typeof(Problem))]
[JsonSerializable(typeof(OpenInferenceError))]
[JsonSerializable(typeof(ServerLive))]
[JsonSerializable(typeof(ServerReady))]
[JsonSerializable(typeof(ServerMetadata))]
[JsonSerializable(typeof(ModelMetadata))]
[JsonSerializable(typeof(ModelReady))]
[JsonSerializable(typeof(ModelConfig))]
[JsonSerializable(typeof(ModelStatisticsList))]
[JsonSerializable(typeof(IAsyncEnumerable<RepositoryEntry>))]
internal sealed partial class ApiJson : JsonSerializerContext;

/// <summary>The contract as it is read and written.</summary>
internal static class ContractJson
{
    /// <summary>Nothing of the contract is ever part of a page, so that only what JSON asks for is escaped.</summary>
    public static ApiJson Context { get; } =
        new(new JsonSerializerOptions(ApiJson.Default.Options) { Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping });
}

/// <summary>An enumeration by its members' names in snake_case; numbers are refused.</summary>
internal sealed class SnakeCaseEnum<T>() : JsonStringEnumConverter<T>(JsonNamingPolicy.SnakeCaseLower, allowIntegerValues: false)
    where T : struct, Enum;

/// <summary>Optimizers by the names that torch.optim's users know: sgd, adam, adamw.</summary>
internal sealed class OptimizerName() : JsonStringEnumConverter<Optimizer>(LowerCase.Policy, allowIntegerValues: false)
{
    private sealed class LowerCase : JsonNamingPolicy
    {
        public static readonly LowerCase Policy = new();

        public override string ConvertName(string name) => name.ToLowerInvariant();
    }
}

/// <summary>
/// Stands where a tensor does, so that the contract's types describe it. Tensors themselves never pass through the serializer: the
/// wire reads and writes their elements between bytes and pooled memory.
/// </summary>
internal abstract class TensorPlaceholder<T> : JsonConverter<T>
    where T : TensorSource
{
    public override T Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        throw new NotSupportedException("tensors are read by the wire");

    public override void Write(Utf8JsonWriter writer, T value, JsonSerializerOptions options) =>
        throw new NotSupportedException("tensors are written by the wire");
}

/// <summary>A tensor in memory, as requests have them.</summary>
internal sealed class TensorPlaceholder : TensorPlaceholder<Tensor>;

/// <summary>A tensor that may be computed while it is written, as answers have them.</summary>
internal sealed class TensorSourcePlaceholder : TensorPlaceholder<TensorSource>;

/// <summary>
/// The name under which a field of an answer is a tensor of a safetensors file, in the widest type that its numbers need and PyTorch would
/// write; the other name under which a field of a request is one.
/// </summary>
/// <param name="name">The name.</param>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class TensorNameAttribute(string name) : Attribute
{
    /// <summary>The name.</summary>
    public string Name => name;
}

/// <summary>Marks an array that has the shape of a parameter where the form of the answer has shapes.</summary>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class ParameterShapeAttribute : Attribute;

/// <summary>An answer with arrays that are parameters, or as long as they are.</summary>
internal interface IShapesParameters
{
    /// <summary>Dimensions of gamma and beta where they have several; null for one, and where only their number is known.</summary>
    IReadOnlyList<int>? ParameterShape { get; }
}

/// <summary>The header in which a field travels where the body is a single array.</summary>
/// <param name="name">The header's name.</param>
[AttributeUsage(AttributeTargets.Property)]
internal sealed class HeaderFieldAttribute(string name) : Attribute
{
    /// <summary>The header's name.</summary>
    public string Name => name;
}

/// <summary>An error answer (RFC 9457, application/problem+json). An answer that is not 2xx has changed nothing.</summary>
public sealed class Problem
{
    /// <summary>Path of a page that says what the problem means and what to do.</summary>
    public required string Type { get; init; }

    /// <summary>The problem in a few words.</summary>
    public required string Title { get; init; }

    /// <summary>The HTTP status.</summary>
    public required int Status { get; init; }

    /// <summary>This occurrence: the field, what was sent and what is allowed.</summary>
    public required string Detail { get; init; }

    /// <summary>The problem's stable name.</summary>
    public required string Code { get; init; }

    /// <summary>Under which the service's log has the request.</summary>
    public required string TraceId { get; init; }
}
