namespace BnService.Api.Tests.Problems;

/// <summary>If-Match on every call that changes a session (RFC 9110, 13.1.1).</summary>
public sealed class IfMatchTests(Service service) : IClassFixture<Service>
{
    private static readonly Dictionary<string, Func<SessionClient, (string, string)[], Task<Answer>>> Calls = new()
    {
        ["patch"] = (session, headers) => session.PatchAsync("""{"eps":0.5}""", headers),
        ["delete"] = (session, headers) => session.DeleteAsync(headers),
        ["reset"] = (session, headers) => session.ResetAsync(null, headers),
        ["train-step"] = (session, headers) => session.TrainAsync("""{"x":[[1,2],[3,4]]}""", headers),
        ["backward with update"] = (session, headers) =>
            session.BackwardAsync("""{"x":[[1,2],[3,5]],"dy":[[1,0],[0,1]],"update":{"optimizer":"sgd"}}""", headers),
        ["parameters"] = (session, headers) => session.PutParametersAsync("""{"gamma":[3,4]}""", headers),
        ["calibration batch"] = (session, headers) => session.CalibrateAsync("""{"x":[[1,2]]}""", headers),
        ["merge"] = (session, headers) => session.MergeAsync("""{"moments":[{"count":1,"mean":[1,2],"m2":[0,0]}]}""", headers),
        ["running-stats"] = (session, headers) => session.PutRunningStatsAsync("""{"running_mean":[3,4]}""", headers),
    };

    private static readonly string[] Holding = ["\"2\"", " \"2\" ", "\"1\", \"2\"", "\"9\",\"2\",W/\"3\"", "*", " * "];

    private static readonly string[] NotHolding =
    [
        "\"1\"", "\"3\"", "\"02\"", "\"2 \"", "W/\"2\"", "W/\"1\", \"3\"", "\"1\",\"3\"", "2", "'2'", "\"2", "garbage", "\"\"", "\"2\"; x", "**", "\"é\"",
    ];

    public static TheoryData<string, string> CallsThatHold => Each(Holding);

    public static TheoryData<string, string> CallsThatDoNot => Each(NotHolding);

    [Theory]
    [MemberData(nameof(CallsThatHold))]
    public async Task A_call_whose_condition_holds_changes_the_session(string call, string ifMatch)
    {
        var session = await SecondVersionAsync();
        var answer = await Calls[call](session, [("If-Match", ifMatch)]);
        Assert.Equal(call == "delete" ? 204 : 200, answer.Status);
        if (call != "delete") Assert.Equal(3, (await session.GetAsync()).Version);
    }

    [Theory]
    [MemberData(nameof(CallsThatDoNot))]
    public async Task A_call_whose_condition_does_not_hold_or_cannot_be_read_changes_nothing(string call, string ifMatch)
    {
        var session = await SecondVersionAsync();
        var answer = await session.RefusedAsync(s => Calls[call](s, [("If-Match", ifMatch)]));
        answer.ExpectProblem("version-conflict", "If-Match allows ", "the session is at version \"2\"");
    }

    [Fact]
    public async Task The_ETag_of_each_answer_is_what_the_next_call_can_ask_for()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var etag = (await session.GetAsync()).ETag!;
        foreach (var (name, call) in Calls.Where(call => call.Key != "delete"))
        {
            var answer = await call(session, [("If-Match", etag)]);
            Assert.True(answer.Expect(200).ETag != etag, $"{name} has changed nothing");
            etag = answer.ETag!;
            Assert.Equal(etag, (await session.GetAsync()).ETag);
        }
        (await session.DeleteAsync(("If-Match", etag))).Expect(204);
    }

    /// <summary>Nothing would change; but who sends If-Match wants to know.</summary>
    [Theory]
    [InlineData("train-step", """{"x":{"shape":[0,2],"data":[]}}""")]
    [InlineData("backward", """{"x":[[1,2],[3,5]],"dy":[[1,0],[0,1]]}""")]
    public async Task The_condition_counts_even_where_nothing_would_change(string call, string body)
    {
        var session = await SecondVersionAsync();
        (await session.RefusedAsync(s => service.Client.PostAsync($"{s.Path}/{call}", body, ("If-Match", "\"1\""))))
            .ExpectProblem("version-conflict");
        (await service.Client.PostAsync($"{session.Path}/{call}", body, ("If-Match", "\"2\""))).Expect(200);
    }

    [Fact]
    public async Task A_refused_step_is_not_retained()
    {
        using var own = new Service();
        var session = await own.CreateAsync("""{"num_features":2}""");
        (await session.TrainAsync("""{"x":[[1,2],[3,4]],"retain":true}""", ("If-Match", "\"7\""))).ExpectProblem("version-conflict");
        Assert.Equal(0, own.RetainedBytes);
    }

    [Fact]
    public async Task A_session_that_does_not_exist_is_not_found_whatever_the_condition()
    {
        var session = new SessionClient(service.Client, "nosuch");
        foreach (var call in Calls.Values) (await call(session, [("If-Match", "\"1\"")])).ExpectProblem("session-not-found");
    }

    [Fact]
    public async Task Two_header_lines_are_one_list()
    {
        var session = await SecondVersionAsync();
        (await session.PatchAsync("""{"eps":0.5}""", ("If-Match", "\"8\""), ("If-Match", "\"2\""))).Expect(200);
    }

    private async Task<SessionClient> SecondVersionAsync()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        Assert.Equal(2, (await session.TrainAsync("""{"x":[[1,2],[3,5]],"retain":false}""")).Expect(200).Version);
        return session;
    }

    private static TheoryData<string, string> Each(string[] headers)
    {
        var data = new TheoryData<string, string>();
        foreach (var call in Calls.Keys)
        {
            foreach (var header in headers) data.Add(call, header);
        }
        return data;
    }
}
