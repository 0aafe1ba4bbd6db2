using System.Runtime.InteropServices;
using System.Text;
using BnService.Api.Sessions;
using BnService.Api.Wire.Safetensors;
using BnService.Core.Layers;
using BnService.Core.Normalizers;
using BnService.Core.Statistics;

namespace BnService.Api.Tests.Sessions;

/// <summary>An array that holds one value throughout, as all of a new session do, is stored as that value and kept in memory once.</summary>
public sealed class ConstantArraysTests : IDisposable
{
    private const int Features = 1 << 20;

    private readonly string _folder = Directory.CreateTempSubdirectory("bn-constant").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>Each was 33.6 MB.</summary>
    [Fact]
    public async Task New_sessions_of_a_million_features_take_next_to_nothing()
    {
        var storage = ("Storage__Path", Path.Combine(_folder, "bn.db"));
        using (var service = await ServiceProcess.StartAsync(storage))
        {
            await CreateAsync(service.Client);
            Assert.InRange(new DirectoryInfo(_folder).EnumerateFiles().Sum(file => file.Length), 0, 2_000_000);
            service.Kill();
        }
        using var again = await ServiceProcess.StartAsync(storage);
        var tensors = (await again.Client.GetAsync("/v1/sessions/s7/state", ("Accept", Forms.Safetensors))).Expect(200).Tensors;
        Assert.True(Same(tensors["weight"].Values, Enumerable.Repeat(-0.0, Features)));
        Assert.True(Same(tensors["running_var"].Values, Enumerable.Repeat(1.0, Features)));
    }

    /// <summary>Where nothing but memory has them, with less room than one of them took.</summary>
    [Fact]
    public async Task They_take_next_to_nothing_of_memory_either()
    {
        using var service = Service.With(("Sessions:MaxResidentBytes", "500000"));
        await CreateAsync(service.Client);
    }

    [Fact]
    public void What_is_stored_is_read_bit_by_bit()
    {
        double[][] kinds =
        [
            Of(0.0), Of(-0.0), Of(1.0), Of(double.Epsilon), Of(double.NaN), Of(BitConverter.Int64BitsToDouble(0x7FF8_0000_0000_0001)), Of(double.NegativeInfinity),
            [.. Of(1.0)[1..], 2], [2, .. Of(1.0)[1..]], [.. Of(0.0)[..1000], -0.0, .. Of(0.0)[1001..]],
        ];
        foreach (var array in kinds)
        {
            var record = Record(array);
            var read = SessionEncoding.Decode(SessionEncoding.Encode(record)).Layer;
            foreach (var (written, found) in Arrays(record.Layer).Zip(Arrays(read))) Assert.True(Same(written, found));
        }

        static double[] Of(double value) => [.. Enumerable.Repeat(value, 5000)];
    }

    /// <summary>The service of before has written each element of each array.</summary>
    [Fact]
    public void A_state_of_the_version_before_means_the_same()
    {
        var record = Record([.. Enumerable.Repeat(0.5, 5000)]);
        var stored = SessionEncoding.Encode(record);
        var file = new SafetensorsFile();
        var arrays = new SafetensorsArrays(stored.State);
        foreach (var name in arrays.Names) file.Add(name, arrays[name]);
        var before = file.ToArray();
        // It had no checksums either, which are the last member.
        stored = stored with { Header = Encoding.UTF8.GetBytes(string.Concat(Encoding.UTF8.GetString(stored.Header.Span).Split(",\"Sums\":")[0], "}")) };
        Assert.True(before.Length > 16 * 40_000 && stored.State.Length < 3000, $"{before.Length} and {stored.State.Length} bytes");
        foreach (var (written, found) in Arrays(record.Layer).Zip(Arrays(SessionEncoding.Decode(stored with { State = before }).Layer))) Assert.True(Same(written, found));
    }

    /// <summary>Those refused the states of all layers that a newer node had stored, while nodes were replaced one after the other.</summary>
    [Fact]
    public async Task Nodes_of_before_read_the_states_of_layers_of_a_common_size()
    {
        using var service = new Service();
        var file = new SafetensorsFile();
        file.AddShort("running_mean", new double[4096]);
        file.AddShort("running_var", [.. Enumerable.Repeat(1.0, 4096)]);
        (await service.Client.SendAsync(HttpMethod.Put, "/v1/sessions/new/state", ServiceClient.Content(Forms.Safetensors, file.ToArray()))).Expect(201);
    }

    /// <summary>A few bytes that stand for many are nothing that a caller may send.</summary>
    [Fact]
    public async Task The_short_form_is_refused_where_callers_send_it()
    {
        using var service = new Service();
        var file = new SafetensorsFile();
        file.AddShort("weight", new double[Features]);
        (await service.Client.SendAsync(HttpMethod.Put, "/v1/sessions/new/state", ServiceClient.Content(Forms.Safetensors, file.ToArray())))
            .ExpectProblem("malformed-body", "8 bytes");
    }

    [Fact]
    public void Layers_that_share_an_array_have_each_its_own_offset()
    {
        var layers = new[] { 1.0, 2.0, 0.0, 1.0 }
            .Select(offset => LayerState.Create(new NormalizerOptions { NumFeatures = 5000, GammaOffset = offset, GammaInit = 0 })).ToList();
        Assert.All(layers, layer => Assert.Same(layers[0].Gamma, layer.Gamma));
        foreach (var layer in layers.Concat(layers)) Assert.Equal(layer.Options.GammaOffset, layer.EffectiveGamma![4999]);
    }

    private static SessionRecord Record(double[] array) => new("id", "name", new Dictionary<string, string>(), default, default, LayerState.Create(new NormalizerOptions { NumFeatures = array.Length }) with
    {
        Gamma = array,
        Beta = array,
        Running = new RunningStatistics(array, array, 3, isInitial: false),
        LastBatch = new LastBatch(array, array, 5),
        Optimizer = new OptimizerBuffers(Optimizer.Adam, 2, new(array, array), new(array, array)),
        Seen = new Moments(7, array, array, array),
        Population = new PopulationEstimate(new Moments(7, array, array, array), 2),
    });

    private static double[][] Arrays(LayerState layer) =>
    [
        layer.Gamma!, layer.Beta!, layer.Running!.Mean, layer.Running.Variance, layer.LastBatch!.Mean, layer.LastBatch.Variance,
        layer.Optimizer!.Gamma!.First, layer.Optimizer.Gamma.Second, layer.Optimizer.Beta!.First, layer.Optimizer.Beta.Second,
        layer.Seen!.Mean, layer.Seen.MeanResidual, layer.Seen.M2, layer.Population!.Moments.Mean, layer.Population.Moments.MeanResidual, layer.Population.Moments.M2,
    ];

    private static bool Same(double[] a, IEnumerable<double> b) =>
        MemoryMarshal.AsBytes<double>(a).SequenceEqual(MemoryMarshal.AsBytes<double>(b.ToArray()));

    private static async Task CreateAsync(ServiceClient client)
    {
        for (var i = 0; i < 20; i++)
        {
            var session = await client.CreateAsync($$"""{"name":"s{{i}}","num_features":{{Features}},"gamma_init":-0.0}""");
            (await session.SnapshotAsync()).Expect(201);
        }
    }
}
