using System.Text;
using BnService.Bench.Http.Servers;

namespace BnService.Bench.Http;

/// <summary>What a contender is asked: everything before the payload.</summary>
/// <param name="Prefix">The head, and what the body has before the payload.</param>
/// <param name="BodyPrefixLength">How much of the prefix is body.</param>
internal sealed record HttpRequest(byte[] Prefix, int BodyPrefixLength)
{
    /// <summary>The part of the body before the payload.</summary>
    public ReadOnlySpan<byte> BodyPrefix => Prefix.AsSpan(^BodyPrefixLength..);

    /// <summary>A NumPy file.</summary>
    public static HttpRequest NumPy(string path, int rows) =>
        Post(path, "Content-Type: application/x-npy\r\n", Payload.NumPyHead(rows), PayloadBytes(rows));

    /// <summary>JSON.</summary>
    public static HttpRequest Json(string path, Payload payload) => Post(path, "Content-Type: application/json\r\n", [], payload.Length);

    /// <summary>A binary tensor of the Open Inference Protocol, to the session for inference.</summary>
    public static HttpRequest OpenInference(int rows)
    {
        var head = Payload.OpenInferenceHead(rows);
        return Post($"/v2/models/{BenchSessions.Inference}/infer",
            $"Content-Type: application/octet-stream\r\nInference-Header-Content-Length: {head.Length}\r\n", head, PayloadBytes(rows));
    }

    private static long PayloadBytes(int rows) => new HttpCase(rows, 1).Bytes;

    private static HttpRequest Post(string path, string headers, byte[] bodyPrefix, long payloadLength)
    {
        var head = $"POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {bodyPrefix.Length + payloadLength}\r\n\r\n";
        return new HttpRequest([.. Encoding.ASCII.GetBytes(head), .. bodyPrefix], bodyPrefix.Length);
    }
}
