using System.Text;

namespace BnService.Api.Tests.Auth;

/// <summary>No key is written anywhere: not by a process that logs all it can, not into an answer, not into the file.</summary>
public sealed class SecrecyTests
{
    [Fact]
    public async Task A_key_is_in_no_log_no_error_and_no_file()
    {
        var folder = Directory.CreateTempSubdirectory("bn-secrecy");
        var answers = new StringBuilder();
        string[] secrets;
        ServiceProcess service;
        using (service = await ServiceProcess.StartAsync(("Storage__Path", Path.Combine(folder.FullName, "bn.db")), ("Serilog__MinimumLevel__Default", "Verbose"),
            ("Serilog__MinimumLevel__Override__Microsoft.AspNetCore", "Information")))
        {
            var admin = await KeyedService.CreateAsync(service.Client, "admin", null, null);
            var reader = await KeyedService.CreateAsync(service.Client, "reader", "team-", admin);
            var rotated = (await service.Client.PostAsync($"/v1/keys/{KeyedService.IdOf(reader)}/rotate", null, KeyedService.Bearer(admin))).Expect(200)["key"].GetString()!;
            secrets = [.. new[] { admin, reader, rotated }.Select(key => key.Split('_', 3)[2])];
            foreach (var key in (string[])[admin, reader, rotated, rotated + "A"])
            {
                var (bearer, wrong) = (KeyedService.Bearer(key), $"/v1/sessions/{key}");
                foreach (var path in (string[])["/v1/sessions", "/v1/keys", wrong, $"{wrong}/stats", $"/v2/models/{key}", $"/v1/keys/{key}", $"/nosuch/{key}", $"/v1/sessions?cursor={key}",
                    $"/v1/sessions?kind={key}", $"/v1/sessions?limit={key}", $"/v1/sessions/a/stats?include={key}", $"/problems/{key}", $"/v1/sessions?key={key}", $"/v1/sessions/a/snapshots/{key}"])
                {
                    answers.Append((await service.Client.GetAsync(path, bearer)).Text);
                    answers.Append((await service.Client.GetAsync(path)).Text);
                }
                foreach (var body in (string[])[$$"""{"name":"{{key}}","num_features":2}""", $$"""{"{{key}}":1}""", $$"""{"num_features":"{{key}}"}""", $"\"{key}\"", key])
                    answers.Append((await service.Client.PostAsync("/v1/sessions", body, bearer)).Text);
                answers.Append((await service.Client.PostAsync("/v1/keys", $$"""{"name":"a b {{key}}","role":"{{key}}"}""", bearer)).Text);
                foreach (var header in (string[])["Accept", "If-Match", "Idempotency-Key", "Bn-Min-Version", "X-Request-Id", "Cookie"])
                    answers.Append((await service.Client.PostAsync("/v1/sessions/a/inference", """{"x":[[1]]}""", bearer, (header, key))).Text);
                answers.Append((await service.Client.GetAsync("/v1/sessions", ("Authorization", $"Basic {key}"))).Text);
            }
            answers.Append((await service.Client.GetAsync("/v1/keys", KeyedService.Bearer(admin))).Expect(200).Text);
            service.Terminate();
            Assert.Equal(0, await service.ExitAsync());
        }
        var everything = new Dictionary<string, string>
        {
            ["the log"] = string.Join('\n', service.Output) + service.Errors,
            ["an answer"] = answers.ToString(),
            ["the file"] = string.Concat(folder.GetFiles().Select(file => Encoding.Latin1.GetString(File.ReadAllBytes(file.FullName)))),
        };
        Assert.Contains("/v1/sessions/{session}/stats", everything["the log"], StringComparison.Ordinal);
        Assert.Contains("unauthorized", answers.ToString(), StringComparison.Ordinal);
        foreach (var (place, text) in everything) Assert.All(secrets, secret => Assert.False(text.Contains(secret, StringComparison.Ordinal), $"a key is in {place}"));
        folder.Delete(recursive: true);
    }
}
