using System.Net;

namespace BnService.Harness;

/// <summary>A body whose length nobody knows in advance: it goes out in chunks.</summary>
public sealed class PiecewiseContent : HttpContent
{
    private readonly byte[] _body;
    private readonly int _piece;

    /// <param name="body">The body.</param>
    /// <param name="form">Its media type.</param>
    /// <param name="piece">Bytes of each piece; 0 for one piece.</param>
    public PiecewiseContent(byte[] body, string form, int piece = 0)
    {
        (_body, _piece) = (body, piece == 0 ? Math.Max(body.Length, 1) : piece);
        Headers.ContentType = new(form);
    }

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context)
    {
        for (var sent = 0; sent < _body.Length; sent += _piece)
        {
            await stream.WriteAsync(_body.AsMemory(sent, Math.Min(_piece, _body.Length - sent)));
            await stream.FlushAsync();
        }
    }

    protected override bool TryComputeLength(out long length)
    {
        length = 0;
        return false;
    }
}
