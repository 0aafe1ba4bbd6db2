namespace BnService.Api.Tests.Auth;

/// <summary>The verb of the command line, on the file that a service uses before and after.</summary>
public sealed class CommandTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("bn-command").FullName;

    private (string, string) Storage => ("Storage__Path", Path.Combine(_folder, "bn.db"));

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task It_makes_the_first_key_and_others_lists_rotates_and_revokes_them()
    {
        var admin = Assert.Single(await ExpectAsync(0, "create", "--name", "first", "--role", "admin"));
        var trainer = Assert.Single(await ExpectAsync(0, "create", "--name=second", "--role=trainer", "--prefix=team-"));
        Assert.Equal([$"{KeyedService.IdOf(admin)}\tfirst\tadmin\t-", $"{KeyedService.IdOf(trainer)}\tsecond\ttrainer\tteam-"],
            (await ExpectAsync(0, "list")).Select(line => line[..line.LastIndexOf('\t')]));
        var rotated = Assert.Single(await ExpectAsync(0, "rotate", KeyedService.IdOf(trainer)));
        using (var service = await ServiceProcess.StartAsync(Storage))
        {
            (await service.Client.GetAsync("/v1/keys", KeyedService.Bearer(admin))).Expect(200);
            (await service.Client.GetAsync("/v1/sessions", KeyedService.Bearer(rotated))).Expect(200);
            (await service.Client.GetAsync("/v1/sessions", KeyedService.Bearer(trainer))).ExpectProblem("unauthorized");
            // The file belongs to the service now.
            var (exitCode, output, errors) = await ServiceProcess.RunAsync(["keys", "create", "--name", "third", "--role", "admin"], Storage);
            Assert.Equal((1, 0), (exitCode, output.Count));
            Assert.Contains("in use by another process, a running service", errors, StringComparison.Ordinal);
            Assert.Contains("POST /v1/keys", errors, StringComparison.Ordinal);
            service.Terminate();
            await service.ExitAsync();
        }
        Assert.Empty(await ExpectAsync(0, "revoke", KeyedService.IdOf(trainer)));
        // What cannot be undone over the network can be done by who has the file.
        Assert.Empty(await ExpectAsync(0, "revoke", KeyedService.IdOf(admin)));
        Assert.Empty(await ExpectAsync(0, "list"));
    }

    /// <summary>A key that is in no store: of a secret beside the program.</summary>
    [Fact]
    public async Task A_configured_key_is_an_admins_as_long_as_it_is_configured()
    {
        var key = Assert.Single(await ExpectAsync(0, "generate"));
        Assert.NotEqual(key, Assert.Single(await ExpectAsync(0, "generate")));
        Assert.Empty(await ExpectAsync(0, "list"));
        string reader;
        using (var service = await ServiceProcess.StartAsync(Storage, ("Auth__AdminKey", key)))
        {
            (await service.Client.GetAsync("/v1/sessions")).ExpectProblem("unauthorized");
            (await service.Client.GetAsync("/v1/sessions", KeyedService.Bearer(key[..^1] + (key[^1] == 'A' ? 'B' : 'A')))).ExpectProblem("unauthorized");
            // There is an admin already: the first one that is stored need not be one.
            reader = await KeyedService.CreateAsync(service.Client, "reader", null, key);
            (await service.Client.GetAsync("/v1/sessions", KeyedService.Bearer(reader))).Expect(200);
            var stored = await KeyedService.CreateAsync(service.Client, "admin", null, key);
            (await service.Client.DeleteAsync($"/v1/keys/{KeyedService.IdOf(stored)}", KeyedService.Bearer(stored))).Expect(204);
            Assert.Equal(1, (await service.Client.GetAsync("/v1/keys", KeyedService.Bearer(key)))["keys"].GetArrayLength());
            (await service.Client.DeleteAsync($"/v1/keys/{KeyedService.IdOf(key)}", KeyedService.Bearer(key))).ExpectProblem("key-not-found");
            service.Terminate();
            await service.ExitAsync();
            Assert.DoesNotContain(key, string.Join('\n', service.Output) + service.Errors, StringComparison.Ordinal);
        }
        using (var service = await ServiceProcess.StartAsync(Storage))
        {
            (await service.Client.GetAsync("/v1/sessions", KeyedService.Bearer(key))).ExpectProblem("unauthorized");
            (await service.Client.GetAsync("/v1/sessions", KeyedService.Bearer(reader))).Expect(200);
        }
    }

    [Theory]
    [InlineData(1, "Auth:AdminKey must be a key as 'keys generate' prints it, got something else", "list --Auth:AdminKey bn_0123456789abcdef_secret")]
    [InlineData(2, "usage: keys create", "")]
    [InlineData(2, "usage: keys create", "create")]
    [InlineData(2, "usage: keys create", "create --name a")]
    [InlineData(2, "usage: keys create", "revoke")]
    [InlineData(2, "usage: keys create", "nosuch")]
    [InlineData(1, "role must be one of reader, trainer, admin, got 'root'", "create --name a --role root")]
    [InlineData(1, "role of the first key must be admin", "create --name a --role reader")]
    [InlineData(1, "name must be", "create --name a/b --role admin")]
    [InlineData(1, "prefix must be", "create --name a --role trainer --prefix -")]
    [InlineData(1, "there is no key with id 'nosuch'", "revoke nosuch")]
    [InlineData(1, "Storage:Engine is memory", "create --name a --role admin --Storage:Engine memory")]
    [InlineData(1, "Auth:Mode must be keys or none, got 'off'", "list --Auth:Mode off")]
    public async Task What_it_cannot_do_it_says_on_the_error_output(int expected, string words, string arguments)
    {
        var (exitCode, output, errors) = await ServiceProcess.RunAsync(["keys", .. arguments.Split(' ', StringSplitOptions.RemoveEmptyEntries)], Storage);
        Assert.Contains(words, errors, StringComparison.Ordinal);
        Assert.Equal((expected, 0), (exitCode, output.Count));
        Assert.DoesNotContain("   at ", errors, StringComparison.Ordinal);
    }

    private async Task<IReadOnlyList<string>> ExpectAsync(int expected, params string[] arguments)
    {
        var (exitCode, output, errors) = await ServiceProcess.RunAsync(["keys", .. arguments], Storage);
        Assert.True(exitCode == expected, errors);
        return output;
    }
}
