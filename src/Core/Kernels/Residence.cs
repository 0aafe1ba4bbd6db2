using System.Runtime.CompilerServices;
using System.Runtime.Intrinsics.X86;
using BnService.Core.Simd;

namespace BnService.Core.Kernels;

/// <summary>
/// Where the tensors of a call live, which decides what pays: out of the caches results go past them, since they would not stay and the
/// lines that they overwrite need not be read, and inputs are asked for ahead of time, since runs and rows are too short for the
/// hardware to recognize. In the caches both cost more than they save.
/// </summary>
internal unsafe interface IResidence
{
    static abstract bool IsOutOfCache { get; }

    /// <summary>Floats of a cache line.</summary>
    const int LineFloats = 16;

    /// <summary>Stores a vector as floats; out of cache <paramref name="destination"/> is aligned.</summary>
    static abstract void Store<TVector, T>(TVector value, float* destination)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged;

    /// <summary>Asks for the cache line of an address, which need not be mapped.</summary>
    static abstract void ReadAhead(float* address);

    /// <summary>Orders stores before whatever tells another thread that they are done.</summary>
    static abstract void Fence();
}

/// <summary>In the caches.</summary>
internal readonly unsafe struct InCache : IResidence
{
    public static bool IsOutOfCache => false;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<TVector, T>(TVector value, float* destination)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged => value.StoreFloats(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadAhead(float* address)
    {
    }

    public static void Fence()
    {
    }
}

/// <summary>In memory.</summary>
internal readonly unsafe struct OutOfCache : IResidence
{
    public static bool IsOutOfCache => true;

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void Store<TVector, T>(TVector value, float* destination)
        where TVector : struct, IVector<TVector, T>
        where T : unmanaged => value.StreamFloats(destination);

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    public static void ReadAhead(float* address)
    {
        if (Sse.IsSupported) Sse.Prefetch1(address);
    }

    public static void Fence()
    {
        if (Sse.IsSupported) Sse.StoreFence();
    }
}
