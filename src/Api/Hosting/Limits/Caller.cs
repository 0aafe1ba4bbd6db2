using System.Diagnostics.CodeAnalysis;
using System.Net;
using System.Net.Sockets;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace BnService.Api.Hosting.Limits;

/// <summary>
/// Who sends requests, as far as places are counted: the holder of a key until it is rotated or revoked, or all who need none.
/// </summary>
/// <param name="isOne">Whether it is one holder of a key, who must leave places to the others.</param>
[SuppressMessage("Design", "CA1001", Justification = "A source without a timer holds nothing that has to be given back.")]
internal sealed class Caller(bool isOne)
{
    private static readonly int Kinds = Enum.GetValues<Place>().Length;

    private readonly CancellationTokenSource _end = new();
    private readonly int[] _held = new int[Kinds];

    /// <summary>Whoever sends a request that needs no key, although the service asks for keys.</summary>
    public static Caller Stranger { get; } = new(isOne: false);

    /// <summary>Whether it is one holder of a key, who must leave places to the others.</summary>
    public bool IsOne => isOne;

    /// <summary>Is cancelled when what it has sent is answered no more: its key has been rotated or revoked.</summary>
    public CancellationToken Ended => _end.Token;

    /// <summary>Number of places of a kind that it holds.</summary>
    public ref int Held(Place place) => ref _held[(int)place];

    /// <summary>Ends what it has sent: streams, waiting, and bodies that still come.</summary>
    // Not here: thousands of calls may end with it, and whoever has revoked the key waits for its answer.
    public void End() => _ = _end.CancelAsync();
}

/// <summary>
/// A gate for each caller: one that holds its own keeps nobody else waiting, and nothing is left of a key that is no more.
/// </summary>
/// <param name="most">How many may pass the gate of one caller at one time.</param>
internal sealed class CallerGates(int most)
{
    private readonly ConditionalWeakTable<Caller, SemaphoreSlim> _gates = [];

    /// <summary>The gate of a caller.</summary>
    public SemaphoreSlim Of(Caller caller) => _gates.GetValue(caller, _ => new SemaphoreSlim(most));
}

/// <summary>Which addresses are one caller.</summary>
internal static class CallerNetwork
{
    /// <summary>
    /// The IPv4 address, or the /64 network of an IPv6 address, which one caller may have as a whole; 0 where there is none.
    /// </summary>
    public static ulong Of(IPAddress? address)
    {
        if (address is null) return 0;
        if (address.IsIPv4MappedToIPv6) address = address.MapToIPv4();
        Span<byte> bytes = stackalloc byte[16];
        address.TryWriteBytes(bytes, out _);
        return address.AddressFamily == AddressFamily.InterNetwork ? MemoryMarshal.Read<uint>(bytes) : MemoryMarshal.Read<ulong>(bytes);
    }
}
