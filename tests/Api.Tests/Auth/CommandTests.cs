using BnService.Api.Tests.Harness;

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

    [Theory]
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
