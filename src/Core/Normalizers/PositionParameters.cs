using BnService.Core.Kernels;
using BnService.Core.Tensors;

namespace BnService.Core.Normalizers;

/// <summary>gamma and beta per position, as kernels read them; without values where the layer has none.</summary>
internal sealed unsafe class PositionParameters : IDisposable
{
    // A vector may begin at any position, also the last one.
    private const int Padding = 16;

    private readonly NativeBuffer _memory;

    public PositionParameters(double[]? gamma, double[]? beta)
    {
        var length = (gamma ?? beta)!.Length;
        var padded = PairSums.Padded(length) + Padding;
        _memory = NativeBuffer.Rent(2L * padded * (sizeof(double) + sizeof(float)));
        var doubles = (double*)_memory.Pointer;
        var floats = (float*)(doubles + (2 * padded));
        // Beta alone is beta with a gamma of 1: the pass multiplies by gamma where it adds beta.
        Gamma = Values(gamma, length, floats, doubles, padded);
        if (beta is not null) Beta = Values(beta, length, floats + padded, doubles + padded, padded);
    }

    public PositionValues Gamma { get; }

    public PositionValues Beta { get; }

    /// <summary>Whether a value has lost precision as a float, or all of it: the double path is needed everywhere.</summary>
    public bool NeedDouble { get; private set; }

    public void Dispose() => _memory.Dispose();

    private PositionValues Values(double[]? values, int length, float* floats, double* doubles, int padded)
    {
        var all = new Span<double>(doubles, padded);
        all[length..].Clear();
        if (values is null) all[..length].Fill(1);
        else values.CopyTo(all);
        for (var i = 0; i < length; i++)
        {
            floats[i] = (float)doubles[i];
            NeedDouble |= ChannelConstants.LeavesSingle(doubles[i]);
        }
        return new(floats, doubles);
    }
}
