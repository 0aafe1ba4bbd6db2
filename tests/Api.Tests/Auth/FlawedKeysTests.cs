using BnService.Api.Storage;
using BnService.Api.Storage.Memory;
using BnService.Api.Storage.Sqlite;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using KeyedService = BnService.Harness.KeyedService;

namespace BnService.Api.Tests.Auth;

/// <summary>Keys that nobody can use, of a newer service or damaged: they let nobody in, and keep the others out all the same.</summary>
public sealed class FlawedKeysTests
{
    private const string ConfiguredAdmin = "bn_0123456789abcdef_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    private const string FirstKey = """{"name":"first","role":"admin","i_will_keep_the_key":true}""";

    private static readonly StoredKey Whole =
        new("1111111111111111", "of-a-newer-service", "reader", null, DateTimeOffset.UnixEpoch, new byte[16], new byte[32]);

    public static TheoryData<string, string> Flaws => new()
    {
        { "role", "'auditor' is none that this version" }, { "no role", "'' is none that this version" }, { "number", "'2' is none that this version" }, { "hash", "damaged" }, { "no hash", "damaged" },
        { "salt", "damaged" }, { "id", "its id" }, { "no id", "its id" }, { "prefix", "has a prefix" },
    };

    private static StoredKey Flawed(string flaw) => flaw switch
    {
        "role" => Whole with { Role = "auditor" },
        "no role" => Whole with { Role = "" },
        "number" => Whole with { Role = "2" },
        "hash" => Whole with { Hash = new byte[31] },
        "no hash" => Whole with { Hash = default },
        "salt" => Whole with { Salt = new byte[300] },
        "id" => Whole with { Id = "a_b" },
        "no id" => Whole with { Id = "" },
        _ => Whole with { Role = "admin", Prefix = "a" },
    };

    [Theory]
    [MemberData(nameof(Flaws))]
    public async Task A_key_that_nobody_can_use_is_no_reason_to_ask_nobody_for_one(string flaw, string words)
    {
        var keys = new MemoryKeyStore();
        var stored = Flawed(flaw);
        await keys.TryInsertKeyAsync(stored, default);
        using var service = Service.Replacing(services => services.AddSingleton<IKeyStore>(keys));
        (await service.Client.GetAsync("/v1/sessions")).ExpectProblem("unauthorized");
        (await service.Client.PostAsync("/v1/keys", FirstKey)).ExpectProblem("unauthorized");
        foreach (var key in (string[])[$"bn_{stored.Id}_{new string('A', 43)}", $"bn_{stored.Id}_", "bn__", $"bn_{stored.Id}"])
            (await service.Client.GetAsync("/v1/sessions", KeyedService.Bearer(key))).ExpectProblem("unauthorized");
        Assert.Single(await keys.ListKeysAsync(default));

        // An admin sees what it is, and can do away with it.
        using var configured = Service.Replacing(services => services.AddSingleton<IKeyStore>(keys), ("Auth:AdminKey", ConfiguredAdmin));
        var admin = KeyedService.Bearer(ConfiguredAdmin);
        var listed = Assert.Single((await configured.Client.GetAsync("/v1/keys", admin)).Expect(200)["keys"].EnumerateArray());
        Assert.Contains(words, listed.GetProperty("flaw").GetString(), StringComparison.Ordinal);
        Assert.Equal((stored.Id, stored.Name), (listed.GetProperty("id").GetString(), listed.GetProperty("name").GetString()));
        Assert.Equal(words.Contains("version", StringComparison.Ordinal) ? null : stored.Role, listed.GetProperty("role").GetString());
        if (stored.Id.Length == 0) return;
        (await configured.Client.PostAsync($"/v1/keys/{stored.Id}/rotate", null, admin)).ExpectProblem("invalid-option", words);
        (await configured.Client.DeleteAsync($"/v1/keys/{stored.Id}", admin)).Expect(204);
        Assert.Empty(await keys.ListKeysAsync(default));
        var fresh = await KeyedService.CreateAsync(configured.Client, "reader", null, ConfiguredAdmin);
        var entry = Assert.Single((await configured.Client.GetAsync("/v1/keys", admin)).Expect(200)["keys"].EnumerateArray());
        Assert.Equal((KeyedService.IdOf(fresh), "reader", null), (entry.GetProperty("id").GetString(), entry.GetProperty("role").GetString(), entry.GetProperty("flaw").GetString()));
    }

    [Fact]
    public async Task Whole_keys_beside_it_go_on_and_the_last_admin_stays()
    {
        var keys = new MemoryKeyStore();
        using var service = Service.Replacing(services => services.AddSingleton<IKeyStore>(keys));
        var admin = await KeyedService.CreateAsync(service.Client, "admin", null, null);
        await keys.TryInsertKeyAsync(Flawed("prefix"), default);
        (await service.Client.GetAsync("/v1/keys", KeyedService.Bearer(admin))).Expect(200);
        // One that nobody can use is no admin to stay behind.
        (await service.Client.DeleteAsync($"/v1/keys/{KeyedService.IdOf(admin)}", KeyedService.Bearer(admin))).ExpectProblem("last-admin-key");
    }

    /// <summary>The program, where the service is to listen to the world outside: in a container, where it would not start without a key.</summary>
    [Fact]
    public async Task The_program_listens_as_with_keys_and_its_verbs_list_and_revoke_what_nobody_can_use()
    {
        var folder = Directory.CreateTempSubdirectory("bn-flawed").FullName;
        (string, string) storage = ("Storage__Path", Path.Combine(folder, "bn.db")), container = ("DOTNET_RUNNING_IN_CONTAINER", "true");
        await using (var store = new SqliteSessionStore(Options.Create(new StorageOptions { Path = storage.Item2 }), NullLogger<SqliteSessionStore>.Instance, TimeProvider.System))
        {
            await store.TryInsertKeyAsync(Whole with { Role = "auditor", Name = "a\u001b[2J\tb\nc" }, default);
            await store.TryInsertKeyAsync(Whole with { Id = "", Hash = default }, default);
        }
        using (var service = await ServiceProcess.StartAsync(("ASPNETCORE_URLS", "http://0.0.0.0:0"), container, storage))
        {
            Assert.Contains(service.Output, line => line.Contains("lets nobody in", StringComparison.Ordinal) && line.Contains("auditor", StringComparison.Ordinal));
            Assert.DoesNotContain(service.Output, line => line.Contains("No key is stored", StringComparison.Ordinal));
            (await service.Client.GetAsync("/v1/sessions")).ExpectProblem("unauthorized");
            service.Terminate();
            await service.ExitAsync();
        }
        var (exitCode, output, errors) = await ServiceProcess.RunAsync(["keys", "list"], storage);
        Assert.True(exitCode == 0, errors);
        Assert.Contains("lets nobody in", errors, StringComparison.Ordinal);
        Assert.DoesNotContain("\u001b[2J", errors, StringComparison.Ordinal);
        Assert.Equal(2, output.Count);
        Assert.Contains(@"1111111111111111	a\u001b[2J\u0009b\u000ac	auditor	-	1970-01-01 00:00:00Z	lets nobody in: its role 'auditor' is none that this version of the service knows", output);
        foreach (var id in (string[])["1111111111111111", ""]) Assert.Equal(0, (await ServiceProcess.RunAsync(["keys", "revoke", id], storage)).ExitCode);
        Assert.Empty((await ServiceProcess.RunAsync(["keys", "list"], storage)).Output);
        Directory.Delete(folder, recursive: true);
    }
}
