using System.Collections.Concurrent;
using System.Numerics;
using System.Runtime.InteropServices;

namespace BnService.Core.Tensors;

/// <summary>
/// Pooled unmanaged memory, aligned to 64 bytes (a cache line, and the widest vector), with contents undefined.
/// Memory that has been touched before is worth keeping: page faults on a fresh mapping cost more than normalizing it.
/// </summary>
/// <remarks>Not thread-safe: one owner, who disposes it once. Disposing gives the memory back to the pool.</remarks>
public sealed unsafe partial class NativeBuffer : IDisposable
{
    private const int Alignment = 64;
    private const long SmallestLength = 256;
    private const int HugePage = 2 << 20;
    private const long HugeLength = HugePage * 3 / 4;
    private const int AdviseHugePages = 14; // MADV_HUGEPAGE
    private const int MappingThreshold = -3; // M_MMAP_THRESHOLD
    private const int MappedLength = 256 << 10;

    private static readonly ConcurrentStack<nint>[] Idle = [.. Enumerable.Range(0, 256).Select(_ => new ConcurrentStack<nint>())];
    private static long s_idleBytes;
    private static long s_rentedBytes;

    private readonly int _sizeClass;
    private readonly MemoryAccount? _account;
    private nint _address;

    private NativeBuffer(nint address, int sizeClass, long length, MemoryAccount? account) =>
        (_address, _sizeClass, Length, _account) = (address, sizeClass, length, account);

    /// <summary>The most bytes that wait in the pool; what is given back beyond them goes to the operating system.</summary>
    public static long MostIdleBytes { get; set; } = 256L << 20;

    /// <summary>Bytes that are rented at this moment, in the whole process.</summary>
    public static long RentedBytes => Interlocked.Read(ref s_rentedBytes);

    /// <summary>Bytes that wait in the pool for the next renter, in the whole process.</summary>
    public static long IdleBytes => Interlocked.Read(ref s_idleBytes);

    /// <summary>Usable bytes: at least as many as were asked for.</summary>
    public long Length { get; }

    /// <summary>The first byte.</summary>
    /// <exception cref="ObjectDisposedException">The buffer was given back.</exception>
    internal void* Pointer
    {
        get
        {
            ObjectDisposedException.ThrowIf(_address == 0, this);
            return (void*)_address;
        }
    }

    /// <summary>Bytes that a buffer of at least <paramref name="bytes"/> bytes takes.</summary>
    public static long LengthFor(long bytes) => Classify(bytes).Length;

    /// <summary>A buffer of at least <paramref name="bytes"/> bytes, on the current account.</summary>
    /// <exception cref="MemoryBudgetException">The account's budget has no room for it.</exception>
    public static NativeBuffer Rent(long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(bytes);
        var (sizeClass, length) = Classify(bytes);
        var account = MemoryAccount.Current;
        account?.Charge(length);
        try
        {
            if (Idle[sizeClass].TryPop(out var address)) Interlocked.Add(ref s_idleBytes, -length);
            else address = Allocate(length);
            Interlocked.Add(ref s_rentedBytes, length);
            return new NativeBuffer(address, sizeClass, length, account);
        }
        catch
        {
            account?.Refund(length);
            throw;
        }
    }

    /// <summary>
    /// Makes every long buffer of the process a mapping of its own, which goes back to the operating system when it is freed. Left to
    /// itself glibc
    /// raises the length from which that is so as soon as one is freed, and takes the next ones from its heaps, of which each few threads
    /// have
    /// one and each keeps tens of megabytes that nobody uses.
    /// </summary>
    public static void MapLongBuffers()
    {
        try
        {
            if (OperatingSystem.IsLinux()) _ = SetOption(MappingThreshold, MappedLength);
        }
        catch (EntryPointNotFoundException)
        {
            // glibc alone has it.
        }
    }

    /// <summary>Gives all memory that waits in the pool back to the operating system.</summary>
    public static void Trim()
    {
        for (var sizeClass = 0; sizeClass < Idle.Length; sizeClass++)
        {
            if (Idle[sizeClass].IsEmpty) continue;
            var length = LengthOf(sizeClass);
            while (Idle[sizeClass].TryPop(out var address))
            {
                NativeMemory.AlignedFree((void*)address);
                Interlocked.Add(ref s_idleBytes, -length);
            }
        }
        try
        {
            // The allocator keeps what is not at the end of its heaps.
            if (OperatingSystem.IsLinux()) _ = TrimHeaps(0);
        }
        catch (EntryPointNotFoundException)
        {
            // glibc alone has it.
        }
    }

    /// <summary>The first <paramref name="count"/> elements of type <typeparamref name="T"/>.</summary>
    /// <exception cref="ArgumentOutOfRangeException">The buffer is shorter.</exception>
    public Span<T> Span<T>(int count)
        where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan((long)count * sizeof(T), Length);
        return new Span<T>(Pointer, count);
    }

    /// <summary>Gives the memory back; beyond a fixed amount of idle memory, to the operating system.</summary>
    public void Dispose()
    {
        var address = Interlocked.Exchange(ref _address, 0);
        if (address == 0) return;
        Interlocked.Add(ref s_rentedBytes, -Length);
        if (Interlocked.Add(ref s_idleBytes, Length) <= MostIdleBytes) Idle[_sizeClass].Push(address);
        else
        {
            Interlocked.Add(ref s_idleBytes, -Length);
            NativeMemory.AlignedFree((void*)address);
        }
        // Last: whoever waits for it may rent it at once.
        _account?.Refund(Length);
    }

    // Large buffers are walked from end to end, or from sample to sample for each channel: with huge pages the processor looks up 512
    // times fewer addresses.
    private static nint Allocate(long length)
    {
        if (length < HugeLength || !OperatingSystem.IsLinux()) return (nint)NativeMemory.AlignedAlloc((nuint)length, Alignment);
        length = Math.Max(length, HugePage);
        var address = NativeMemory.AlignedAlloc((nuint)length, HugePage);
        // An advice: a kernel that cannot follow it says so, and nothing depends on that.
        _ = Advise(address, (nuint)length, AdviseHugePages);
        return (nint)address;
    }

    // mallopt(3)
    [LibraryImport("libc", EntryPoint = "mallopt")]
    private static partial int SetOption(int option, int value);

    // madvise(2)
    [LibraryImport("libc", EntryPoint = "madvise")]
    private static partial int Advise(void* address, nuint length, int advice);

    // malloc_trim(3)
    [LibraryImport("libc", EntryPoint = "malloc_trim")]
    private static partial int TrimHeaps(nuint left);

    private static long LengthOf(int sizeClass) => ((sizeClass % 4) + 5L) << ((sizeClass / 4) - 2);

    // Four size classes per power of two: at most a quarter of a buffer lies idle behind its contents.
    private static (int SizeClass, long Length) Classify(long bytes)
    {
        bytes = Math.Max(bytes, SmallestLength);
        var exponent = BitOperations.Log2((ulong)(bytes - 1));
        var step = 1L << (exponent - 2);
        var steps = (bytes + step - 1) / step;
        return ((exponent * 4) + (int)steps - 5, steps * step);
    }
}
