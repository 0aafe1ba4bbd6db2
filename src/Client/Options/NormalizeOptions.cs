using BnService.Client.Wire;

namespace BnService.Client;

/// <summary>What a one-shot normalization is asked for beside its input.</summary>
public sealed record NormalizeOptions
{
    /// <summary>Whose convention the layer's options are meant in; null for the contract's defaults.</summary>
    public Convention? Convention { get; init; }

    /// <summary>gamma, one value per parameter; null for the layer's initial one.</summary>
    public IReadOnlyList<double>? Gamma { get; init; }

    /// <summary>beta, one value per parameter; null for the layer's initial one.</summary>
    public IReadOnlyList<double>? Beta { get; init; }

    /// <summary>One value per sample, or per position: what has false is left out of the statistics. Empty for all.</summary>
    public ReadOnlyMemory<bool> Mask { get; init; }

    /// <summary>Dimensions of the mask where it has a value per position: those of x without the channels. Null for one value per sample.</summary>
    public IReadOnlyList<int>? MaskShape { get; init; }

    /// <summary>Added to the normalized values before the activation, in the shape of x. Empty for nothing.</summary>
    public ReadOnlyMemory<float> Residual { get; init; }

    /// <summary>Gradient by y, in the shape of x, for which the gradients are answered. Empty for none.</summary>
    public ReadOnlyMemory<float> Dy { get; init; }

    /// <summary>The residual in float64, in place of <see cref="Residual"/>. Empty for none.</summary>
    public ReadOnlyMemory<double> ResidualFloat64 { get; init; }

    /// <summary>The gradient by y in float64, in place of <see cref="Dy"/>. Empty for none.</summary>
    public ReadOnlyMemory<double> DyFloat64 { get; init; }

    /// <summary>Batch renormalization: the running mean to correct towards; null for 0.</summary>
    public IReadOnlyList<double>? RunningMean { get; init; }

    /// <summary>Batch renormalization: the running variance to correct towards; null for 1.</summary>
    public IReadOnlyList<double>? RunningVar { get; init; }

    /// <summary>Batch renormalization: number of steps before this one, for the schedule of its limits; null for 0.</summary>
    public long? NumBatchesTracked { get; init; }

    internal void AddTo(SafetensorsMessage message, int[] shape)
    {
        if (Convention is { } named) message.Add("convention", ClientJson.Name(named));
        foreach (var (name, values) in new[] { ("gamma", Gamma), ("beta", Beta), ("running_mean", RunningMean), ("running_var", RunningVar) })
        {
            if (values is not null) message.Add(name, values);
        }
        message.AddMask(Mask, MaskShape);
        foreach (var (name, tensor) in new[] { ("residual", new InputTensor(Residual, ResidualFloat64)), ("backward.dy", new InputTensor(Dy, DyFloat64)) })
        {
            if (tensor.Length > 0) message.Add(name, tensor, shape);
        }
        if (NumBatchesTracked is { } steps) message.Add("num_batches_tracked", steps.ToString(System.Globalization.CultureInfo.InvariantCulture));
    }
}
