using System.Text.Json;
using System.Text.Json.Nodes;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;
using BnService.Client.Sending;

namespace BnService.Client;

/// <summary>The service's JSON: snake_case, enumerations by name, NaN and infinities as strings; what is null is not sent.</summary>
[JsonSourceGenerationOptions(
    PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower,
    NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals,
    DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull,
    Converters = [typeof(SnakeCaseEnum<LayerKind>), typeof(SnakeCaseEnum<Granularity>), typeof(SnakeCaseEnum<NormalizationMode>), typeof(SnakeCaseEnum<Activation>),
        typeof(SnakeCaseEnum<NonFinitePolicy>), typeof(SnakeCaseEnum<Precision>), typeof(SnakeCaseEnum<Convention>), typeof(SnakeCaseEnum<FoldableLayer>), typeof(SnakeCaseEnum<FoldPosition>),
        typeof(SnakeCaseEnum<FoldLayout>)])]
[JsonSerializable(typeof(BatchNormOptions))]
[JsonSerializable(typeof(BatchRenormOptions))]
[JsonSerializable(typeof(InstanceNormOptions))]
[JsonSerializable(typeof(GroupNormOptions))]
[JsonSerializable(typeof(LayerNormOptions))]
[JsonSerializable(typeof(RmsNormOptions))]
[JsonSerializable(typeof(SessionChanges))]
[JsonSerializable(typeof(ParameterUpdate))]
[JsonSerializable(typeof(GradientUpdate))]
[JsonSerializable(typeof(MergeRequest))]
[JsonSerializable(typeof(NewParameters))]
[JsonSerializable(typeof(NewRunningStatistics))]
[JsonSerializable(typeof(NewSnapshot))]
[JsonSerializable(typeof(ResetRequest))]
[JsonSerializable(typeof(SessionInfo))]
[JsonSerializable(typeof(SessionPage))]
[JsonSerializable(typeof(SessionStats))]
[JsonSerializable(typeof(SessionDiagnostics))]
[JsonSerializable(typeof(HistoryList))]
[JsonSerializable(typeof(RunningStatistics))]
[JsonSerializable(typeof(Parameters))]
[JsonSerializable(typeof(PopulationStatistics))]
[JsonSerializable(typeof(Snapshot))]
[JsonSerializable(typeof(SnapshotDetails))]
[JsonSerializable(typeof(SnapshotList))]
[JsonSerializable(typeof(LayerState))]
[JsonSerializable(typeof(Finding[]))]
[JsonSerializable(typeof(int[]))]
[JsonSerializable(typeof(JsonObject))]
[JsonSerializable(typeof(Problem))]
internal sealed partial class ClientJson : JsonSerializerContext
{
    /// <summary>An object's fields as they are sent.</summary>
    public static JsonObject Fields<T>(T value, JsonTypeInfo<T> contract) => JsonSerializer.SerializeToNode(value, contract)!.AsObject();

    /// <summary>The name of an enumeration's member as it is sent.</summary>
    public static string Name<T>(T member)
        where T : struct, Enum => JsonNamingPolicy.SnakeCaseLower.ConvertName(member.ToString());
}

/// <summary>An enumeration by its members' names in snake_case.</summary>
internal sealed class SnakeCaseEnum<T>() : JsonStringEnumConverter<T>(JsonNamingPolicy.SnakeCaseLower, allowIntegerValues: false)
    where T : struct, Enum;

/// <summary>Statistics to merge.</summary>
internal sealed record MergeRequest(IReadOnlyList<Moments>? Moments, IReadOnlyList<string>? Sessions);

/// <summary>Gradients to apply.</summary>
internal sealed record GradientUpdate(IReadOnlyList<double>? Dgamma, IReadOnlyList<double>? Dbeta, ParameterUpdate Update);

/// <summary>Parameters to set.</summary>
internal sealed record NewParameters(IReadOnlyList<double>? Gamma, IReadOnlyList<double>? Beta);

/// <summary>Running statistics to set.</summary>
internal sealed record NewRunningStatistics(IReadOnlyList<double>? RunningMean, IReadOnlyList<double>? RunningVar, long? NumBatchesTracked);

/// <summary>A snapshot to take.</summary>
internal sealed record NewSnapshot(string? Description);

/// <summary>What a reset takes back.</summary>
internal sealed record ResetRequest(bool Parameters);
