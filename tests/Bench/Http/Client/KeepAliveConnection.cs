using System.Net;
using System.Net.Sockets;
using System.Runtime.InteropServices;
using BnService.Bench.Cases;
using static BnService.Bench.Http.Client.SystemCalls;

namespace BnService.Bench.Http.Client;

/// <summary>
/// One connection that stays open. It sends and receives at the same time, as a client must whose peer answers while it reads, and lets
/// go of the processor only when it can do neither.
/// </summary>
internal sealed unsafe class KeepAliveConnection : IDisposable
{
    private static readonly TimeSpan Patience = TimeSpan.FromSeconds(15);

    private readonly Socket _socket = new(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
    private readonly FloatMemory _received;
    private readonly int _handle;

    /// <summary>Connects.</summary>
    /// <param name="port">The loopback port.</param>
    /// <param name="capacity">Bytes of the largest answer, its head included.</param>
    /// <exception cref="SocketException">Nobody listens there.</exception>
    public KeepAliveConnection(int port, long capacity)
    {
        try
        {
            _socket.ReceiveTimeout = (int)Patience.TotalMilliseconds;
            _socket.Connect(IPAddress.Loopback, port);
        }
        catch
        {
            _socket.Dispose();
            throw;
        }
        _received = new FloatMemory((capacity / sizeof(float)) + 1);
        _handle = (int)_socket.Handle;
        Answer = new Answer((byte*)_received.Pointer, capacity);
    }

    /// <summary>The last answer.</summary>
    public Answer Answer { get; }

    /// <summary>Sends a request and receives its answer.</summary>
    /// <exception cref="HttpFailure">There is no whole answer.</exception>
    public void Exchange(byte* request, long length)
    {
        Answer.Clear();
        var sent = 0L;
        while (!Answer.IsComplete)
        {
            var more = sent < length ? Send(request + sent, length - sent) : 0;
            sent += more;
            // With everything sent there is nothing else to do than to wait for the answer.
            var received = Receive(sent < length ? DoNotWait : 0);
            if (more == 0 && received == 0 && !Wait(_handle, toReceive: true, toSend: sent < length, Patience))
                throw new HttpFailure($"nothing moved for {Patience.TotalSeconds} s, {sent} of {length} bytes sent");
        }
        if (sent < length && Answer.Status == 200)
            throw new HttpFailure($"answered 200 before it had read more than {sent} of {length} bytes");
    }

    /// <summary>Sends without reading anything.</summary>
    /// <exception cref="HttpFailure">Nobody takes it.</exception>
    public void SendOnly(byte* bytes, long count)
    {
        for (var sent = 0L; sent < count;)
        {
            var more = Send(bytes + sent, count - sent);
            sent += more;
            if (more == 0 && !Wait(_handle, toReceive: false, toSend: true, Patience))
                throw new HttpFailure($"took nothing more for {Patience.TotalSeconds} s");
        }
    }

    /// <summary>Receives the answer to what was sent.</summary>
    /// <exception cref="HttpFailure">There is no whole answer.</exception>
    public void ReceiveOnly()
    {
        Answer.Clear();
        while (!Answer.IsComplete) _ = Receive(flags: 0);
    }

    /// <inheritdoc/>
    public void Dispose()
    {
        _socket.Dispose();
        _received.Dispose();
    }

    private long Send(byte* bytes, long count)
    {
        var sent = SystemCalls.Send(_handle, bytes, (nint)count, DoNotWait);
        if (sent >= 0) return sent;
        return Marshal.GetLastPInvokeError() switch
        {
            TryAgain or Interrupted => 0,
            // Whoever refuses a request may close before it has read all of it: what it said is still to be received.
            BrokenPipe or ConnectionReset => count,
            var error => throw new HttpFailure($"sending failed: {Marshal.GetPInvokeErrorMessage(error)}"),
        };
    }

    private long Receive(int flags)
    {
        var received = SystemCalls.Receive(_handle, Answer.Free, (nint)Answer.Room, flags);
        if (received > 0)
        {
            Answer.Add(received);
            return received;
        }
        if (received == 0) throw new HttpFailure("closed the connection within an exchange");
        return Marshal.GetLastPInvokeError() switch
        {
            Interrupted => 0,
            TryAgain when flags == DoNotWait => 0,
            TryAgain => throw new HttpFailure($"sent nothing more for {Patience.TotalSeconds} s, the answer is not whole"),
            var error => throw new HttpFailure($"receiving failed: {Marshal.GetPInvokeErrorMessage(error)}"),
        };
    }
}
