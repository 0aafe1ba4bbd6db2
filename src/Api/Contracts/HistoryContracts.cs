using System.Text.Json.Serialization;

namespace BnService.Api.Contracts;

/// <summary>The last train-steps, newest first.</summary>
public sealed class HistoryResponse
{
    /// <summary>A line per train-step that this node has answered, at most the last 1024, and per step of any node that was stored before that.</summary>
    public required IReadOnlyList<HistoryLine> Steps { get; init; }

    /// <summary>A line per inference batch that this node has looked at, newest first, at most the last 256, and per one that any node has stored before that.</summary>
    public required IReadOnlyList<InferenceHistoryLine> Inferences { get; init; }

    /// <summary>Version of the state.</summary>
    public required long Version { get; init; }
}

/// <summary>One train-step.</summary>
public sealed class HistoryLine
{
    /// <summary>Version of the state after the step.</summary>
    public required long Version { get; init; }

    /// <summary>Number of batches that had moved the running statistics after the step.</summary>
    public required long NumBatchesTracked { get; init; }

    /// <summary>When the step was answered.</summary>
    public required DateTimeOffset At { get; init; }

    /// <summary>Number of values per statistic.</summary>
    public required long Count { get; init; }

    /// <summary>Drift of the batch against the running statistics after the step; null where none are tracked, or the batch's moments were not taken (mode frozen).</summary>
    public required DriftReport? Drift { get; init; }

    /// <summary>Codes of the warnings that the step was answered with.</summary>
    public required IReadOnlyList<string> Warnings { get; init; }

    /// <summary>Where the batch lies against the running statistics after the step, over all channels; null where drift is, and where no channel's shift is finite.</summary>
    public required BatchShiftReport? Shift { get; init; }

    /// <summary>Milliseconds from the batch's arrival until the step was stored; null where it waited for other ranks.</summary>
    public required double? Milliseconds { get; init; }

    /// <summary>What the step was in the channel that was asked for; absent where none was asked for, or where it is no longer kept, as after a restart.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ChannelStepReport? Channel { get; init; }
}

/// <summary>Where a batch lies against the running statistics, over all channels.</summary>
public sealed class BatchShiftReport
{
    /// <summary>Root mean square of (batch mean - running mean) / running standard deviation.</summary>
    public required double Rms { get; init; }

    /// <summary>The largest of these, without its sign.</summary>
    public required LargestReport Largest { get; init; }

    /// <summary>Mean of batch variance / running variance.</summary>
    public required double VarRatio { get; init; }
}

/// <summary>What a train-step was in one channel, to the precision of float32.</summary>
public sealed class ChannelStepReport
{
    /// <summary>Mean of the batch.</summary>
    public required double BatchMean { get; init; }

    /// <summary>Biased variance of the batch.</summary>
    public required double BatchVar { get; init; }

    /// <summary>Running mean after the step.</summary>
    public required double RunningMean { get; init; }

    /// <summary>Running variance after the step.</summary>
    public required double RunningVar { get; init; }
}

/// <summary>One inference batch that was looked at.</summary>
public sealed class InferenceHistoryLine
{
    /// <summary>When it was inferred.</summary>
    public required DateTimeOffset At { get; init; }

    /// <summary>Number of values per statistic.</summary>
    public required long Count { get; init; }

    /// <summary>Drift of the batch against the running statistics of then; null where none are tracked.</summary>
    public required DriftReport? Drift { get; init; }
}

/// <summary>A session's state has changed otherwise than by a train-step of this node.</summary>
public sealed class StateEvent
{
    /// <summary>Version of the state.</summary>
    public required long Version { get; init; }

    /// <summary>Number of batches that moved the running statistics.</summary>
    public required long NumBatchesTracked { get; init; }
}

/// <summary>Sessions that have moved.</summary>
public sealed class ActivityEvent
{
    /// <summary>Ids of the sessions that have been created, changed or deleted, or that a batch has passed through.</summary>
    public required IReadOnlyList<string> Sessions { get; init; }
}
