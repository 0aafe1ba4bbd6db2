using System.Text.Json;
using BnService.Api.Storage;
using Microsoft.Extensions.DependencyInjection;
using KeyedService = BnService.Harness.KeyedService;

namespace BnService.Api.Tests.Auth;

/// <summary>
/// Another's session and one that is not there take the same way: the same is asked of the store for both, so that not even the time of an
/// answer tells them apart. Times themselves are not compared: they are those of the store's.
/// </summary>
public sealed class UnseenTests
{
    private const string X = """{"x":[[1,2],[3,5]],"retain":false}""";

    [Theory]
    // In memory, as after a use, and not, where a large state would have to be read.
    [InlineData(true, 1L << 30)]
    [InlineData(false, 1L << 30)]
    [InlineData(true, 1024)]
    [InlineData(false, 1024)]
    public async Task Of_the_store_the_same_is_asked_for_anothers_session_as_for_none(bool isShared, long residentBytes)
    {
        var store = new WatchedStore { IsShared = isShared };
        using var service = Service.Replacing(services => services.AddSingleton<ISessionStore>(store), ("Sessions:MaxResidentBytes", $"{residentBytes}"));
        var client = service.Client;
        var first = await KeyedService.CreateAsync(client, "admin", null, null);
        var admin = KeyedService.Bearer(first);
        // The beginning of ids is known to whoever knows the time: a prefix may be the beginning of another's id.
        var theirs = (await client.PostAsync("/v1/sessions", """{"name":"blue-a","num_features":2}""", admin)).Expect(201);
        (await client.PostAsync("/v1/sessions/blue-a/train-step", X, admin)).Expect(200);
        (await client.PostAsync("/v1/sessions/blue-a/snapshots", null, admin)).Expect(201);
        var id = theirs["id"].GetString()!;
        foreach (var prefix in (string[])["red-", id[..1], id[..31]])
        {
            var key = KeyedService.Bearer(await KeyedService.CreateAsync(client, "trainer", prefix, first));
            foreach (var (found, missing) in new[] { ("blue-a", "blue-b"), (id, id[..31] + (id[31] == '0' ? '1' : '0')) })
            {
                // A name within the prefix that nobody has is created by PUT: that is no look.
                foreach (var call in Calls().Where(call => prefix == "red-" || call.Method != "PUT"))
                {
                    var (expected, asked) = (await AskedAsync(call, missing), await AskedAsync(call, found));
                    Assert.True(expected == asked && !asked.Contains("FindAsync", StringComparison.Ordinal), $"{call} asked {asked}, of none {expected}");
                }
            }

            async Task<string> AskedAsync((string Method, string Path, string? Body) call, string name)
            {
                store.TakeAsked();
                var answer = await client.SendAsync(new HttpMethod(call.Method), call.Path.Replace("{session}", name, StringComparison.Ordinal),
                    ServiceClient.JsonContent(call.Body?.Replace("{session}", name, StringComparison.Ordinal)), key);
                Assert.True(answer.Status == 404, $"{call} of {name}: {answer.Status} {answer.Text}");
                return store.TakeAsked();
            }
        }
    }

    [Fact]
    public async Task Ones_own_session_in_memory_is_found_without_the_store()
    {
        var store = new WatchedStore { IsShared = false };
        using var service = Service.Replacing(services => services.AddSingleton<ISessionStore>(store));
        var admin = await KeyedService.CreateAsync(service.Client, "admin", null, null);
        var red = KeyedService.Bearer(await KeyedService.CreateAsync(service.Client, "trainer", "red-", admin));
        var id = (await service.Client.PostAsync("/v1/sessions", """{"name":"red-a","num_features":2}""", red)).Expect(201)["id"].GetString()!;
        (await service.Client.PostAsync("/v1/sessions/red-a/train-step", X, red)).Expect(200);
        store.TakeAsked();
        foreach (var name in (string[])["red-a", id]) (await service.Client.PostAsync($"/v1/sessions/{name}/inference", X[..^16] + "}", red)).Expect(200);
        Assert.Equal("", store.TakeAsked());
    }

    // Whatever names a session in its path.
    private static List<(string Method, string Path, string? Body)> Calls()
    {
        var calls = new List<(string, string, string?)>();
        foreach (var operation in ApiDocument.CheckedIn.Operations.Where(operation => operation.Template.Contains("{session}", StringComparison.Ordinal)))
        {
            var body = operation.Element.TryGetProperty("requestBody", out var content)
                ? JsonSerializer.Serialize(content.GetProperty("content").GetProperty("application/json").GetProperty("example")) : null;
            var path = operation.Template.Replace("{version}", "2", StringComparison.Ordinal).Replace("{group}", "g", StringComparison.Ordinal);
            calls.Add((operation.Method, path + (path.Contains("/sync/", StringComparison.Ordinal) ? "?rank=0&world_size=1" : ""), body));
        }
        foreach (var path in (string[])["", "/config", "/ready", "/stats", "/versions/2", "/versions/2/ready"]) calls.Add(("GET", $"/v2/models/{{session}}{path}", null));
        calls.Add(("POST", "/v2/models/{session}/infer", """{"inputs":[{"name":"x","shape":[1,2],"datatype":"FP32","data":[1,2]}]}"""));
        return calls;
    }
}
