using System.Globalization;

namespace BnService.EndToEnd.Faults;

/// <summary>Far more sessions than memory is granted for: those that nobody uses leave it, and come back as they were.</summary>
public sealed class ManySessionsTests : IDisposable
{
    private const int Clients = 8, Features = 256;
    private const long ResidentBytes = 4 << 20;

    // What the process takes beside sessions, generously: its code, its pools, the file's pages that are mapped.
    private const long BytesBeside = 400L << 20;

    private readonly string _folder = Directory.CreateTempSubdirectory("bn-many").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Sessions_leave_memory_and_come_back_as_they_were()
    {
        var sessions = Soak.Of(2_000, 100_000);
        (string, string)[] environment = [("Storage__Path", Path.Combine(_folder, "bn.db")), ("Sessions__MaxResidentBytes", $"{ResidentBytes}"), ("Serilog__MinimumLevel__Override__BnService.Request", "Warning")];
        // At 8 kB each they would take many times what is granted.
        Assert.True(sessions * Features * 4L * sizeof(double) > 2 * ResidentBytes);
        var trained = new int[sessions];
        using (var service = await ServiceProcess.StartAsync(environment))
        {
            await Task.WhenAll(Enumerable.Range(0, Clients).Select(async client =>
            {
                for (var i = client; i < sessions; i += Clients)
                    (await service.Client.PostAsync("/v1/sessions", $$"""{"name":"s{{i}}","num_features":{{Features}}}""")).Expect(201);
            }));
            await TrainSomeAsync(service, trained);
            await CheckListAsync(service, trained);
            Assert.InRange(service.ResidentBytes, 0, BytesBeside);
            service.Kill();
        }
        using var again = await ServiceProcess.StartAsync(environment);
        Assert.InRange(again.ResidentBytes, 0, BytesBeside);
        await TrainSomeAsync(again, trained);
        await CheckListAsync(again, trained);
        Soak.Report(string.Create(CultureInfo.InvariantCulture,
            $"{sessions} sessions of {Features} features with {ResidentBytes >> 20} MiB for them: {trained.Sum()} steps, 0 lost, {again.ResidentBytes >> 20} MiB resident"));
    }

    // Sessions from all over, each several times and by several clients, so that they leave and come back while they are trained.
    private static Task TrainSomeAsync(ServiceProcess service, int[] trained) => Task.WhenAll(Enumerable.Range(0, Clients).Select(async client =>
    {
        var random = new Random(client);
        for (var step = 0; step < 250; step++)
        {
            var i = random.Next(step % 3 == 0 ? 5 : trained.Length);
            var x = string.Create(CultureInfo.InvariantCulture, $$"""{"x":{"shape":[2,{{Features}}],"data":[{{string.Join(',', Enumerable.Range(0, 2 * Features).Select(e => e % 7))}}]},"retain":false}""");
            (await new SessionClient(service.Client, $"s{i}").TrainAsync(x)).Expect(200);
            Interlocked.Increment(ref trained[i]);
        }
    }));

    // The list knows every session once, newest first, with the steps that it was trained for.
    private static async Task CheckListAsync(ServiceProcess service, int[] trained)
    {
        var seen = new HashSet<string>();
        for (var cursor = ""; ;)
        {
            var page = (await service.Client.GetAsync($"/v1/sessions?limit=1000{cursor}")).Expect(200);
            foreach (var session in page["sessions"].EnumerateArray())
            {
                var name = session.GetProperty("name").GetString()!;
                Assert.True(seen.Add(name), name);
                Assert.Equal(trained[int.Parse(name[1..], CultureInfo.InvariantCulture)], session.GetProperty("num_batches_tracked").GetInt64());
            }
            if (page["next_cursor"].GetString() is not { } next) break;
            cursor = $"&cursor={next}";
        }
        Assert.Equal(trained.Length, seen.Count);
    }
}
