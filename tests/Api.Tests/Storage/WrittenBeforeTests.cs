using System.IO.Compression;
using System.Text.Json;

namespace BnService.Api.Tests.Storage;

/// <summary>
/// A file that version 0.1.0 has written with the SQLite of its time, 3.35.5, and left in the middle of its work (<c>kill -9</c>): a session of
/// each kind with steps, optimizer buffers, answers under keys, a snapshot and calibration. Beside it is what that version went on to answer,
/// but for one thing that it did wrong: a calibration commit takes over the biased variance where unbiased_running_var is false.
/// </summary>
public sealed class WrittenBeforeTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("bn-before").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task A_file_of_the_version_before_goes_on_bit_by_bit_as_it_would_have_with_that_version()
    {
        var data = Path.Combine(Repository.Root, "tests", "Api.Tests", "Storage", "Written", "0.1.0");
        await ZipFile.ExtractToDirectoryAsync(data + ".zip", _folder);
        await using var expected = File.OpenRead(data + ".json");
        using var document = await JsonDocument.ParseAsync(expected);
        using var service = Service.With(("Storage:Engine", "sqlite"), ("Storage:Path", Path.Combine(_folder, "bn.db")));
        (await service.Client.GetAsync("/v1/sessions/batch")).ExpectProblem("unauthorized");
        var key = KeyedService.Bearer(document.RootElement.GetProperty("key").GetString()!);
        foreach (var call in document.RootElement.GetProperty("calls").EnumerateArray())
        {
            var (method, path) = (call.GetProperty("method").GetString()!, call.GetProperty("path").GetString()!);
            var content = ServiceClient.JsonContent(call.TryGetProperty("body", out var body) ? body.GetRawText() : null);
            var isRepeated = call.TryGetProperty("key", out var name);
            var answer = await service.Client.SendAsync(new HttpMethod(method), path, content, isRepeated ? [key, ("Idempotency-Key", name.GetString()!)] : [key]);
            Assert.Equal(isRepeated, answer.Expect(200).Headers.ContainsKey("Idempotent-Replayed"));
            Contains(call.GetProperty("answer"), answer.Json, $"{method} {path}");
        }
    }

    // What was said then is said now; more may be.
    private static void Contains(JsonElement expected, JsonElement actual, string where)
    {
        if (expected.ValueKind == JsonValueKind.Object)
        {
            foreach (var member in expected.EnumerateObject())
            {
                Assert.True(actual.TryGetProperty(member.Name, out var value), $"{where}: {member.Name} is missing");
                Contains(member.Value, value, $"{where}: {member.Name}");
            }
            return;
        }
        if (expected.ValueKind == JsonValueKind.Array)
        {
            Assert.Equal(expected.GetArrayLength(), actual.GetArrayLength());
            foreach (var (one, other) in expected.EnumerateArray().Zip(actual.EnumerateArray())) Contains(one, other, where);
            return;
        }
        Assert.True(JsonElement.DeepEquals(expected, actual), $"{where}: {expected} was expected and {actual} has come");
    }
}
