using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;

namespace BnService.Api.Hosting.Limits;

/// <summary>Which addresses are one caller.</summary>
internal static class CallerNetwork
{
    /// <summary>The IPv4 address, or the /64 network of an IPv6 address, which one caller may have as a whole; 0 where there is none.</summary>
    public static ulong Of(IPAddress? address)
    {
        if (address is null) return 0;
        if (address.IsIPv4MappedToIPv6) address = address.MapToIPv4();
        Span<byte> bytes = stackalloc byte[16];
        address.TryWriteBytes(bytes, out _);
        return address.AddressFamily == AddressFamily.InterNetwork ? MemoryMarshal.Read<uint>(bytes) : MemoryMarshal.Read<ulong>(bytes);
    }
}
