using System.Runtime.InteropServices;

namespace BnService.Bench.Cases;

/// <summary>
/// Floats on huge pages where the system gives them, touched once: neither page faults nor the luck of small pages are what is measured.
/// </summary>
internal sealed unsafe partial class FloatMemory : IDisposable
{
    private const int HugePage = 2 << 20;
    private const int AdviceHugePages = 14;

    /// <summary>Memory for <paramref name="count"/> floats, all 0.</summary>
    public FloatMemory(long count)
    {
        var bytes = (nuint)(((count * sizeof(float)) + HugePage - 1) / HugePage * HugePage);
        Pointer = (float*)NativeMemory.AlignedAlloc(bytes, HugePage);
        // Only advice: where it is not taken, small pages serve all contenders alike.
        if (OperatingSystem.IsLinux()) _ = Advise(Pointer, bytes, AdviceHugePages);
        NativeMemory.Clear(Pointer, bytes);
    }

    public float* Pointer { get; private set; }

    /// <inheritdoc/>
    public void Dispose()
    {
        NativeMemory.AlignedFree(Pointer);
        Pointer = null;
    }

    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(void* address, nuint length, int advice);
}
