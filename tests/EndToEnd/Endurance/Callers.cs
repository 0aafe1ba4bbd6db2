namespace BnService.EndToEnd.Endurance;

/// <summary>Those who may not do what they ask for, or not as often, and the one who gives out the keys.</summary>
internal sealed class Callers(Uri address, string admin, string session, Tally tally) : IDisposable
{
    // The bucket holds 100 and is filled with 100 per second.
    private const int Hasty = 400;

    private readonly List<Client> _clients = [];

    /// <summary>A client with a new key of a role.</summary>
    public async Task<Client> CreateAsync(string role, string? prefix = null)
    {
        var body = $$"""{"name":"of-the-soak","role":"{{role}}"{{(prefix is null ? "" : $",\"prefix\":\"{prefix}\"")}}}""";
        return Open((await Open(admin).SendAsync(Call.CreateKey, "/v1/keys", 201, body))["key"].GetString());
    }

    /// <summary>A client with a key, or none.</summary>
    public Client Open(string? key)
    {
        var client = new Client(address, key, tally);
        lock (_clients) _clients.Add(client);
        return client;
    }

    public async Task RunAsync(Func<bool> isOver)
    {
        var (master, reader, ofTeam, nobody, liar) = (Open(admin), await CreateAsync("reader"), await CreateAsync("trainer", "team."), Open(null), Open(admin[..^1] + (admin[^1] == 'A' ? 'B' : 'A')));
        var hasty = await CreateAsync("reader");
        for (var round = 0; !isOver(); round++)
        {
            await reader.SendAsync(Call.Stats, Call.Stats.Path(session), 200);
            await reader.SendAsync(Call.TrainStep, Call.TrainStep.Path(session), 403, """{"x":[[1]]}""");
            await reader.SendAsync(Call.ListKeys, "/v1/keys", 403);
            await nobody.SendAsync(Call.Get, Call.Get.Path(session), 401);
            await nobody.SendAsync(Call.Ready, "/health/ready", 200);
            await liar.SendAsync(Call.Inference, Call.Inference.Path(session), 401, """{"x":[[1]]}""");
            await ofTeam.SendAsync(Call.Get, Call.Get.Path(session), 404);
            await ofTeam.SendAsync(Call.Create, "/v1/sessions", 403, $$"""{"name":"other-{{round}}","num_features":2}""");
            await GiveKeysAsync(master);
            if (round % 10 == 0) await Task.WhenAll(Enumerable.Range(0, Hasty).Select(_ => hasty.SendAsync(Call.List, "/v1/sessions?limit=1", null, [200, 429])));
            await Task.Delay(100);
        }
    }

    public void Dispose()
    {
        foreach (var client in _clients) client.Dispose();
    }

    private static async Task GiveKeysAsync(Client master)
    {
        var id = (await master.SendAsync(Call.CreateKey, "/v1/keys", 201, """{"name":"for-a-moment","role":"reader"}"""))["id"].GetString()!;
        var rotated = (await master.SendAsync(Call.RotateKey, Call.RotateKey.Path(id), 200))["key"].GetString()!;
        Assert.Equal(id, KeyedService.IdOf(rotated));
        await master.SendAsync(Call.ListKeys, "/v1/keys", 200);
        await master.SendAsync(Call.RevokeKey, Call.RevokeKey.Path(id), 204);
    }
}
