namespace BnService.Api.Contracts;

// The Open Inference Protocol's own words (kserve/open-inference-protocol, inference_rest.md, and the extensions in Triton's
// docs/protocol): strict clients refuse a member more. Their documentation is the protocol's.

/// <summary>Every error under <c>/v2</c>: what is wrong, and what is allowed.</summary>
internal sealed record OpenInferenceError(string Error);

/// <summary>Whether the service answers at all.</summary>
internal sealed record ServerLive(bool Live = true);

/// <summary>Whether the service takes requests; one that does not answers 503.</summary>
internal sealed record ServerReady(bool Ready = true);

/// <summary>What the service is, and which extensions of the protocol it has.</summary>
internal sealed record ServerMetadata(string Name, string Version, string[] Extensions);

/// <summary>What a model is, and the versions of it that can be asked for by number.</summary>
internal sealed record ModelMetadata(string Name, string[] Versions, string Platform, ModelTensor[] Inputs, ModelTensor[] Outputs);

/// <summary>An input or output of a model; a dimension that varies is −1.</summary>
internal sealed record ModelTensor(string Name, string Datatype, int[] Shape);

/// <summary>Whether a model can be used; one that is not there is 404.</summary>
internal sealed record ModelReady(string Name, bool Ready = true);

/// <summary>
/// A model's configuration, as far as Triton's model_config.proto has a word for it. Its dimensions include that of the batch.
/// </summary>
internal sealed record ModelConfig(string Name, string Platform, int MaxBatchSize, ModelConfigTensor[] Input, ModelConfigTensor[] Output);

/// <summary>An input or output in a model's configuration; a dimension that varies is −1.</summary>
internal sealed record ModelConfigTensor(string Name, string DataType, int[] Dims);

/// <summary>A model in the repository: its version is empty for the live state; if it cannot be used, the reason says why.</summary>
internal sealed record RepositoryEntry(string Name, string Version, string State, string Reason);

/// <summary>Statistics of models (Triton's extension_statistics.md) since the service has started, written as they come.</summary>
internal sealed record ModelStatisticsList(IAsyncEnumerable<ModelStatistics> ModelStats);

/// <summary>Statistics of one model's infer requests.</summary>
/// <param name="Name">Name of the model.</param>
/// <param name="Version">Its version; empty for the live state.</param>
/// <param name="LastInference">When the last inference ended, in milliseconds since the epoch; 0 if there was none.</param>
/// <param name="InferenceCount">Samples: the sum of the batches' sizes.</param>
/// <param name="ExecutionCount">Batches.</param>
/// <param name="InferenceStats">Where the time went.</param>
internal sealed record ModelStatistics(
    string Name, string Version, long LastInference, long InferenceCount, long ExecutionCount, InferenceStatistics InferenceStats)
{
    // Answers in parts, sizes of batches and memory of devices are not what this service has.
    public NoStatistics ResponseStats { get; } = new();

    public DurationStatistic[] BatchStats { get; } = [];

    public NoStatistics[] MemoryUsage { get; } = [];
}

/// <summary>An object without members.</summary>
internal sealed record NoStatistics;

/// <summary>Where the time of a model's infer requests went.</summary>
/// <param name="Success">Requests that were answered with 200, from their arrival to the answer.</param>
/// <param name="Fail">Requests that were refused or given up.</param>
/// <param name="Queue">Every request, waiting for its body.</param>
/// <param name="ComputeInput">Bytes to tensors.</param>
/// <param name="ComputeInfer">Normalizing.</param>
/// <param name="ComputeOutput">Tensors to bytes.</param>
/// <param name="CacheHit">Answers from a cache, which there is none.</param>
/// <param name="CacheMiss">Requests that a cache could not answer.</param>
internal sealed record InferenceStatistics(
    DurationStatistic Success,
    DurationStatistic Fail,
    DurationStatistic Queue,
    DurationStatistic ComputeInput,
    DurationStatistic ComputeInfer,
    DurationStatistic ComputeOutput,
    DurationStatistic CacheHit = default,
    DurationStatistic CacheMiss = default);

/// <summary>How often something happened, and how many nanoseconds it took altogether.</summary>
internal readonly record struct DurationStatistic(long Count, long Ns);
