using System.Net;
using System.Net.Sockets;
using BnService.Core.Simd;

namespace BnService.Api.Tests.Running;

public sealed class ConfigurationTests
{
    [Theory]
    [InlineData("Retention__MaxBytes", "-1", "Retention:MaxBytes must be from 0 to 2^50 bytes, got '-1'")]
    [InlineData("Retention__MaxBytes", "abc", "Retention:MaxBytes must be a whole number, got 'abc'")]
    [InlineData("Retention__TimeToLive", "00:00:00", "Retention:TimeToLive must be from 00:00:00.001 to 365 days, got '00:00:00'")]
    [InlineData("Compute__Width", "77", "Compute:Width must be auto, 512, 256, 128 or 1, got '77'")]
    [InlineData("Compute__Threads", "0", "Compute:Threads must be from 1 to 1024, got '0'")]
    [InlineData("Storage__Engine", "nosuch", "Storage:Engine must be sqlite, postgres or memory, got 'nosuch'")]
    [InlineData("Auth__Mode", "open", "Auth:Mode must be keys or none, got 'open'")]
    [InlineData("Auth__MaxKeys", "0", "Auth:MaxKeys must be from 1 to 100000, got '0'")]
    [InlineData("Sessions__MaxResidentBytes", "1", "Sessions:MaxResidentBytes must be from 1024 to 2^50 bytes, got '1'")]
    [InlineData("Limits__MaxBodyBytes", "5", "Limits:MaxBodyBytes must be from 1024 to 2^30 bytes, got '5'")]
    [InlineData("Limits__MaxFeatures", "0", "Limits:MaxFeatures must be from 1 to 2^26, got '0'")]
    [InlineData("Limits__MaxSessions", "1.5", "Limits:MaxSessions must be a whole number, got '1.5'")]
    [InlineData("Storage__Durability", "never", "Storage:Durability must be step or interval, got 'never'")]
    [InlineData("Storage__RefreshMs", "-1", "Storage:RefreshMs must be from 0 to 60000 milliseconds, got '-1'")]
    [InlineData("Limits__MaxSnapshots", "0", "Limits:MaxSnapshots must be from 1 to 10000, got '0'")]
    [InlineData("Memory__BudgetBytes", "1000", "Memory:BudgetBytes must be from 2^20 to 2^50 bytes, got '1000'")]
    [InlineData("Memory__WaitTime", "-00:00:01", "Memory:WaitTime must be from 00:00:00 to 00:05:00, got '-00:00:01'")]
    [InlineData("Memory__TrimAfter", "00:00:00", "Memory:TrimAfter must be from 00:00:00.100 to 01:00:00, got '00:00:00'")]
    [InlineData("Limits__MaxElements", "0", "Limits:MaxElements must be 1 or more, got '0'")]
    [InlineData("Limits__MaxRank", "6", "Limits:MaxRank must be from 2 to 5, got '6'")]
    [InlineData("Limits__RequestsPerSecond", "-1", "Limits:RequestsPerSecond must be from 0 to 10000000, got '-1'")]
    [InlineData("Limits__RequestBurst", "0", "Limits:RequestBurst must be from 1 to 10000000, got '0'")]
    [InlineData("Limits__MaxConcurrentRequests", "0", "Limits:MaxConcurrentRequests must be from 1 to 1000000, got '0'")]
    [InlineData("Limits__MinBytesPerSecond", "-1", "Limits:MinBytesPerSecond must be from 0 to 2^30, got '-1'")]
    [InlineData("Limits__MinRateGrace", "00:00:01", "Limits:MinRateGrace must be from 00:00:02 to 01:00:00, got '00:00:01'")]
    [InlineData("Limits__MaxHeaderBytes", "100", "Limits:MaxHeaderBytes must be from 1024 to 2^18 bytes, got '100'")]
    [InlineData("Limits__RequestTime", "00:00:00", "Limits:RequestTime must be from 00:00:00.100 to 1 day, got '00:00:00'")]
    [InlineData("Limits__RequestTime", "00:00:10", "Limits:RequestTime must be at least Sync:Timeout, 00:00:30, got '00:00:10'")]
    [InlineData("Sync__Timeout", "00:10:00", "Limits:RequestTime must be at least Sync:Timeout, 00:10:00, got '00:05:00'")]
    [InlineData("Compute__LargeBatches", "0", "Compute:LargeBatches must be from 1 to 1024, got '0'")]
    [InlineData("Node__Name", "a:b", "Node:Name must be 1 to 64 letters, digits, '.', '_' or '-', got 'a:b'")]
    [InlineData("Node__Name", "", "Node:Name must be 1 to 64 letters, digits, '.', '_' or '-', got ''")]
    [InlineData("Node__Name", "node-567890123456789012345678901234567890123456789012345678901234", "Node:Name must be 1 to 64 letters")]
    [InlineData("Shutdown__Drain", "-00:00:01", "Shutdown:Drain must be from 00:00:00 to 01:00:00, got '-00:00:01'")]
    public async Task A_wrong_value_ends_the_start_with_its_key_and_what_is_allowed(string name, string value, string words)
    {
        var (exitCode, _, errors) = await ServiceProcess.RunAsync([], (name, value), ("ASPNETCORE_URLS", "http://127.0.0.1:0"));
        Assert.Equal(1, exitCode);
        Assert.Contains(words, errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", errors, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Several_wrong_values_are_all_told()
    {
        var (exitCode, _, errors) = await ServiceProcess.RunAsync(["--Compute:Threads", "0"],
            ("Retention__MaxBytes", "-1"), ("Compute__Width", "77"), ("ASPNETCORE_URLS", "http://127.0.0.1:0"));
        Assert.Equal(1, exitCode);
        foreach (var key in (string[])["Retention:MaxBytes must be", "Compute:Threads must be", "Compute:Width must be"])
            Assert.Contains(key, errors, StringComparison.Ordinal);
        Assert.DoesNotContain("   at ", errors, StringComparison.Ordinal);
    }

    /// <summary>A width that the machine has not is refused by name; every other one computes the same layer.</summary>
    [Theory]
    [InlineData(1)]
    [InlineData(128)]
    [InlineData(256)]
    [InlineData(512)]
    public async Task Every_vector_width_that_the_machine_has_works(int width)
    {
        if (!VectorWidths.IsSupported((VectorWidth)width))
        {
            var (exitCode, _, errors) = await ServiceProcess.RunAsync([], ("Compute__Width", $"{width}"));
            Assert.Equal(1, exitCode);
            Assert.Contains($"Compute:Width must be auto or at most {(int)VectorWidths.Widest}", errors, StringComparison.Ordinal);
            return;
        }
        using var service = Service.With(("Compute:Width", $"{width}"));
        foreach (var shape in (int[][])[[37, 19], [5, 3, 7, 9]])
        {
            var session = await service.CreateAsync($$"""{"num_features":{{shape[1]}}}""");
            var (x, dy, layer) = (Batch.Random(1, shape), Batch.Random(2, shape), new ReferenceLayer(shape[1]));
            var answer = (await session.TrainAsync(x, retain: true)).Expect(200);
            Accuracy.Outputs_are(layer.Train(x), x, answer.Tensor("y"));
            Accuracy.Batch_statistics_are(layer.StatisticsOf(x), x, answer);
            Accuracy.Outputs_are(layer.Infer(x), x, (await session.InferAsync(x)).Expect(200).Tensor("y"));
            Accuracy.Gradients_are(layer.BackwardThroughBatch(x, dy), x, (await session.BackwardAsync(answer.StepId!, dy)).Expect(200));
        }
    }

    /// <summary>The partition of a sum depends on the shape alone: the same bits for any number of threads and under any load.</summary>
    [Theory]
    [InlineData(4000, 48)]
    [InlineData(16, 3, 64, 64)]
    public async Task The_number_of_threads_does_not_show_in_any_bit(params int[] shape)
    {
        var x = Batch.Random(1, shape).Json;
        var dy = Batch.Random(2, shape).Json;
        var answers = new List<string[]>();
        foreach (var threads in (string[])["1", "2", "7"])
        {
            using var service = Service.With(("Compute:Threads", threads));
            var session = await service.CreateAsync($$"""{"num_features":{{shape[1]}},"activation":"relu"}""");
            var first = (await session.TrainAsync($$"""{"x":{{x}},"retain":false}""")).Expect(200).Text;
            // Under load as well.
            var rest = await Task.WhenAll(
                Task.Run(() => session.InferAsync($$"""{"x":{{x}}}""")),
                Task.Run(() => session.BackwardAsync($$"""{"x":{{x}},"dy":{{dy}}}""")),
                Task.Run(() => session.BackwardAsync($$"""{"x":{{x}},"dy":{{dy}},"mode":"inference"}""")));
            answers.Add([first, .. rest.Select(answer => answer.Expect(200).Text)]);
        }
        // Not by Assert.Equal: of megabytes it would print megabytes.
        Assert.All(answers, others => Assert.True(others.SequenceEqual(answers[0]), "the bits differ"));
    }

    [Fact]
    public async Task An_address_in_use_ends_the_start_in_one_line()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var address = $"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}";
        await RefusesAddressAsync(address, $"Failed to bind to address {address}: address already in use");
    }

    [Theory]
    [InlineData("localhost", "Invalid url: 'localhost'")]
    [InlineData("http://localhost:0", "Dynamic port binding is not supported when binding to localhost")]
    [InlineData("http://localhost:99999", "Parameter 'port'")]
    [InlineData("http://localhost:5000/base", "path base")]
    [InlineData("ftp://localhost:5000", "Unrecognized scheme in server address 'ftp://localhost:5000'")]
    [InlineData("http://192.0.2.1:5000", "Cannot assign requested address")]
    public Task An_address_that_cannot_be_listened_at_ends_the_start_in_one_line(string address, string words) => RefusesAddressAsync(address, words);

    private static async Task RefusesAddressAsync(string address, string words)
    {
        var (exitCode, output, errors) = await ServiceProcess.RunAsync(["--Urls", address, "--Auth:Mode", "none"]);
        Assert.Equal(1, exitCode);
        Assert.StartsWith("configuration: the service cannot listen: ", errors, StringComparison.Ordinal);
        Assert.Contains(words, errors, StringComparison.Ordinal);
        Assert.EndsWith("Another address is given by --Urls http://localhost:5001", errors.TrimEnd(), StringComparison.Ordinal);
        Assert.DoesNotContain(output, line => line.Contains(" ERR ", StringComparison.Ordinal) || line.StartsWith("   at ", StringComparison.Ordinal));
    }
}
