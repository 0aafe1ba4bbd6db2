using System.Globalization;
using System.IO.Compression;
using Microsoft.Extensions.DependencyInjection;

namespace BnService.Api.Tests.Memory;

/// <summary>Large bodies that hardly come hold memory that others wait for.</summary>
public sealed class SlowBodiesTests
{
    private const int Bytes = 6 << 20, Clients = 12;

    private static readonly int[] Shape = [Bytes / sizeof(float) / 64, 64];

    private static readonly string Input = ModelClient.BinaryInput(Shape, "FP32", Bytes);

    private static readonly string
        Infer = $$"""{"inputs":[{{Input}}]}""",
        Streamed = $$"""{"parameters":{"binary_data_output":true},"inputs":[{{Input}}]}""";

    // What is sent of each, before nothing more comes.
    private static readonly Dictionary<string, Slow> All = new()
    {
        ["json"] = new("POST", "/v1/sessions/one/inference", Forms.Json, """{"x":[["""u8.ToArray(), Bytes),
        ["npy"] = new("POST", "/v1/sessions/one/inference", Forms.Npy, Array(), Length(Array())),
        ["npy in chunks"] = new("POST", "/v1/sessions/one/inference", Forms.Npy, Array()),
        ["npy in gzip"] = new("POST", "/v1/sessions/one/inference", Forms.Npy, Gzip(Array()), Coding: "gzip"),
        ["npy that is answered while it comes"] = new("POST", "/v1/sessions/one/inference", Forms.Npy, Array(), Length(Array()),
            Accept: Forms.Npy),
        ["safetensors in chunks"] = new("POST", "/v1/sessions/one/inference", Forms.Safetensors, File("x")),
        ["two tensors of a backward"] = new("POST", "/v1/sessions/one/backward", Forms.Safetensors, File("x", "dy")),
        ["a state"] = new("PUT", "/v1/sessions/one/state", Forms.Json, """{"gamma":["""u8.ToArray(), Bytes),
        ["v2"] = new("POST", "/v2/models/one/infer", Forms.Json, """{"inputs":["""u8.ToArray(), Bytes),
        ["v2, binary"] = new("POST", "/v2/models/one/infer", "", Text(Infer), Bytes + Infer.Length, HeaderLength: Infer.Length),
        ["v2, binary in chunks"] = new("POST", "/v2/models/one/infer", "", Text(Infer), HeaderLength: Infer.Length),
        ["v2, binary in gzip"] = new("POST", "/v2/models/one/infer", "", Gzip(Text(Infer)), Bytes / 4, Coding: "gzip",
            HeaderLength: Infer.Length),
        ["v2, answered while it comes"] = new("POST", "/v2/models/one/infer", "", Text(Streamed), Bytes + Streamed.Length,
            HeaderLength: Streamed.Length),
        ["v2, raw"] = new("POST", "/v2/models/one/infer", "", [1, 2, 3], Bytes, HeaderLength: 0),
    };

    public static TheoryData<string> Names => [.. All.Keys];

    [Theory]
    [MemberData(nameof(Names))]
    public async Task A_body_that_hardly_comes_gives_way_to_those_that_wait_for_its_memory(string name)
    {
        using var service = Service.OnKestrel(("Memory:BudgetBytes", $"{64 << 20}"));
        var session = await service.CreateAsync("""{"name":"one","num_features":64}""");
        var batch = Batch.Random(1, 4000, 64);
        (await session.InferAsync(batch)).Expect(200);
        var body = All[name];
        var slow = new List<RawConnection>();
        try
        {
            // More than there is room for: some wait, and are refused.
            for (var i = 0; i < Clients; i++)
            {
                slow.Add(await service.ConnectAsync());
                await body.BeginAsync(slow[i]);
            }
            var answers = slow.ConvertAll(StatusAsync);
            await Task.Delay(2500);
            Assert.InRange(service.UsedMemory, 40L << 20, 64L << 20);
            // As it was, nothing of this size was answered for as long as the slow ones pleased.
            (await session.InferAsync(batch)).Expect(200);
            await Eventually.TrueAsync(() => answers.Exists(answer => answer.IsCompleted && answer.Result == body.Status), "none has given way");
            Assert.All(answers.Where(answer => answer.IsCompleted), answer => Assert.NotNull(answer.Result));
        }
        finally
        {
            slow.ForEach(connection => connection.Dispose());
        }
        await Eventually.EqualAsync(0, () => service.UsedMemory);
    }

    /// <summary>What does not say how large it will be holds what has come of it.</summary>
    [Theory]
    [InlineData("/v1/sessions/one/inference", 408, true)]
    [InlineData("/v1/sessions/one/inference", 408, false)]
    [InlineData("/v2/models/one/infer", 400, true)]
    public async Task A_body_of_no_length_that_comes_no_further_gives_way(string path, int status, bool waits)
    {
        var time = new JumpingTime();
        using var service = Service.OnKestrel(services => services.AddSingleton<TimeProvider>(time), ("Memory:BudgetBytes", $"{64 << 20}"));
        var session = await service.CreateAsync("""{"name":"one","num_features":64}""");
        var text = "[" + string.Concat(Enumerable.Repeat("1,2,3,4,", 1 << 17)); // 1 MiB
        using var slow = await service.ConnectAsync();
        await slow.WriteHeadAsync("POST", path, ("Content-Type", Forms.Json), ("Transfer-Encoding", "chunked"));
        for (var i = 0; i < 20; i++) await slow.WriteChunkAsync(text);
        var answer = StatusAsync(slow);
        await Eventually.TrueAsync(() => service.UsedMemory >= 20 << 20, "it holds nothing");
        await Eventually.SettledAsync(() => service.UsedMemory);
        time.JumpBy(TimeSpan.FromSeconds(61));
        using var others = service.Occupy(60 << 20);
        if (waits) await session.InferAsync(Batch.Random(1, 4000, 64));
        else
        {
            using var refused = await service.ConnectAsync();
            await refused.WriteHeadAsync("POST", path, ("Content-Type", Forms.Json), ("Transfer-Encoding", "chunked"));
            for (var i = 0; i < 8; i++) await refused.WriteChunkAsync(text);
            Assert.Equal(503, await StatusAsync(refused));
        }
        await Eventually.TrueAsync(() => answer.IsCompleted, "it has not given way");
        Assert.Equal(status, await answer);
    }

    // Of an answer that has come to its end.
    private static async Task<int?> StatusAsync(RawConnection connection) =>
        await connection.ReadAnswerAsync() is { IsWhole: true } answer ? answer.Status : null;

    private static byte[] Text(string text) => System.Text.Encoding.UTF8.GetBytes(text);

    private static byte[] Array() => ArrayFile.Of($"{{'descr': '<f4', 'fortran_order': False, 'shape': ({Shape[0]}, 64), }}", []);

    private static int Length(byte[] head) => head.Length + Bytes;

    private static byte[] File(params string[] names) => TensorFile.Of(
        $"{{{string.Join(',', names.Select((name, i) => $$"""
            "{{name}}":{"dtype":"F32","shape":[{{Shape[0]}},64],"data_offsets":[{{i * Bytes}},{{(i + 1) * Bytes}}]}
            """))}}}");

    // As much of it as tells what is coded.
    private static byte[] Gzip(byte[] body)
    {
        using var coded = new MemoryStream();
        using var gzip = new GZipStream(coded, CompressionLevel.Fastest);
        gzip.Write(body);
        gzip.Flush();
        return coded.ToArray();
    }

    /// <summary>A request whose body is large, and of which only the beginning comes.</summary>
    private sealed record Slow(string Method, string Path, string Form, byte[] Begin, int? Length = null,
        string Coding = "", string Accept = "*/*", int? HeaderLength = null)
    {
        // The other protocol has no status for it.
        public int Status => Path.StartsWith("/v2", StringComparison.Ordinal) ? 400 : 408;

        public async Task BeginAsync(RawConnection connection)
        {
            List<(string, string)> headers =
                [("Accept", Accept), Length is { } length ? ("Content-Length", Number(length)) : ("Transfer-Encoding", "chunked")];
            if (Form.Length > 0) headers.Add(("Content-Type", Form));
            if (Coding.Length > 0) headers.Add(("Content-Encoding", Coding));
            if (HeaderLength is { } header) headers.Add((ModelClient.LengthHeader, Number(header)));
            await connection.WriteHeadAsync(Method, Path, [.. headers]);
            await (Length is null ? connection.WriteChunkAsync(Begin) : connection.WriteAsync(Begin));
        }

        private static string Number(int number) => number.ToString(CultureInfo.InvariantCulture);
    }
}
