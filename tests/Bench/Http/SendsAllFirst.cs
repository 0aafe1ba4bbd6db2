using System.Diagnostics;
using BnService.Bench.Cases;
using BnService.Bench.Http.Client;
using BnService.Bench.Http.Servers;

namespace BnService.Bench.Http;

/// <summary>
/// A client that sends the whole of the largest body before it reads anything, as most clients do: a server that answers while it reads
/// must not wait for it.
/// </summary>
/// <param name="Flaw">Why it did not get the right answer; null where it did.</param>
/// <param name="Seconds">How long that took.</param>
internal sealed unsafe record SendsAllFirst(string? Flaw, double Seconds)
{
    // With the NumPy file's head the body stays just below the 256 MiB that the service allows by default.
    private const int Rows = 65_535;
    private const int HeadRoom = 64 << 10;

    // x is this, over and over.
    private static readonly HttpCase Tile = new(Rows: 256, Connections: 1);
    private static readonly HttpCase Whole = new(Rows, Connections: 1);

    /// <summary>What it is called in a report.</summary>
    public static string Name { get; } = $"{Whole.Bytes / 1_000_000} MB sent before anything is read";

    /// <summary>Tries it once, with an inference.</summary>
    public static SendsAllFirst Try(ServerProcess service)
    {
        using var data = new CaseData(Tile.Tensor);
        using var connection = new KeepAliveConnection(service.Port, Whole.Bytes + HeadRoom);
        var start = Stopwatch.GetTimestamp();
        string? flaw;
        try
        {
            var head = HttpRequest.NumPy(BenchSessions.InferencePath, Rows).Prefix;
            fixed (byte* bytes = head) connection.SendOnly(bytes, head.Length);
            for (var sent = 0L; sent < Whole.Bytes; sent += Tile.Bytes)
                connection.SendOnly((byte*)data.X(0), Math.Min(Tile.Bytes, Whole.Bytes - sent));
            connection.ReceiveOnly();
            flaw = AnswerChecks.OfBody(body => FlawOf(body, data))(connection.Answer);
        }
        catch (HttpFailure failure)
        {
            flaw = failure.Message;
        }
        return new SendsAllFirst(flaw, Stopwatch.GetElapsedTime(start).TotalSeconds);
    }

    private static string? FlawOf(byte[] body, CaseData data)
    {
        if (body.Length <= Whole.Bytes) return $"answered {body.Length} bytes, too few";
        var y = body.AsSpan(^(int)Whole.Bytes..);
        var first = y[..(int)Tile.Bytes];
        first.CopyTo(new Span<byte>(data.Result(0), first.Length));
        if (data.Reference.Flaw(Operation.Inference, data.Result(0)) is { } flaw) return flaw;
        for (; y.Length > 0; y = y[Math.Min(first.Length, y.Length)..])
            if (!first.StartsWith(y[..Math.Min(first.Length, y.Length)])) return "the same rows came back as different ones";
        return null;
    }
}
