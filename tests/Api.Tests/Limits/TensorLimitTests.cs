namespace BnService.Api.Tests.Limits;

public sealed class TensorLimitTests
{
    public static TheoryData<string, string> Calls
    {
        get
        {
            var calls = new TheoryData<string, string>();
            foreach (var form in Forms.All)
            {
                foreach (var call in (string[])["train-step", "inference", "calibration/batches"]) calls.Add(call, form);
            }
            return calls;
        }
    }

    [Theory]
    [MemberData(nameof(Calls))]
    public async Task A_tensor_has_no_more_elements_than_allowed(string call, string form)
    {
        using var service = Service.With(("Limits:MaxElements", "12"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await SendAsync(session, call, form, Batch.Random(1, 5, 2))).Expect(200);
        (await SendAsync(session, call, form, Batch.Random(1, 6, 2))).Expect(200);
        (await session.RefusedAsync(s => SendAsync(s, call, form, Batch.Random(1, 7, 2))))
            .ExpectProblem("limit-reached", "x has at most 12 elements (Limits:MaxElements), got 14 in shape [7, 2]");
    }

    [Theory]
    [MemberData(nameof(Calls))]
    public async Task A_tensor_has_no_more_dimensions_than_allowed(string call, string form)
    {
        using var service = Service.With(("Limits:MaxRank", "3"));
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await SendAsync(session, call, form, Batch.Random(1, 4, 2))).Expect(200);
        (await SendAsync(session, call, form, Batch.Random(1, 4, 2, 3))).Expect(200);
        (await session.RefusedAsync(s => SendAsync(s, call, form, Batch.Random(1, 4, 2, 3, 1))))
            .ExpectProblem("limit-reached", "x has at most 3 dimensions (Limits:MaxRank), got 4 in shape [4, 2, 3, 1]");
    }

    [Fact]
    public async Task Tensors_that_lie_deeper_are_held_to_it_as_well()
    {
        using var service = Service.With(("Limits:MaxElements", "8"));
        (await service.Client.PostAsync("/v1/normalize", """{"kind":"batch_norm","x":[[1,2],[3,5]],"backward":{"dy":{"shape":[5,2],"data":[1,2,3,4,5,6,7,8,9,10]}}}"""))
            .ExpectProblem("limit-reached", "backward.dy has at most 8 elements (Limits:MaxElements), got 10");
        await service.CreateAsync("""{"name":"served","num_features":2}""");
        var refused = await service.Client.PostAsync("/v2/models/served/infer", """{"inputs":[{"name":"x","shape":[5,2],"datatype":"FP32","data":[1,2,3,4,5,6,7,8,9,10]}]}""");
        Assert.Equal(400, refused.Status);
        Assert.Contains("x has at most 8 elements (Limits:MaxElements), got 10", refused["error"].GetString(), StringComparison.Ordinal);
    }

    private static Task<Answer> SendAsync(SessionClient session, string call, string form, Batch x) =>
        session.PostAsync(call, form, Message.Of(x).Body(form), ("Accept", call.StartsWith("calibration", StringComparison.Ordinal) ? Forms.Json : form));
}
