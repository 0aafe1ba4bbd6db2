using System.IO.Compression;
using System.Net.Http.Headers;
using System.Text;

namespace BnService.Harness;

/// <summary>Bodies of few bytes that are many when they are decoded.</summary>
public static class Coded
{
    private const int PieceLength = 32 << 10;

    /// <summary>Text of about a length, in gzip.</summary>
    public static byte[] Gzip(string before, string each, string after, int length)
    {
        using var compressed = new MemoryStream();
        using (var gzip = new GZipStream(compressed, CompressionLevel.Fastest, leaveOpen: true))
        {
            gzip.Write(Encoding.UTF8.GetBytes(before));
            var piece = Encoding.UTF8.GetBytes(string.Concat(Enumerable.Repeat(each, PieceLength / each.Length)));
            for (var written = 0; written < length; written += piece.Length) gzip.Write(piece);
            gzip.Write(Encoding.UTF8.GetBytes(after));
        }
        return compressed.ToArray();
    }

    /// <summary>JSON in gzip.</summary>
    public static ByteArrayContent Content(byte[] gzip)
    {
        var content = new ByteArrayContent(gzip);
        content.Headers.ContentType = MediaTypeHeaderValue.Parse(Forms.Json);
        content.Headers.ContentEncoding.Add("gzip");
        return content;
    }
}
