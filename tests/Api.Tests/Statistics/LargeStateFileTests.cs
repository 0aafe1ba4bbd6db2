namespace BnService.Api.Tests.Statistics;

/// <summary>The file of a state whose arrays are all tensors, those within its parts as well, goes back bit by bit, whatever its names begin with.</summary>
public sealed class LargeStateFileTests : IClassFixture<Service>, IAsyncLifetime
{
    private const int Features = 5000;

    private static readonly (string, string) AsFile = ("Accept", Forms.Safetensors), AsText = ("Accept", Forms.Json);

    private readonly Service _service;
    private SessionClient _session = null!;
    private TensorFile _file = null!;

    public LargeStateFileTests(Service service) => _service = service;

    public async Task InitializeAsync()
    {
        _session = await _service.CreateAsync($$"""{"num_features":{{Features}}}""");
        (await _session.PostAsync("train-step", Message.Of(Batch.Random(1, 4, Features)).With("retain", "false"), Forms.Safetensors)).Expect(200);
        var update = new TensorFile().Add("dgamma", "F64", Numbers(2)).Add("dbeta", "F64", Numbers(3)).Text("update.optimizer", "adam").Text("update.learning_rate", "0.1");
        (await _session.PostAsync("update", Forms.Safetensors, update.ToBytes())).Expect(200);
        (await _session.PostAsync("calibration/batches", Message.Of(Batch.Random(4, 8, Features)), Forms.Safetensors)).Expect(200);
        _file = (await _session.GetStateAsync(AsFile)).Expect(200).Tensors;
        foreach (var part in (string[])["last_batch.var", "optimizer.gamma.second", "seen.mean_residual", "population.m2"]) Assert.Contains(part, _file.Names);
    }

    public Task DisposeAsync() => Task.CompletedTask;

    [Theory]
    [InlineData("", "")]
    [InlineData("", "?from=.")]
    [InlineData("module.", "")]
    [InlineData("module.", "?from=module")]
    [InlineData("module.layer1.0.bn.", "?from=layer1.0.bn.")]
    [InlineData("features/bn/", "")]
    [InlineData("", "?from=.", "head.weight", "head.bias", "seen.weight", "blocks.seen.mean")]
    [InlineData("bn1.", "?from=bn1", "conv.weight", "bn2.running_mean", "bn2.running_var", "bn2.weight", "bn1.0.weight", "weight")]
    public async Task It_goes_back(string prefix, string query, params string[] others)
    {
        foreach (var target in (string[])[$"new-{Guid.NewGuid():N}", _session.Name])
        {
            var file = new TensorFile();
            foreach (var other in others) file.Add(other, "F32", Numbers(9));
            foreach (var tensor in _file.Tensors) file.Add(prefix + tensor.Name, tensor.Type, tensor.Shape, tensor.Bytes);
            foreach (var (name, text) in _file.Texts) file.Text(name, text);
            var answer = await _service.Client.PutAsync($"/v1/sessions/{target}/state{query}", Forms.Safetensors, file.ToBytes(), AsText);
            Assert.InRange(answer.Status, 200, 201);
            if (others.Length > 0) Assert.Equal(others.Order(), answer.Json.GetProperty("ignored").EnumerateArray().Select(name => name.GetString()).Order());
            Same(_file, (await _service.Client.GetAsync($"/v1/sessions/{target}/state", AsFile)).Expect(200).Tensors);
        }
    }

    /// <summary>Without what is said beside the arrays such a part cannot be taken, and the layer can.</summary>
    [Theory]
    [InlineData("", "?from=.")]
    [InlineData("module.", "?from=module")]
    public async Task Arrays_alone_are_the_layer_without_its_parts(string prefix, string query)
    {
        var file = new TensorFile();
        foreach (var tensor in _file.Tensors) file.Add(prefix + tensor.Name, tensor.Type, tensor.Shape, tensor.Bytes);
        var name = $"alone-{Guid.NewGuid():N}";
        var answer = (await _service.Client.PutAsync($"/v1/sessions/{name}/state{query}", Forms.Safetensors, file.ToBytes(), AsText)).Expect(201);
        Assert.Contains($"{prefix}seen.mean", answer.Json.GetProperty("ignored").EnumerateArray().Select(ignored => ignored.GetString()));
        var again = (await _service.Client.GetAsync($"/v1/sessions/{name}/state", AsFile)).Expect(200).Tensors;
        Assert.Equal(_file["running_var"].Values, again["running_var"].Values);
    }

    /// <summary>A model may have a layer of such a name.</summary>
    [Fact]
    public async Task A_layer_that_is_called_like_a_part_can_be_asked_for()
    {
        var file = new TensorFile().Add("last_batch.mean", "F64", 1, 2).Add("last_batch.var", "F64", 3, 4).Add("conv.weight", "F32", 1).ToBytes();
        var name = $"called-{Guid.NewGuid():N}";
        (await _service.Client.PutAsync($"/v1/sessions/{name}/state?from=last_batch", Forms.Safetensors, file, AsText)).Expect(201).ExpectNumbers("running_var", 3, 4);
    }

    private static void Same(TensorFile expected, TensorFile actual)
    {
        Assert.Equal(expected.Names, actual.Names);
        foreach (var tensor in expected.Tensors)
        {
            Assert.Equal(tensor.Type, actual[tensor.Name].Type);
            Assert.True(tensor.Bytes.AsSpan().SequenceEqual(actual[tensor.Name].Bytes), tensor.Name);
        }
        Assert.Equal(Texts(expected), Texts(actual));

        static IEnumerable<KeyValuePair<string, string>> Texts(TensorFile file) =>
            file.Texts.Where(text => text.Key is not ("version" or "ignored")).OrderBy(text => text.Key, StringComparer.Ordinal);
    }

    private static double[] Numbers(int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, Features).Select(_ => random.NextDouble())];
    }
}
