namespace BnService.Api.Tests.Wire;

/// <summary>Which form a body may have, and which the answer gets.</summary>
public sealed class NegotiationTests(Service service) : IClassFixture<Service>
{
    private static readonly Batch X = Batch.Random(1, 5, 2);

    private static readonly string[] Named = [Forms.Json, Forms.Safetensors];

    private static readonly Dictionary<string, (string Method, Message? Message, IReadOnlyList<string> Read, IReadOnlyList<string> Written)> Calls = new()
    {
        ["train-step"] = ("POST", Message.Of(X).With("retain", "false"), Forms.All, Forms.All),
        ["inference"] = ("POST", Message.Of(X), Forms.All, Forms.All),
        ["calibration/batches"] = ("POST", Message.Of(X), Forms.All, Named),
        ["fold"] = ("POST", new Message().With("weight", Batch.Random(1, 2, 3)).With("layer", "linear"), Named, Named),
        ["state"] = ("PUT", new Message().With("weight", "[1,2]"), Named, Named),
        ["merge"] = ("POST", new Message().With("count", "3").With("mean", "[1,2]").With("m2", "[1,2]"), Named, Named),
        ["/v1/normalize"] = ("POST", Message.Of(X).With("kind", "batch_norm"), Forms.All, Forms.All),
    };

    public static TheoryData<string> AllCalls => new(Calls.Keys);

    [Theory]
    [MemberData(nameof(AllCalls))]
    public async Task Every_form_of_a_request_has_every_form_of_an_answer(string call)
    {
        var (_, message, read, written) = Calls[call];
        foreach (var form in read)
        {
            foreach (var accepted in written)
            {
                var expected = (await SendAsync(await CreateAsync(), call, Forms.Json, message!, Forms.Json)).Expect(200);
                var answer = (await SendAsync(await CreateAsync(), call, form, message!, accepted)).Expect(200);
                Assert.Equal(accepted, answer.ContentType);
                if (call == "state") Assert.Equal(expected.ETag, answer.ETag);
                else SameAnswer.In(expected, answer);
            }
        }
    }

    [Theory]
    [MemberData(nameof(AllCalls))]
    public async Task Without_Accept_the_answer_has_the_form_of_the_request_where_there_is_one(string call)
    {
        var (_, message, read, written) = Calls[call];
        foreach (var form in read)
        {
            foreach (var accept in (string?[])[null, "*/*", "application/*", "text/html, */*;q=0.1", ""])
            {
                var answer = (await SendAsync(await CreateAsync(), call, form, message!, accept)).Expect(200);
                Assert.Equal(written.Contains(form) ? form : Forms.Json, answer.ContentType);
            }
        }
    }

    [Theory]
    [InlineData("application/x-npy;q=0.5, application/json;q=0.6", Forms.Json)]
    [InlineData("application/x-npy;q=0.9, application/json;q=0.6", Forms.Npy)]
    [InlineData("application/json;q=0.1, application/x-safetensors;q=0.2, application/x-npy;q=0.15", Forms.Safetensors)]
    [InlineData("application/x-safetensors;q=0, */*", Forms.Npy)]
    [InlineData("application/x-npy;q=0, */*", Forms.Json)]
    [InlineData("*/*;q=0.1, application/json", Forms.Json)]
    [InlineData("application/json, application/x-npy", Forms.Npy)]
    [InlineData("application/*;q=0.5, application/json;q=0.4, application/x-npy;q=0.4", Forms.Safetensors)]
    [InlineData("text/html, application/x-safetensors;q=0.001", Forms.Safetensors)]
    [InlineData("APPLICATION/X-SAFETENSORS", Forms.Safetensors)]
    [InlineData("application/json; charset=utf-8", Forms.Json)]
    [InlineData("Application/Json; charset=utf-8", Forms.Json)]
    public async Task The_form_that_the_client_likes_best_is_answered_and_among_equals_that_of_the_request(string accept, string form)
    {
        var session = await CreateAsync();
        foreach (var call in (string[])["inference", "train-step"])
            Assert.Equal(form, (await SendAsync(session, call, Forms.Npy, Calls[call].Message!, accept)).Expect(200).ContentType);
    }

    [Theory]
    [MemberData(nameof(AllCalls))]
    public async Task A_form_that_a_call_has_not_is_refused_with_those_that_it_has(string call)
    {
        var (method, message, read, written) = Calls[call];
        var session = await CreateAsync();
        foreach (var form in (string[])["application/octet-stream", "application/x-npy2", "application/safetensors", "text/plain", .. Forms.All.Except(read)])
        {
            var answer = await session.RefusedAsync(s => service.Client.SendAsync(new HttpMethod(method), PathOf(s, call),
                ServiceClient.Content(form, message!.Body(Forms.Json))));
            answer.ExpectProblem("unsupported-media-type", $"Content-Type must be one of {string.Join(", ", read)}, got '{form}'");
        }
        foreach (var accept in (string[])["text/html", "application/x-npy2", "*/*;q=0", "application/json;q=0, application/x-safetensors;q=0.0, application/x-npy;q=0.000", .. Forms.All.Except(written)])
        {
            var answer = await session.RefusedAsync(s => SendAsync(s, call, Forms.Json, message!, accept));
            answer.ExpectProblem("not-acceptable", $"Accept must allow one of {string.Join(", ", written)}, got '");
        }
    }

    /// <summary>Refusals are JSON whatever form was asked for.</summary>
    [Fact]
    public async Task A_problem_is_a_problem_in_every_form()
    {
        var session = await CreateAsync();
        foreach (var form in Forms.All)
        {
            foreach (var accept in Forms.All)
            {
                (await session.RefusedAsync(s => SendAsync(s, "train-step", form, Message.Of(Batch.Random(1, 5, 3)), accept))).ExpectProblem("shape-mismatch", "x");
                (await session.RefusedAsync(s => SendAsync(s, "inference", form, Message.Of(Batch.Random(1, 5, 3)), accept))).ExpectProblem("shape-mismatch", "x");
            }
        }
    }

    [Fact]
    public async Task A_state_is_read_in_the_form_that_is_accepted()
    {
        var session = await CreateAsync();
        Assert.Equal(Forms.Json, (await session.GetStateAsync()).Expect(200).ContentType);
        Assert.Equal(Forms.Json, (await session.GetStateAsync(("Accept", "*/*"))).Expect(200).ContentType);
        Assert.Equal(Forms.Safetensors, (await session.GetStateAsync(("Accept", Forms.Safetensors))).Expect(200).ContentType);
        (await session.GetStateAsync(("Accept", Forms.Npy))).ExpectProblem("not-acceptable", string.Join(", ", Named));
    }

    private Task<SessionClient> CreateAsync() => service.CreateAsync("""{"num_features":2}""");

    private static string PathOf(SessionClient session, string call) => call.StartsWith('/') ? call : $"{session.Path}/{call}";

    private Task<Answer> SendAsync(SessionClient session, string call, string form, Message message, string? accept) => service.Client.SendAsync(
        new HttpMethod(Calls[call].Method), PathOf(session, call) + message.Query(form), ServiceClient.Content(form, message.Body(form)),
        accept is null ? [] : [("Accept", accept)]);
}
