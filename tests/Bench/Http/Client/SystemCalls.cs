using System.Runtime.InteropServices;

namespace BnService.Bench.Http.Client;

/// <summary>The few calls that a fast client consists of: nothing of the runtime stands between it and the kernel.</summary>
internal static unsafe partial class SystemCalls
{
    /// <summary>Errors: interrupted, the socket's buffer is full or empty, the peer has closed.</summary>
    public const int Interrupted = 4, TryAgain = 11, BrokenPipe = 32, ConnectionReset = 104;

    /// <summary>Returns at once instead of waiting.</summary>
    public const int DoNotWait = 0x40;

    private const short Readable = 1, Writable = 4;

    [LibraryImport("libc", EntryPoint = "send", SetLastError = true)]
    public static partial nint Send(int socket, byte* bytes, nint count, int flags);

    [LibraryImport("libc", EntryPoint = "recv", SetLastError = true)]
    public static partial nint Receive(int socket, byte* bytes, nint count, int flags);

    /// <summary>Waits until something can be received or sent, whichever is asked for; false where nothing could in time.</summary>
    public static bool Wait(int socket, bool toReceive, bool toSend, TimeSpan most)
    {
        var one = new Interest { Socket = socket, Wanted = (short)((toReceive ? Readable : 0) | (toSend ? Writable : 0)) };
        return Poll(&one, 1, (int)most.TotalMilliseconds) > 0;
    }

    [LibraryImport("libc", EntryPoint = "poll")]
    private static partial int Poll(Interest* interests, nuint count, int milliseconds);

    // struct pollfd
    private struct Interest
    {
        public int Socket;
        public short Wanted;
        public short Happened;
    }
}
