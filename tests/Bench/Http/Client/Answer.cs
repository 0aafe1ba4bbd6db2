using System.Globalization;
using System.Text;

namespace BnService.Bench.Http.Client;

/// <summary>An answer as it comes in: finds out where it ends, by its length or by its chunks, without copying anything.</summary>
/// <param name="memory">Where it is received.</param>
/// <param name="capacity">How many bytes there is room for.</param>
internal sealed unsafe class Answer(byte* memory, long capacity)
{
    // "HTTP/1.1 200"
    private const int StatusOffset = 9;

    private long _received, _bodyStart, _bodyEnd, _nextChunk;
    private bool _isChunked;

    /// <summary>Whether all of it is there.</summary>
    public bool IsComplete { get; private set; }

    /// <summary>The status; 0 as long as the head has not arrived.</summary>
    public int Status { get; private set; }

    /// <summary>Where the next bytes belong.</summary>
    public byte* Free => memory + _received;

    /// <summary>How many more bytes there is room for.</summary>
    public long Room => capacity - _received;

    private ReadOnlySpan<byte> Head => new(memory, (int)_bodyStart);

    /// <summary>Makes room for the next answer.</summary>
    public void Clear()
    {
        (_received, _bodyStart, _bodyEnd, _nextChunk) = (0, 0, 0, 0);
        (_isChunked, IsComplete, Status) = (false, false, 0);
    }

    /// <summary>Takes note of bytes that were received into <see cref="Free"/>.</summary>
    public void Add(long count)
    {
        _received += count;
        if (_bodyStart == 0) FindBody();
        if (_bodyStart == 0) return;
        if (_isChunked) FollowChunks();
        else IsComplete = _received >= _bodyEnd;
    }

    /// <summary>A header's value; empty where it is absent.</summary>
    public ReadOnlySpan<byte> Header(ReadOnlySpan<byte> name)
    {
        foreach (var range in Head.Split("\r\n"u8))
        {
            var line = Head[range];
            if (line.Length > name.Length && line[name.Length] == ':' && Ascii.EqualsIgnoreCase(line[..name.Length], name))
                return line[(name.Length + 1)..].Trim(" \t"u8);
        }
        return [];
    }

    /// <summary>A copy of the body, without the chunks' frames.</summary>
    public byte[] CopyBody()
    {
        if (!_isChunked) return new ReadOnlySpan<byte>(memory + _bodyStart, (int)(_bodyEnd - _bodyStart)).ToArray();
        using var whole = new MemoryStream();
        for (var position = _bodyStart; ReadChunk(position) is { Size: > 0 } chunk; position = chunk.Next)
            whole.Write(new ReadOnlySpan<byte>(memory + chunk.Start, (int)chunk.Size));
        return whole.ToArray();
    }

    private void FindBody()
    {
        var end = new ReadOnlySpan<byte>(memory, (int)_received).IndexOf("\r\n\r\n"u8);
        if (end < 0) return;
        _bodyStart = end + 4;
        Status = int.Parse(Head.Slice(StatusOffset, 3), NumberStyles.None, CultureInfo.InvariantCulture);
        _isChunked = Ascii.EqualsIgnoreCase(Header("Transfer-Encoding"u8), "chunked"u8);
        _nextChunk = _bodyStart;
        if (_isChunked) return;
        var length = Header("Content-Length"u8);
        _bodyEnd = _bodyStart + (length.IsEmpty ? 0 : long.Parse(length, NumberStyles.None, CultureInfo.InvariantCulture));
        if (_bodyEnd > capacity) throw new HttpFailure($"answered {Status} with {_bodyEnd - _bodyStart} bytes, far more than expected");
    }

    private void FollowChunks()
    {
        while (!IsComplete && ReadChunk(_nextChunk) is { } chunk && chunk.Next <= _received)
        {
            IsComplete = chunk.Size == 0;
            _nextChunk = chunk.Next;
        }
    }

    // Size in hexadecimal, line end, bytes, line end; null where the line is not there yet.
    private (long Start, long Size, long Next)? ReadChunk(long position)
    {
        var line = new ReadOnlySpan<byte>(memory + position, (int)Math.Max(0, _received - position));
        var end = line.IndexOf("\r\n"u8);
        if (end < 0) return null;
        var size = long.Parse(line[..end], NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);
        var start = position + end + 2;
        return (start, size, start + size + 2);
    }
}
