using System.Runtime.InteropServices;

namespace BnService.Core.Tests.Contract;

/// <summary>
/// Floats between two stretches of memory that nobody may touch. On Linux these are pages without access, so that a read or a write
/// past either end kills the process; elsewhere they hold known bytes, which shows a write when <see cref="AssertUntouched"/> looks.
/// </summary>
internal sealed unsafe partial class GuardedFloats : IDisposable
{
    private const int ProtectNone = 0, ProtectReadWrite = 3, MapPrivateAnonymous = 0x22;
    private const byte Canary = 0xA5;

    private readonly nuint _guard = (nuint)Environment.SystemPageSize;
    private readonly nuint _usable;
    private readonly byte* _memory;

    /// <param name="capacity">The largest number of floats.</param>
    public GuardedFloats(int capacity)
    {
        _usable = ((((nuint)capacity * sizeof(float)) + _guard - 1) / _guard) * _guard;
        if (!IsProtected)
        {
            _memory = (byte*)NativeMemory.AlignedAlloc(_usable + (2 * _guard), _guard);
            new Span<byte>(_memory, (int)(_usable + (2 * _guard))).Fill(Canary);
            return;
        }
        _memory = (byte*)Map(null, _usable + (2 * _guard), ProtectReadWrite, MapPrivateAnonymous, -1, 0);
        if ((nint)_memory == -1) throw new InvalidOperationException($"mmap failed: {Marshal.GetLastPInvokeErrorMessage()}");
        Forbid(_memory);
        Forbid(_memory + _guard + _usable);
    }

    /// <summary>Whether touching the guards kills the process, rather than being found later.</summary>
    public static bool IsProtected => OperatingSystem.IsLinux();

    /// <summary>The floats right behind the first guard, or right before the last one.</summary>
    public Span<float> Of(int count, bool atEnd)
    {
        var bytes = (nuint)count * sizeof(float);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(bytes, _usable);
        return new Span<float>(_memory + _guard + (atEnd ? _usable - bytes : 0), count);
    }

    /// <summary>Asserts that the guards are as they were. Where they are protected, who gets here has not touched them.</summary>
    public void AssertUntouched(int count, bool atEnd)
    {
        if (IsProtected) return;
        var start = (int)(_guard + (atEnd ? _usable - ((nuint)count * sizeof(float)) : 0));
        var all = new Span<byte>(_memory, (int)(_usable + (2 * _guard)));
        Assert.Equal(-1, all[..start].IndexOfAnyExcept(Canary));
        Assert.Equal(-1, all[(start + (count * sizeof(float)))..].IndexOfAnyExcept(Canary));
    }

    /// <summary>Makes room for so many floats: known bytes everywhere around them, where guards are not protected.</summary>
    public void Clear(int count, bool atEnd)
    {
        if (!IsProtected) new Span<byte>(_memory + _guard, (int)_usable).Fill(Canary);
        Of(count, atEnd).Fill(float.NaN);
    }

    public void Dispose()
    {
        if (IsProtected) _ = Unmap(_memory, _usable + (2 * _guard));
        else NativeMemory.AlignedFree(_memory);
    }

    private void Forbid(byte* page)
    {
        if (Protect(page, _guard, ProtectNone) != 0)
            throw new InvalidOperationException($"mprotect failed: {Marshal.GetLastPInvokeErrorMessage()}");
    }

    [LibraryImport("libc", EntryPoint = "mmap", SetLastError = true)]
    private static partial void* Map(void* address, nuint length, int protection, int flags, int file, nint offset);

    [LibraryImport("libc", EntryPoint = "mprotect", SetLastError = true)]
    private static partial int Protect(void* address, nuint length, int protection);

    [LibraryImport("libc", EntryPoint = "munmap", SetLastError = true)]
    private static partial int Unmap(void* address, nuint length);
}
