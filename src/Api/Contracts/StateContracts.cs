using System.ComponentModel.DataAnnotations;
using System.Text.Json.Serialization;
using BnService.Core.Layers;
using BnService.Core.Normalizers;

namespace BnService.Api.Contracts;

/// <summary>The whole state of a session. Sent back as it is, it makes the same layer.</summary>
public sealed class StateResponse : IShapesParameters
{
    /// <summary>The layer's options, those that belong to its kind.</summary>
    public required LayerOptionsRequest Options { get; init; }

    /// <summary>gamma; null where the session has none.</summary>
    [TensorName("weight"), ParameterShape]
    public required double[]? Gamma { get; init; }

    /// <summary>beta; null where the session has none.</summary>
    [TensorName("bias"), ParameterShape]
    public required double[]? Beta { get; init; }

    /// <summary>Running mean, one value per statistic; null where none is tracked.</summary>
    [TensorName("running_mean")]
    public required double[]? RunningMean { get; init; }

    /// <summary>Running variance, one value per statistic; null where none is tracked.</summary>
    [TensorName("running_var")]
    public required double[]? RunningVar { get; init; }

    /// <summary>Number of batches that moved the running statistics; null where none are tracked.</summary>
    [TensorName("num_batches_tracked")]
    public required long? NumBatchesTracked { get; init; }

    /// <summary>Whether no batch has moved the running statistics and nobody has set them; null where none are tracked.</summary>
    public required bool? StatisticsAreInitial { get; init; }

    /// <summary>false where the first batch still decides how many positions a sample has (granularity per_activation).</summary>
    public required bool FeaturesAreFixed { get; init; }

    /// <summary>What the optimizer remembers; null before the first update.</summary>
    public required OptimizerState? Optimizer { get; init; }

    /// <summary>The last batch that moved the session; null before the first.</summary>
    public required LastBatchState? LastBatch { get; init; }

    /// <summary>
    /// Whether the running statistics were set as a whole and stand for themselves, whatever num_batches_tracked says; null where none \
    /// are tracked.
    /// </summary>
    public required bool? StatisticsAreGiven { get; init; }

    /// <summary>
    /// zero_debias: the weight of the batches in the moving average, by which the running statistics have been divided, 0 before the first;
    /// null without it.
    /// </summary>
    public required double? StatisticsWeight { get; init; }

    /// <summary>The exact union of all batches that moved the running statistics; null before the first.</summary>
    public required UnionState? Seen { get; init; }

    /// <summary>What calibration and merge have gathered and not committed; null where that is nothing.</summary>
    public required UnionState? Population { get; init; }

    /// <summary>Version of the state.</summary>
    public required long Version { get; init; }

    /// <summary>PUT: the names of the body that are not of this layer, which were left alone; absent where there are none.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string[]? Ignored { get; init; }

    /// <inheritdoc/>
    [JsonIgnore]
    public IReadOnlyList<int>? ParameterShape { get; init; }
}

/// <summary>
/// A state to put: what GET state answers, or the arrays of another framework under its own names. Parameters are gamma and beta,
/// or weight and bias (PyTorch), scale and bias (flax), scale and B (ONNX), scale_blobs (Caffe); statistics are running_mean and \
/// running_var, or
/// moving_mean and moving_variance (Keras), moving_mean and moving_var (MXNet), mean and var (flax), input_mean and input_var (ONNX), blobs
/// (Caffe). Names may have a prefix that all share (`module.`, `bn.`, `bn0_`), flax's collections (`params`, `batch_stats`, as objects or
/// prefixes) and MXNet's `arg:` and `aux:`; of a whole model's names the query's `from` says which layer's they are.
/// </summary>
public sealed class PutStateRequest
{
    /// <summary>
    /// Options of the layer. For a new session they are as in the create call, with num_features from the length of the arrays where it \
    /// is absent.
    /// For an existing one what is absent stays, and what decides the shape must be what the session has.
    /// </summary>
    public LayerOptionsRequest? Options { get; set; }

    /// <summary>
    /// Whose convention the options and the running variance are meant in, as in the create call; an existing session takes from it the \
    /// meaning of momentum and the kind of the running variance.
    /// </summary>
    public Framework? Convention { get; set; }

    /// <summary>gamma, one finite value per statistic.</summary>
    public double[]? Gamma { get; set; }

    /// <summary>gamma by PyTorch's name.</summary>
    public double[]? Weight { get; set; }

    /// <summary>gamma by flax's name.</summary>
    public double[]? Scale { get; set; }

    /// <summary>beta, one finite value per statistic.</summary>
    public double[]? Beta { get; set; }

    /// <summary>beta by PyTorch's and flax's name.</summary>
    public double[]? Bias { get; set; }

    /// <summary>beta by ONNX's name.</summary>
    [JsonPropertyName("B")]
    public double[]? OnnxBias { get; set; }

    /// <summary>Running mean, one finite value per statistic.</summary>
    public double[]? RunningMean { get; set; }

    /// <summary>Running mean by Keras's name.</summary>
    public double[]? MovingMean { get; set; }

    /// <summary>Running mean by flax's name.</summary>
    public double[]? Mean { get; set; }

    /// <summary>Running mean by ONNX's name.</summary>
    public double[]? InputMean { get; set; }

    /// <summary>Running variance, one finite value of 0 or more per statistic, of the kind that unbiased_running_var says.</summary>
    public double[]? RunningVar { get; set; }

    /// <summary>Running variance by Keras's name.</summary>
    public double[]? MovingVariance { get; set; }

    /// <summary>Running variance by flax's name.</summary>
    public double[]? Var { get; set; }

    /// <summary>Running variance by MXNet's name.</summary>
    public double[]? MovingVar { get; set; }

    /// <summary>Running variance by ONNX's name.</summary>
    public double[]? InputVar { get; set; }

    /// <summary>
    /// The blobs of Caffe's BatchNorm layer: mean, variance and the factor that both are divided by, 0 for no statistics yet.
    /// </summary>
    public double[][]? Blobs { get; set; }

    /// <summary>The blobs of Caffe's Scale layer: gamma, and beta where it has a bias_term.</summary>
    public double[][]? ScaleBlobs { get; set; }

    /// <summary>Number of batches, 0 or more; 0 where statistics come without it.</summary>
    public long? NumBatchesTracked { get; set; }

    /// <summary>true says that the statistics are the initial 0 and 1, which require_statistics does not accept.</summary>
    public bool? StatisticsAreInitial { get; set; }

    /// <summary>
    /// Whether the statistics stand for themselves, whatever num_batches_tracked says; where absent, if both come without \
    /// num_batches_tracked.
    /// </summary>
    public bool? StatisticsAreGiven { get; set; }

    /// <summary>
    /// zero_debias: the weight of the batches in the moving average, 0 or more. Where absent it is Caffe's factor times the momentum, or \
    /// what
    /// num_batches_tracked makes of it, 1-(1-momentum)^num_batches_tracked, or 1.
    /// </summary>
    public double? StatisticsWeight { get; set; }

    /// <summary>The exact union of all batches seen; where absent it is dropped with the statistics that it belonged to.</summary>
    public UnionState? Seen { get; set; }

    /// <summary>What calibration has gathered; where absent it is dropped with the statistics that it was to replace.</summary>
    public UnionState? Population { get; set; }

    /// <summary>false leaves to the first batch how many positions a sample has (granularity per_activation).</summary>
    public bool? FeaturesAreFixed { get; set; }

    /// <summary>
    /// What the optimizer remembers; null for nothing. Where absent it is dropped with the parameters that it belonged to.
    /// </summary>
    [NullIsValue]
    public OptimizerState? Optimizer
    {
        get;
        set
        {
            field = value;
            SendsOptimizer = true;
        }
    }

    /// <summary>Whether optimizer was sent; null is one of its values.</summary>
    [JsonIgnore]
    public bool SendsOptimizer { get; private set; }

    /// <summary>
    /// The last batch that moved the layer; null for none. Where absent it is dropped with the statistics that it belonged to.
    /// </summary>
    [NullIsValue]
    public LastBatchState? LastBatch
    {
        get;
        set
        {
            field = value;
            SendsLastBatch = true;
        }
    }

    /// <summary>Whether last_batch was sent; null is one of its values.</summary>
    [JsonIgnore]
    public bool SendsLastBatch { get; private set; }

    /// <summary>
    /// Not looked at, so that the answer of GET can be sent as it is: a session counts its own versions. If-Match asks for one.
    /// </summary>
    public long? Version { get; set; }

    /// <summary>Not looked at, so that the answer of PUT can be sent as it is.</summary>
    [MaxLength(StateSelection.MostArrays)]
    public string[]? Ignored { get; set; }

    /// <summary>The dimensions of arrays that came with some, by their fields' names.</summary>
    [JsonIgnore]
    public Dictionary<string, IReadOnlyList<long>> Shapes { get; } = [];
}

/// <summary>What an optimizer remembers between updates.</summary>
public sealed class OptimizerState
{
    /// <summary>Whose buffers these are.</summary>
    [Required]
    public Optimizer Name { get; set; }

    /// <summary>Number of updates so far.</summary>
    [Required]
    public long Step { get; set; }

    /// <summary>The buffers of gamma; null where the session has none.</summary>
    public OptimizerBufferState? Gamma { get; set; }

    /// <summary>The buffers of beta; null where the session has none.</summary>
    public OptimizerBufferState? Beta { get; set; }
}

/// <summary>The buffers of one parameter.</summary>
public sealed class OptimizerBufferState
{
    /// <summary>sgd: the momentum buffer, empty without momentum. adam, adamw: the average of the gradient.</summary>
    [Required]
    public double[] First { get; set; } = null!;

    /// <summary>adam, adamw: the average of the squared gradient. sgd: empty.</summary>
    [Required]
    public double[] Second { get; set; } = null!;

    /// <summary>
    /// Number of updates of this parameter, where some of the optimizer's have left it frozen; absent where it is the optimizer's.
    /// </summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public long? Step { get; set; }
}

/// <summary>The exact union of batches.</summary>
public sealed class UnionState
{
    /// <summary>Number of values per statistic.</summary>
    [Required]
    public long Count { get; set; }

    /// <summary>Number of batches.</summary>
    [Required]
    public long Batches { get; set; }

    /// <summary>Mean, one value per statistic.</summary>
    [Required]
    public double[] Mean { get; set; } = null!;

    /// <summary>What rounding the mean to double left over.</summary>
    [Required]
    public double[] MeanResidual { get; set; } = null!;

    /// <summary>Sum of squared deviations from the mean.</summary>
    [Required]
    public double[] M2 { get; set; } = null!;
}
