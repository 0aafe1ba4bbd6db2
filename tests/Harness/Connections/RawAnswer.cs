using System.Buffers;
using System.Globalization;
using System.Text;

namespace BnService.Harness;

/// <summary>An answer as its bytes come in: with a Content-Length or in chunks.</summary>
public sealed class RawAnswer
{
    private readonly ArrayBufferWriter<byte> _bytes = new();
    private int _bodyAt = -1;
    private long? _length;

    /// <summary>The HTTP status; 0 where not even that has come.</summary>
    public int Status { get; private set; }

    public IReadOnlyDictionary<string, string> Headers { get; private set; } = new Dictionary<string, string>();

    /// <summary>Whether all of it has come.</summary>
    public bool IsWhole { get; private set; }

    /// <summary>The body; empty where not all of it has come.</summary>
    public byte[] Body { get; private set; } = [];

    public string Text => Encoding.UTF8.GetString(Body);

    /// <summary>Bytes that have come of it.</summary>
    public long Received => _bytes.WrittenCount;

    public void Add(ReadOnlySpan<byte> bytes)
    {
        _bytes.Write(bytes);
        var all = _bytes.WrittenSpan;
        if (_bodyAt < 0 && all.IndexOf("\r\n\r\n"u8) is var end and >= 0) ReadHead(all[..end]);
        if (_bodyAt < 0) return;
        if (_length is { } length) IsWhole = all.Length - _bodyAt >= length;
        else IsWhole = all.EndsWith("\r\n0\r\n\r\n"u8) || all[_bodyAt..].SequenceEqual("0\r\n\r\n"u8);
        if (IsWhole) Body = _length is null ? Unchunked(all[_bodyAt..]) : all[_bodyAt..].ToArray();
    }

    private void ReadHead(ReadOnlySpan<byte> head)
    {
        var lines = Encoding.Latin1.GetString(head).Split("\r\n");
        Status = int.Parse(lines[0].AsSpan(9, 3), CultureInfo.InvariantCulture);
        Headers = lines.Skip(1).Select(line => line.Split(": ", 2)).ToDictionary(line => line[0], line => line[1], StringComparer.OrdinalIgnoreCase);
        _bodyAt = head.Length + 4;
        if (Headers.TryGetValue("Content-Length", out var length)) _length = long.Parse(length, CultureInfo.InvariantCulture);
        else if (!Headers.ContainsKey("Transfer-Encoding")) _length = 0;
    }

    private static byte[] Unchunked(ReadOnlySpan<byte> chunks)
    {
        var body = new MemoryStream();
        while (chunks.IndexOf("\r\n"u8) is var line and > 0)
        {
            var size = int.Parse(chunks[..line], NumberStyles.HexNumber, CultureInfo.InvariantCulture);
            if (size == 0) break;
            body.Write(chunks.Slice(line + 2, size));
            chunks = chunks[(line + 2 + size + 2)..];
        }
        return body.ToArray();
    }
}
