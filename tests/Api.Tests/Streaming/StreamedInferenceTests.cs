namespace BnService.Api.Tests.Streaming;

/// <summary>Inference that answers while its request is still arriving says what it says about a request that is there.</summary>
public sealed class StreamedInferenceTests : IDisposable
{
    private readonly Service _service = Service.OnKestrel();

    private static readonly Dictionary<string, (string Options, int[] Shape)> Layers = new()
    {
        ["dense"] = ("""{"num_features":37}""", [9001, 37]),
        ["dense, relu"] = ("""{"num_features":256,"activation":"relu"}""", [500, 256]),
        ["one feature"] = ("""{"num_features":1}""", [70001, 1]),
        ["NCHW"] = ("""{"num_features":7}""", [5, 7, 61, 43]),
        ["NCHW, one sample"] = ("""{"num_features":3,"activation":"relu"}""", [1, 3, 211, 207]),
        ["channels last"] = ("""{"num_features":7,"channel_axis":-1}""", [5, 61, 43, 7]),
        ["per activation"] = ("""{"num_features":7,"granularity":"per_activation"}""", [99, 7, 11, 13]),
        ["layer_norm"] = ("""{"normalized_shape":[129],"kind":"layer_norm"}""", [1001, 129]),
        ["layer_norm, large rows"] = ("""{"normalized_shape":[20011],"kind":"layer_norm"}""", [9, 20011]),
        ["rms_norm"] = ("""{"normalized_shape":[129],"kind":"rms_norm"}""", [1001, 129]),
        ["group_norm"] = ("""{"num_features":6,"kind":"group_norm","num_groups":3}""", [101, 6, 13, 11]),
        ["group_norm, two samples"] = ("""{"num_features":6,"kind":"group_norm","num_groups":3}""", [2, 6, 131, 110]),
        ["instance_norm"] = ("""{"num_features":5,"kind":"instance_norm"}""", [101, 5, 13, 11]),
        ["instance_norm, tracking"] = ("""{"num_features":5,"kind":"instance_norm","track_running_stats":true}""", [101, 5, 13, 11]),
        ["no statistics"] = ("""{"num_features":37,"track_running_stats":false}""", [9001, 37]),
    };

    public static TheoryData<string, string, string> LayersInEveryForm
    {
        get
        {
            var data = new TheoryData<string, string, string>();
            foreach (var layer in Layers.Keys)
            {
                foreach (var type in (string[])["F32", "F64", "F16"]) data.Add(layer, Forms.Npy, type);
                foreach (var type in (string[])["F32", "BF16"]) data.Add(layer, Forms.Safetensors, type);
            }
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(LayersInEveryForm))]
    public async Task A_streamed_answer_is_the_buffered_one(string layer, string form, string type)
    {
        var (options, shape) = Layers[layer];
        var session = await _service.CreateAsync(options);
        var rows = Math.Min(shape[0], 20);
        (await session.PostAsync("train-step", Message.Of(Batch.Random(5, [rows, .. shape[1..]])).With("retain", "false"), Forms.Npy)).Expect(200);
        // The elements repeat: making them is not what this is about.
        var x = Elements.In(type, Batch.Random(1, shape));
        var expected = await BufferedAsync(session, x);
        var body = Message.Of(x).Body(form, type);
        foreach (var piece in (int[])[65537, 8191 + 6])
        {
            using var connection = await _service.ConnectAsync();
            await connection.WriteHeadAsync("POST", $"{session.Path}/inference", ("Content-Type", form), ("Content-Length", $"{body.Length}"));
            var reading = connection.ReadAnswerAsync();
            await connection.WritePiecesAsync(body, piece);
            var answer = await reading;
            Assert.True(answer is { Status: 200, IsWhole: true }, $"{answer.Status} after {answer.Received} bytes: {(answer.Body.Length < 2000 ? answer.Text : "")}");
            Assert.Equal(form, answer.Headers["Content-Type"]);
            var isTracked = (await session.GetAsync()).ETag;
            Assert.Equal(isTracked, answer.Headers["ETag"]);
            SameAnswer.Same(expected, form == Forms.Npy ? ArrayFile.Parse(answer.Body) : TensorFile.Parse(answer.Body)["y"].Batch);
        }
    }

    [Theory]
    [InlineData(60 << 10)]
    [InlineData((128 << 10) - 200)]
    [InlineData(128 << 10)]
    [InlineData((128 << 10) + 4)]
    [InlineData(3_000_004)]
    public async Task Where_streaming_begins_nobody_notices(int bytes)
    {
        var session = await _service.CreateAsync("""{"num_features":1}""");
        var x = Batch.Random(1, bytes / 4, 1);
        var expected = await BufferedAsync(session, x);
        foreach (var form in (string[])[Forms.Npy, Forms.Safetensors])
        {
            var answer = (await session.PostAsync("inference", Message.Of(x), form)).Expect(200);
            SameAnswer.Same(expected, form == Forms.Npy ? answer.Array : answer.Tensors["y"].Batch);
            Assert.Equal($"{answer.Body.Length}", answer.Headers["Content-Length"]);
            var chunked = await _service.Client.SendAsync(HttpMethod.Post, $"{session.Path}/inference", new PiecewiseContent(Message.Of(x).Body(form), form, 10007));
            SameAnswer.Same(expected, form == Forms.Npy ? chunked.Expect(200).Array : chunked.Expect(200).Tensors["y"].Batch);
        }
    }

    /// <summary>Most clients read only when all has been sent.</summary>
    [Fact]
    public async Task A_client_that_sends_everything_before_it_reads_is_answered()
    {
        var megabytes = Environment.GetEnvironmentVariable("BN_SOAK") is null ? 16 : 256;
        var session = await _service.CreateAsync("""{"num_features":64}""");
        var body = ArrayFile.Of($"{{'descr': '<f4', 'fortran_order': False, 'shape': ({(megabytes * 4096) - 1}, 64), }}", new byte[((megabytes * 4096) - 1) * 256]);
        using var connection = await _service.ConnectAsync();
        await connection.WriteHeadAsync("POST", $"{session.Path}/inference", ("Content-Type", Forms.Npy), ("Content-Length", $"{body.Length}"));
        await connection.WriteAsync(body);
        var answer = await connection.ReadAnswerAsync();
        Assert.True(answer is { Status: 200, IsWhole: true }, $"{answer.Status} after {answer.Received} bytes");
        // Zeros in, zeros out: running mean 0, beta 0.
        Assert.Equal(body, answer.Body);
    }

    [Fact]
    public async Task A_shape_that_does_not_fit_is_refused_while_its_body_is_still_being_sent()
    {
        var session = await _service.CreateAsync("""{"num_features":64}""");
        var before = await session.StateAsync();
        foreach (var call in (string[])["train-step", "inference"])
        {
            foreach (var form in (string[])[Forms.Npy, Forms.Safetensors])
            {
                using var connection = await _service.ConnectAsync();
                var body = Message.Of(Batch.Random(1, 2000, 63)).Body(form);
                await connection.WriteHeadAsync("POST", $"{session.Path}/{call}", ("Content-Type", form), ("Content-Length", $"{body.Length}"));
                await connection.WriteAsync(body.AsMemory(0, 300));
                var answer = await connection.ReadAnswerAsync();
                Assert.Equal(422, answer.Status);
                Assert.Contains("expected 64 channels", answer.Text, StringComparison.Ordinal);
            }
        }
        Assert.Equal(before, await session.StateAsync());
    }

    [Fact]
    public async Task Diagnostics_see_batches_that_are_streamed()
    {
        var session = await _service.CreateAsync("""{"num_features":4}""");
        (await session.TrainAsync(Batch.Random(1, 100, 4))).Expect(200);
        Assert.Equal(System.Text.Json.JsonValueKind.Null, Inferred(await session.DiagnosticsAsync()).ValueKind);
        (await session.PostAsync("inference", Message.Of(Batch.Random(2, 50_000, 4)), Forms.Npy)).Expect(200);
        Assert.Equal(System.Text.Json.JsonValueKind.Object, Inferred(await session.DiagnosticsAsync()).ValueKind);
    }

    /// <summary>Statistics of a sample that has not arrived would be those of leftovers in memory.</summary>
    [Fact]
    public async Task The_sample_that_diagnostics_take_is_the_beginning_of_the_batch()
    {
        var session = await _service.CreateAsync("""{"num_features":4}""");
        (await session.TrainAsync(Batch.Random(1, 100, 4))).Expect(200);
        var other = await _service.CreateAsync("""{"num_features":4}""");
        (await other.TrainAsync(Batch.Random(1, 100, 4))).Expect(200);
        var x = Batch.Random(2, 50_000, 4);
        (await session.PostAsync("inference", Message.Of(x), Forms.Npy)).Expect(200);
        (await other.InferAsync(x.Rows(0, 16384))).Expect(200);
        Assert.Equal(Drift(await other.DiagnosticsAsync()), Drift(await session.DiagnosticsAsync()));
    }

    public void Dispose() => _service.Dispose();

    private static System.Text.Json.JsonElement Inferred(Answer diagnostics) => diagnostics.Expect(200)["drift"].GetProperty("inference");

    private static string Drift(Answer diagnostics) => string.Join(';', Inferred(diagnostics).EnumerateObject()
        .Where(field => field.Name is not ("at" or "observed_at")).Select(field => $"{field.Name}={field.Value.GetRawText()}"));

    // JSON in, an array out: read as a whole.
    private static async Task<Batch> BufferedAsync(SessionClient session, Batch x) =>
        (await session.PostAsync("inference", Forms.Json, Message.Of(x).Body(Forms.Json), ("Accept", Forms.Npy))).Expect(200).Array;
}
