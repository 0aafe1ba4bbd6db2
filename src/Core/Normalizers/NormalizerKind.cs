namespace BnService.Core.Normalizers;

/// <summary>The normalizers of the field. They differ in which elements share a statistic and which share a gamma and beta.</summary>
public enum NormalizerKind
{
    /// <summary>A statistic per channel, over the batch and all positions (Ioffe &amp; Szegedy 2015).</summary>
    BatchNorm,

    /// <summary>Batch normalization corrected towards the running statistics, which training then shares with inference (Ioffe 2017).</summary>
    BatchRenorm,

    /// <summary>A statistic per row of the trailing dimensions (Ba et al. 2016).</summary>
    LayerNorm,

    /// <summary>A statistic per sample and group of channels (Wu &amp; He 2018).</summary>
    GroupNorm,

    /// <summary>A statistic per sample and channel (Ulyanov et al. 2016).</summary>
    InstanceNorm,

    /// <summary>The root mean square per row of the trailing dimensions, without a mean (Zhang &amp; Sennrich 2019).</summary>
    RmsNorm,
}

/// <summary>What follows from a kind.</summary>
public static class NormalizerKinds
{
    extension(NormalizerKind kind)
    {
        /// <summary>Whether the statistics of a train-step go over the batch, so that a layer without running statistics depends on it.</summary>
        public bool IsOverBatch => kind is NormalizerKind.BatchNorm or NormalizerKind.BatchRenorm;

        /// <summary>Whether rows of the trailing dimensions are normalized (normalized_shape), so that there are no channels.</summary>
        public bool IsOverRows => kind is NormalizerKind.LayerNorm or NormalizerKind.RmsNorm;

        /// <summary>Whether running statistics can be kept.</summary>
        public bool CanTrack => kind.IsOverBatch || kind == NormalizerKind.InstanceNorm;

        /// <summary>Whether a mean is subtracted.</summary>
        public bool HasMean => kind != NormalizerKind.RmsNorm;

        /// <summary>The kind as it is called on the wire: batch_norm, layer_norm, …</summary>
        public string WireName => kind switch
        {
            NormalizerKind.BatchNorm => "batch_norm",
            NormalizerKind.BatchRenorm => "batch_renorm",
            NormalizerKind.LayerNorm => "layer_norm",
            NormalizerKind.GroupNorm => "group_norm",
            NormalizerKind.InstanceNorm => "instance_norm",
            _ => "rms_norm",
        };
    }
}
