namespace BnService.EndToEnd.Endurance;

/// <summary>One whose batches are so large that not all of those that he sends at once find room.</summary>
internal sealed class LargeClient(Client client, string session)
{
    private const int Features = 256, AtOnce = 9;

    private readonly Batch _x = Batch.Random(1, 8192, Features);

    /// <summary>Creates the session.</summary>
    public Task CreateAsync() => client.SendAsync(Call.Create, "/v1/sessions", 201, $$"""{"name":"{{session}}","num_features":{{Features}}}""");

    public async Task RunAsync(Func<bool> isOver)
    {
        var body = (Forms.Npy, ArrayFile.Of(_x));
        while (!isOver())
        {
            await Task.WhenAll(Enumerable.Range(0, AtOnce).Select(i => SendAsync(i, body)));
            await Task.Delay(1000);
        }
    }

    /// <summary>One more, which takes most of the memory that there is: it is all there again.</summary>
    public async Task CheckRoomAsync()
    {
        var x = Batch.Joined([_x, _x]);
        var answer = await client.SendAsync(Call.TrainStep, Call.TrainStep.Path(session) + "?retain=false", (Forms.Npy, ArrayFile.Of(x)), [200]);
        Assert.True(answer.Status == 200, $"{answer.Status}: {answer.Text}");
        Count(answer, x);
    }

    private async Task SendAsync(int i, (string, byte[]) body)
    {
        var isStep = i % 3 > 0;
        var answer = isStep
            ? await client.SendAsync(Call.TrainStep, Call.TrainStep.Path(session) + (i % 3 == 1 ? "?retain=true" : "?retain=false"), body, [200])
            : await client.SendAsync(Call.Backward, Call.Backward.Path(session) + "?step_id=node-1", body, [410]);
        if (isStep) Count(answer, _x);
    }

    private void Count(Answer answer, Batch x)
    {
        client.Tally.Passed("normalize", x.Data.Length, answer.Status == 200);
        if (answer.Status == 200) client.Tally.Stepped(session);
    }
}
