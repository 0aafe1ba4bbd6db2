using System.Globalization;
using System.Text;

namespace BnService.EndToEnd.Endurance;

/// <summary>One whose network is bad: it hangs up within a request or an answer, sends half of it, sends slowly, stops, or sends too much.</summary>
internal sealed class FaultyClient(Client client, string session, int seed)
{
    private const int Features = 64;
    private readonly Random _random = new(seed);

    /// <summary>Creates the session.</summary>
    public Task CreateAsync() => client.SendAsync(Call.Create, "/v1/sessions", 201, $$"""{"name":"{{session}}","num_features":{{Features}}}""");

    public async Task RunAsync(Func<bool> isOver)
    {
        // Each of them at least once.
        for (var round = 0; round < 8 || !isOver(); round++)
        {
            await ((round % 8) switch
            {
                0 => HangUpInBodyAsync(Call.TrainStep),
                1 => HangUpInBodyAsync(Call.Inference),
                2 => HangUpInAnswerAsync(Call.TrainStep),
                3 => HangUpInAnswerAsync(Call.Inference),
                4 => SendHalfAHeadAsync(),
                5 => SendSlowlyAsync(),
                6 => StopAsync(),
                _ => SendTooMuchAsync(),
            });
            await Task.Delay(20);
        }
    }

    private async Task<RawConnection> OpenAsync(Call call, long length)
    {
        var connection = await RawConnection.OpenAsync(client.Address.Port);
        await connection.WriteHeadAsync("POST", call.Path(session), ("Authorization", $"Bearer {client.Key}"), ("Content-Type", Forms.Npy), ("Content-Length", length.ToString(CultureInfo.InvariantCulture)));
        return connection;
    }

    private Batch NextBatch(int rows) => Batch.Random(_random.Next(), rows, Features);

    private void Abandon(Call call, Batch x)
    {
        client.Tally.Abandoned(call);
        client.Tally.Passed("normalize", x.Data.Length, isCertain: false);
        if (call == Call.TrainStep) client.Tally.Stepped(session, isCertain: false);
    }

    private async Task HangUpInBodyAsync(Call call)
    {
        var x = NextBatch(10 + _random.Next(3000));
        var body = ArrayFile.Of(x);
        using var connection = await OpenAsync(call, body.Length);
        Abandon(call, x);
        await connection.WriteAsync(body.AsMemory(0, _random.Next(body.Length)));
        if (_random.Next(2) == 0) connection.Abort();
    }

    private async Task HangUpInAnswerAsync(Call call)
    {
        var x = NextBatch(2000 + _random.Next(3000));
        var body = ArrayFile.Of(x);
        using var connection = await OpenAsync(call, body.Length);
        Abandon(call, x);
        try
        {
            // What infers answers while it reads: the answer's beginning need not wait for the request's end.
            await connection.WriteAsync(body);
            await connection.CountAsync(_random.Next(1, 200));
        }
        catch (System.Net.Sockets.SocketException)
        {
            // The service was faster: it has refused it for want of memory.
        }
        if (_random.Next(2) == 0) connection.Abort();
    }

    private async Task SendHalfAHeadAsync()
    {
        using var connection = await RawConnection.OpenAsync(client.Address.Port);
        await connection.WriteAsync($"POST {Call.Inference.Path(session)} HTTP/1.1\r\nHost: localh");
        if (_random.Next(2) == 0) connection.Abort();
    }

    private async Task SendSlowlyAsync()
    {
        var x = NextBatch(1000);
        var body = ArrayFile.Of(x);
        using var connection = await OpenAsync(Call.TrainStep, body.Length);
        for (var sent = 0; sent < body.Length; sent += body.Length / 10 + 1)
        {
            await connection.WriteAsync(body.AsMemory(sent, Math.Min(body.Length - sent, body.Length / 10 + 1)));
            await Task.Delay(20);
        }
        var answer = await connection.ReadAnswerAsync();
        Assert.True(answer.Status is 200 or 503, $"a slow sender was answered {answer.Status}: {answer.Text}");
        client.Tally.Answered(Call.TrainStep, answer.Status);
        client.Tally.Passed("normalize", x.Data.Length, answer.Status == 200);
        if (answer.Status == 200) client.Tally.Stepped(session);
    }

    // Half a body, and no more: the service does not wait for ever.
    private async Task StopAsync()
    {
        var body = ArrayFile.Of(NextBatch(2));
        using var connection = await OpenAsync(Call.TrainStep, body.Length);
        await connection.WriteAsync(body.AsMemory(0, body.Length / 2));
        var answer = await connection.ReadAnswerAsync();
        Assert.True(answer.Status == 408, $"one who has stopped was answered {answer.Status}: {answer.Text}");
        client.Tally.Answered(Call.TrainStep, answer.Status);
    }

    private async Task SendTooMuchAsync()
    {
        using var connection = await OpenAsync(Call.TrainStep, 1L << 40);
        var answer = Encoding.UTF8.GetString((await connection.ReadAnswerAsync()).Body);
        Assert.Contains("\"payload-too-large\"", answer, StringComparison.Ordinal);
        client.Tally.Answered(Call.TrainStep, 413);
    }
}
