using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Text;

namespace BnService.Harness;

/// <summary>A TCP connection to the service, byte by byte: for clients that break the rules, pause or go away.</summary>
public sealed class RawConnection : IDisposable
{
    private readonly Socket _socket = new(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true, ReceiveBufferSize = 64 << 10 };

    private RawConnection()
    {
    }

    public static async Task<RawConnection> OpenAsync(int port)
    {
        var connection = new RawConnection();
        await connection._socket.ConnectAsync(IPAddress.Loopback, port);
        return connection;
    }

    public Task WriteAsync(string text) => WriteAsync(Encoding.Latin1.GetBytes(text));

    public async Task WriteAsync(ReadOnlyMemory<byte> bytes)
    {
        while (bytes.Length > 0) bytes = bytes[await _socket.SendAsync(bytes)..];
    }

    /// <summary>A request's head; the body is the caller's to write.</summary>
    public Task WriteHeadAsync(string method, string path, params (string Name, string Value)[] headers)
    {
        var lines = headers.Select(header => $"{header.Name}: {header.Value}\r\n");
        return WriteAsync($"{method} {path} HTTP/1.1\r\nHost: localhost\r\n{string.Concat(lines)}\r\n");
    }

    /// <summary>One chunk of a chunked body.</summary>
    public Task WriteChunkAsync(string text) => WriteAsync(string.Create(CultureInfo.InvariantCulture, $"{text.Length:x}\r\n{text}\r\n"));

    /// <summary>One chunk of a chunked body.</summary>
    public async Task WriteChunkAsync(byte[] bytes)
    {
        await WriteAsync(string.Create(CultureInfo.InvariantCulture, $"{bytes.Length:x}\r\n"));
        await WriteAsync(bytes);
        await WriteAsync("\r\n");
    }

    /// <summary>A body in pieces of one size, with a moment between some of them.</summary>
    public async Task WritePiecesAsync(byte[] body, int piece)
    {
        for (var sent = 0; sent < body.Length; sent += piece)
        {
            await WriteAsync(body.AsMemory(sent, Math.Min(piece, body.Length - sent)));
            if (sent / piece % 8 == 0) await Task.Delay(1);
        }
    }

    /// <summary>Reads one answer, or as much of it as comes.</summary>
    public async Task<RawAnswer> ReadAnswerAsync()
    {
        var answer = new RawAnswer();
        var buffer = new byte[64 << 10];
        try
        {
            while (!answer.IsWhole && await _socket.ReceiveAsync(buffer) is var count and > 0) answer.Add(buffer.AsSpan(0, count));
        }
        catch (SocketException exception) when (exception.SocketErrorCode is SocketError.ConnectionReset or SocketError.ConnectionAborted)
        {
            // Also an end.
        }
        return answer;
    }

    /// <summary>Counts the bytes that come, until there are so many or no more.</summary>
    public async Task<long> CountAsync(long enough)
    {
        long received = 0;
        var buffer = new byte[256 << 10];
        while (received < enough && await _socket.ReceiveAsync(buffer) is var count and > 0) received += count;
        return received;
    }

    /// <summary>Says that nothing more will be written, and still reads.</summary>
    public void EndWriting() => _socket.Shutdown(SocketShutdown.Send);

    /// <summary>Goes away without a word (RST).</summary>
    public void Abort()
    {
        _socket.LingerState = new LingerOption(true, 0);
        _socket.Close();
    }

    /// <summary>Reads until a text has come.</summary>
    public async Task<string> ReadUntilAsync(string text)
    {
        var read = new StringBuilder();
        var buffer = new byte[4096];
        while (!read.ToString().Contains(text, StringComparison.Ordinal))
        {
            var count = await _socket.ReceiveAsync(buffer);
            Assert.True(count > 0, $"the connection ended before '{text}' came: {read}");
            read.Append(Encoding.UTF8.GetString(buffer, 0, count));
        }
        return read.ToString();
    }

    /// <summary>Everything that comes until the service closes the connection.</summary>
    public async Task<string> ReadToEndAsync()
    {
        var read = new MemoryStream();
        var buffer = new byte[4096];
        try
        {
            while (await _socket.ReceiveAsync(buffer) is var count and > 0) read.Write(buffer, 0, count);
        }
        catch (SocketException exception) when (exception.SocketErrorCode == SocketError.ConnectionReset)
        {
            // Also an end: the service does not read what it has refused.
        }
        return Encoding.UTF8.GetString(read.ToArray());
    }

    public void Dispose() => _socket.Dispose();
}
