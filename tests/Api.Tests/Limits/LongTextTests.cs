namespace BnService.Api.Tests.Limits;

/// <summary>
/// A few kilobytes of gzip that hold arrays and texts of many megabytes: each is refused by the bound of its field, before memory is taken for
/// what is in it.
/// </summary>
[Collection(WholeProcess.Name)]
public sealed class LongTextTests
{
    private const int Length = 24 << 20, Short = 440 << 10;

    // Of which the text itself, in pooled memory, is none.
    private const long MostAllocated = 16 << 20;

    public static TheoryData<string, string, string, string, string> Texts => new()
    {
        { "POST sessions", """{"kind":"layer_norm","normalized_shape":[""", "1,", "1]}", "invalid-option normalized_shape has at most 4 entries" },
        { "POST sessions", """{"num_features":2,"labels":{""", "\"a\":\"\",", "\"b\":\"\"}}", "invalid-option labels has at most" },
        { "POST sessions", """{"num_features":2,"labels":{"a":" """, "aaaaaaaa", "\"}}", "invalid-option labels takes at most 262144 bytes" },
        { "POST sessions", """{"num_features":2,"name":" """, "aaaaaaaa", "\"}", "invalid-option name takes at most 262144 bytes" },
        { "POST sessions", """{"num_features":2," """, "aaaaaaaa", "\":1}", "invalid-option a field's name has at most 1024 bytes" },
        { "POST sessions", """{"num_features":2,"kind":" """, "aaaaaaaa", "\"}", "invalid-option kind takes at most" },
        { "POST sessions", """{"num_features":2,"labels":""", "[", "", "malformed-body nested deeper than 64 levels" },
        { "PUT sessions/s/parameters", """{"gamma":[""", "1,", "1]}", "limit-reached gamma has at most 1048576 values (Limits:MaxFeatures)" },
        { "PUT sessions/s/running-stats", """{"running_var":[""", "1,", "1]}", "limit-reached running_var has at most 1048576 values" },
        { "PUT sessions/s/state", """{"blobs":[""", "[],", "[]]}", "invalid-option blobs has at most 1024 entries" },
        { "PUT sessions/s/state", """{"seen":{"mean":[""", "1,", "1]}}", "limit-reached seen.mean has at most 1048576 values" },
        { "PUT sessions/s/state", """{"layer.weight":[""", "1,", "1]}", "limit-reached weight has at most 1048576 values" },
        { "PUT sessions/s/state", """{" """, "aaaaaaaa", "\":{\"a\":1}}", "invalid-option a field's name has at most 1024 bytes" },
        { "POST sessions/s/merge", """{"sessions":[""", "\"a\",", "\"a\"]}", "invalid-option sessions has at most 1024 entries" },
        { "POST sessions/s/merge", """{"moments":[""", "{\"count\":1,\"mean\":[],\"m2\":[]},", "{}]}", "invalid-option moments has at most 1024 entries" },
        { "POST sessions/s/train-step", """{"x":[[1,2],[3,4]],"mask":{"data":[true],"shape":[""", "1,", "1]}}", "shape-mismatch mask.shape has at most" },
        { "POST sessions/s/train-step", """{"x":{"shape":[""", "1,", "1],\"data\":[]}}", "shape-mismatch x.shape has at most" },
        { "POST sessions/s/train-step", """{"x":[""", "[],", "[1]]}", "shape-mismatch x is ragged" },
        { "POST sessions/s/fold", """{"layer":"linear","weight":[[1]],"padding":[""", "1,", "1]}", "invalid-option padding has at most 6 entries" },
        { "POST sessions/s/snapshots", """{"description":" """, "aaaaaaaa", "\"}", "invalid-option description takes at most" },
        { "POST sessions/s/reset", """{"parameters":[""", "1,", "1]}", "invalid-option parameters" },
        { "POST keys", """{"name":"a","role":"admin","prefix":" """, "aaaaaaaa", "\"}", "invalid-option prefix takes at most" },
    };

    [Theory]
    [MemberData(nameof(Texts))]
    public async Task It_is_refused_by_the_bound_of_its_field(string call, string before, string each, string after, string problem)
    {
        using var service = new Service();
        await service.CreateAsync("""{"name":"s","num_features":2}""");
        var (method, path) = (call.Split(' ')[0], call.Split(' ')[1]);
        var isShort = path is "sessions" or "keys" or "sessions/s/snapshots" or "sessions/s/reset";
        var body = Coded.Gzip(before, each, after, isShort ? Short : Length);
        Assert.True(body.Length < 400 << 10);
        var allocated = GC.GetTotalAllocatedBytes();
        var answer = await service.Client.SendAsync(new HttpMethod(method), $"/v1/{path}", Coded.Content(body));
        allocated = GC.GetTotalAllocatedBytes() - allocated;
        answer.ExpectProblem(problem.Split(' ')[0], problem[(problem.IndexOf(' ', StringComparison.Ordinal) + 1)..]);
        Assert.True(allocated < MostAllocated, $"{allocated >> 20} MiB were allocated");
        Assert.Equal(0, service.UsedMemory);
    }

    [Theory]
    [InlineData("POST", "sessions")]
    [InlineData("PATCH", "sessions/s")]
    [InlineData("POST", "sessions/s/reset")]
    [InlineData("POST", "sessions/s/snapshots")]
    [InlineData("POST", "keys")]
    public async Task A_call_without_arrays_has_short_bodies(string method, string path)
    {
        using var service = new Service();
        await service.CreateAsync("""{"name":"s","num_features":2}""");
        var answer = await service.Client.SendAsync(new HttpMethod(method), $"/v1/{path}", Coded.Content(Coded.Gzip("{", " ", "}", Length)));
        answer.ExpectProblem("payload-too-large", "the body must be at most 524288 bytes for this call");
    }

    [Theory]
    [InlineData("""{"inputs":[{"name":" """, "aaaaaaaa", "\"}]}", "name of an input has at most 32768 bytes")]
    [InlineData("""{"id":" """, "aaaaaaaa", "\"}", "id has at most 32768 bytes")]
    [InlineData("""{"inputs":[{"name":"INPUT","datatype":" """, "aaaaaaaa", "\"}]}", "datatype has at most 32768 bytes")]
    [InlineData("""{"inputs":[{"shape":[""", "1,", "1]}]}", "shape has at most")]
    public async Task The_inference_protocol_has_bounds_as_well(string before, string each, string after, string message)
    {
        using var service = new Service();
        await service.CreateAsync("""{"name":"s","num_features":2}""");
        var body = Coded.Gzip(before, each, after, Length);
        var allocated = GC.GetTotalAllocatedBytes();
        var answer = await service.Client.SendAsync(HttpMethod.Post, "/v2/models/s/infer", Coded.Content(body));
        Assert.Contains(message, answer.Expect(400)["error"].GetString(), StringComparison.Ordinal);
        Assert.True(GC.GetTotalAllocatedBytes() - allocated < MostAllocated);
    }

    /// <summary>Of a body that does not say how long it is, no more is taken than there is room for, and small ones still find some.</summary>
    [Fact]
    public async Task A_coded_body_takes_of_the_budget_what_has_come()
    {
        using var service = Service.With(("Memory:BudgetBytes", "33554432"), ("Memory:WaitTime", "00:00:00.1"));
        await service.CreateAsync("""{"name":"s","num_features":2}""");
        var body = Coded.Gzip("""{"x":[""", "[1,2],", "[1,2]]}", Length);
        var bombs = Enumerable.Range(0, 8).Select(_ => service.Unchecked.SendAsync(HttpMethod.Post, "/v1/sessions/s/inference", Coded.Content(body))).ToList();
        do
        {
            (await service.Client.PostAsync("/v1/sessions/s/inference", """{"x":[[1,2]]}""")).Expect(200);
        }
        while (!bombs.TrueForAll(bomb => bomb.IsCompleted));
        foreach (var bomb in bombs) (await bomb).ExpectProblem("overloaded", "Memory:BudgetBytes");
        Assert.InRange(service.PeakMemory, 16 << 20, 32 << 20);
        Assert.Equal(0, service.UsedMemory);
    }
}
