using BnService.Core.Kernels;
using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>gamma and beta per position, as kernels read them; null where the layer has none.</summary>
internal sealed unsafe class PositionParameters : IDisposable
{
    private readonly NativeBuffer _memory;

    public PositionParameters(double[]? gamma, double[]? beta)
    {
        var length = (gamma ?? beta)!.Length;
        var padded = PairSums.Padded(length);
        _memory = NativeBuffer.Rent((long)padded * (sizeof(double) + (2 * sizeof(float))));
        WideGamma = (double*)_memory.Pointer;
        var floats = (float*)(WideGamma + padded);
        new Span<double>(WideGamma, padded).Clear();
        gamma?.CopyTo(new Span<double>(WideGamma, length));
        // Beta alone is beta with a gamma of 1: the pass multiplies by gamma where it adds beta.
        if (gamma is null) new Span<double>(WideGamma, length).Fill(1);
        for (var i = 0; i < length; i++) floats[i] = (float)WideGamma[i];
        Gamma = floats;
        if (beta is null) return;
        Beta = floats + padded;
        for (var i = 0; i < length; i++) Beta[i] = (float)beta[i];
    }

    /// <summary>gamma in double, with zeros up to a whole vector.</summary>
    public double* WideGamma { get; }

    public float* Gamma { get; }

    public float* Beta { get; }

    public void Dispose() => _memory.Dispose();
}
