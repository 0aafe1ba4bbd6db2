namespace BnService.Api.Contracts;

// The Open Inference Protocol's own words (kserve/open-inference-protocol, inference_rest.md, and the extensions in Triton's
// docs/protocol): strict clients refuse a member more.

/// <summary>Every error under <c>/v2</c>.</summary>
public sealed record OpenInferenceError
{
    /// <summary>What is wrong, and what is allowed.</summary>
    public required string Error { get; init; }
}

/// <summary>Whether the service answers at all.</summary>
public sealed record ServerLive
{
    /// <summary>Always true.</summary>
    public bool Live { get; init; } = true;
}

/// <summary>Whether the service takes requests.</summary>
public sealed record ServerReady
{
    /// <summary>Always true; a service that is not ready answers 503.</summary>
    public bool Ready { get; init; } = true;
}

/// <summary>What the service is.</summary>
public sealed record ServerMetadata
{
    /// <summary>Name of the service.</summary>
    public required string Name { get; init; }

    /// <summary>Version of the service.</summary>
    public required string Version { get; init; }

    /// <summary>Extensions of the protocol that it speaks.</summary>
    public required string[] Extensions { get; init; }
}

/// <summary>What a model is.</summary>
public sealed record ModelMetadata
{
    /// <summary>Name of the model: of the session.</summary>
    public required string Name { get; init; }

    /// <summary>Versions that can be asked for by number.</summary>
    public required string[] Versions { get; init; }

    /// <summary>What computes it.</summary>
    public required string Platform { get; init; }

    /// <summary>Its inputs.</summary>
    public required ModelTensor[] Inputs { get; init; }

    /// <summary>Its outputs.</summary>
    public required ModelTensor[] Outputs { get; init; }
}

/// <summary>An input or output of a model.</summary>
public sealed record ModelTensor
{
    /// <summary>Its name.</summary>
    public required string Name { get; init; }

    /// <summary>Type of its elements.</summary>
    public required string Datatype { get; init; }

    /// <summary>Its dimensions; −1 for one that varies.</summary>
    public required int[] Shape { get; init; }
}

/// <summary>Whether a model can be used.</summary>
public sealed record ModelReady
{
    /// <summary>Name of the model.</summary>
    public required string Name { get; init; }

    /// <summary>Always true; a model that is not there answers 404.</summary>
    public bool Ready { get; init; } = true;
}

/// <summary>A model's configuration, as far as Triton's model_config.proto has a word for it.</summary>
public sealed record ModelConfig
{
    /// <summary>Name of the model.</summary>
    public required string Name { get; init; }

    /// <summary>What computes it.</summary>
    public required string Platform { get; init; }

    /// <summary>0: the dimensions include that of the batch.</summary>
    public int MaxBatchSize { get; init; }

    /// <summary>Its inputs.</summary>
    public required ModelConfigTensor[] Input { get; init; }

    /// <summary>Its outputs.</summary>
    public required ModelConfigTensor[] Output { get; init; }
}

/// <summary>An input or output in a model's configuration.</summary>
public sealed record ModelConfigTensor
{
    /// <summary>Its name.</summary>
    public required string Name { get; init; }

    /// <summary>Type of its elements.</summary>
    public required string DataType { get; init; }

    /// <summary>Its dimensions; −1 for one that varies.</summary>
    public required int[] Dims { get; init; }
}

/// <summary>A model in the repository.</summary>
public sealed record RepositoryEntry
{
    /// <summary>Name of the model.</summary>
    public required string Name { get; init; }

    /// <summary>Its version; empty for the live state.</summary>
    public required string Version { get; init; }

    /// <summary>Whether it can be used.</summary>
    public required string State { get; init; }

    /// <summary>Why it cannot.</summary>
    public required string Reason { get; init; }
}
