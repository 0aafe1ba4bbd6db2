namespace BnService.Api.Tests.Wire.Npy;

/// <summary>Calls whose body is one array.</summary>
public sealed class NpyCallTests(Service service) : IClassFixture<Service>
{
    private static readonly Batch X = Batch.Random(1, 6, 3), Dy = Batch.Random(2, 6, 3);

    private static readonly Dictionary<string, (string Call, Message Message)> Calls = new()
    {
        ["train-step"] = ("train-step", Message.Of(X)),
        ["train-step, options"] = ("train-step", Message.Of(X).With("retain", "false").With("mask", "[1,0,1,1,0,1]")),
        ["inference"] = ("inference", Message.Of(X)),
        ["inference, nothing"] = ("inference", Message.Of(new Batch([0, 3], []))),
        ["train-step, nothing"] = ("train-step", Message.Of(new Batch([0, 3], []))),
        ["train-step, empty positions"] = ("train-step", Message.Of(new Batch([2, 3, 0], []))),
        ["calibration/batches"] = ("calibration/batches", Message.Of(X)),
    };

    public static TheoryData<string, string, int> CallsInEveryType
    {
        get
        {
            var data = new TheoryData<string, string, int>();
            foreach (var call in Calls.Keys)
            {
                foreach (var type in (string[])["F32", "F64", "F16"])
                {
                    for (var version = 1; version <= 3; version++) data.Add(call, type, version);
                }
            }
            return data;
        }
    }

    [Theory]
    [MemberData(nameof(CallsInEveryType))]
    public async Task A_call_answers_what_it_answers_in_JSON(string name, string type, int version)
    {
        var (call, message) = Calls[name];
        var x = Elements.In(type, name.EndsWith("nothing", StringComparison.Ordinal) ? new Batch([0, 3], []) : name.EndsWith("positions", StringComparison.Ordinal) ? new Batch([2, 3, 0], []) : X);
        var (inJson, inArrays) = (await CreateAsync(), await CreateAsync());
        var expected = (await inJson.PostAsync(call, message, Forms.Json, type)).Expect(200);
        foreach (var fortran in (bool[])[false, true])
        {
            var session = fortran ? inArrays : await CreateAsync();
            var answer = (await session.PostAsync(call + message.Query(Forms.Npy), Forms.Npy, ArrayFile.Of(x, type, fortran, (byte)version))).Expect(200);
            Assert.Equal(call.StartsWith("cal", StringComparison.Ordinal) ? Forms.Json : Forms.Npy, answer.ContentType);
            SameAnswer.In(expected, answer, "step_id");
        }
        Assert.Equal((await inJson.StatsAsync()).Text, (await inArrays.StatsAsync()).Text);
    }

    [Fact]
    public async Task A_step_goes_forth_and_back()
    {
        var (inJson, inArrays) = (await CreateAsync(), await CreateAsync());
        var expectedStep = (await inJson.TrainAsync(X, retain: true)).Expect(200);
        var step = (await inArrays.PostAsync("train-step", Message.Of(X), Forms.Npy)).Expect(200);
        SameAnswer.In(expectedStep, step, "step_id");
        var (id, expected) = (step.Headers["Bn-Step-Id"], (await inJson.BackwardAsync(expectedStep.StepId!, Dy, """{"optimizer":"sgd","learning_rate":0.5}""")).Expect(200));
        var query = $"backward?step_id={id}&update=" + Uri.EscapeDataString("""{"optimizer":"sgd","learning_rate":0.5}""");
        var answer = (await inArrays.PostAsync(query, Forms.Npy, ArrayFile.Of(Dy, "F32", fortran: true))).Expect(200);
        SameAnswer.Same(expected.Tensor("dx"), answer.Array);
        Assert.Equal("3", answer.Headers["Bn-State-Version"]);
        Assert.Equal((await inJson.StatsAsync()).Text, (await inArrays.StatsAsync()).Text);
        // Option by option, and with the rest of the answer in another form.
        var tensors = (await inArrays.PostAsync($"backward?step_id={id}&update.optimizer=sgd&update.learning_rate=0.5", Forms.Npy, ArrayFile.Of(Dy), ("Accept", Forms.Safetensors))).Expect(200).Tensors;
        Assert.Equal(["beta", "dbeta", "dgamma", "gamma", "dx"], tensors.Names);
    }

    [Theory]
    [InlineData("retain=maybe", "invalid-option", "retain must be true or false, got 'maybe'")]
    [InlineData("retain=", "invalid-option", "retain must be true or false")]
    [InlineData("retain=1", "invalid-option", "retain must be true or false")]
    [InlineData("retain=false&retain=false", "malformed-body", "'retain' twice")]
    [InlineData("retain=false&retain=true", "malformed-body", "'retain' twice")]
    [InlineData("Retain=false", "invalid-option", "'Retain' is not a field of this call")]
    [InlineData("nosuch=1", "invalid-option", "'nosuch' is not a field of this call; allowed: x, retain")]
    [InlineData("=1", "invalid-option", "'' is not a field")]
    [InlineData("x=[[1,2,3],[4,5,7]]", "malformed-body", "'x' twice")]
    [InlineData("x.data=1", "invalid-option", "'x.data' is not a field")]
    [InlineData("x.0=1", "invalid-option", "'x.0' is not a field")]
    [InlineData("retain.a=1", "invalid-option", "'retain.a' is not a field")]
    [InlineData("mask=[1,0]", "shape-mismatch", "mask must have the shape [6], one value per sample; got [2]")]
    [InlineData("mask.0=1", "invalid-option", "'mask.0' is not a field")]
    [InlineData("mask=[1,0", "invalid-option", "mask must be an array of true and false, or 1 and 0 (flat, nested, or {\"shape\":[..],\"data\":[..]}), got '[1,0'")]
    [InlineData("mask=[1,0,1,1,0,2]", "invalid-option", "mask")]
    [InlineData("mask=[1,0,1,1,0,1]&mask=[1,0,1,1,0,1]", "malformed-body", "'mask' twice")]
    [InlineData("residual=[[1,2,3]]", "shape-mismatch", "residual")]
    [InlineData("residual=3", "malformed-body", "residual")]
    [InlineData("step_id=a", "invalid-option", "'step_id' is not a field")]
    public async Task A_query_that_the_call_does_not_know_is_refused(string query, string code, string detail)
    {
        var session = await CreateAsync();
        var answer = await session.RefusedAsync(s => s.PostAsync($"train-step?{query}", Forms.Npy, ArrayFile.Of(X)));
        answer.ExpectProblem(code, detail);
    }

    [Theory]
    [InlineData("", "invalid-option", "step_id or x")]
    [InlineData("?step_id=nosuch", "step-expired", "nosuch")]
    [InlineData("?step_id=nosuch&mode=train", "invalid-option", "mode")]
    [InlineData("?mode=sideways", "invalid-option", "mode must be one of \"train\", \"inference\"")]
    [InlineData("?step_id=a&update=sgd", "invalid-option", "update must be an object")]
    [InlineData("?step_id=a&update.optimizer=nosuch", "invalid-option", "update.optimizer must be one of")]
    [InlineData("?step_id=a&update.learning_rate=1", "invalid-option", "update.optimizer is missing")]
    [InlineData("?step_id=a&update.learning_rate=fast&update.optimizer=sgd", "invalid-option", "update.learning_rate must be")]
    public async Task A_gradient_alone_needs_its_step(string query, string code, string detail)
    {
        var session = await CreateAsync();
        (await session.RefusedAsync(s => s.PostAsync($"backward{query}", Forms.Npy, ArrayFile.Of(Dy)))).ExpectProblem(code, detail);
    }

    [Fact]
    public async Task A_gradient_may_come_with_x_as_text()
    {
        var session = await CreateAsync();
        var expected = (await session.BackwardAsync(X, Dy)).Expect(200);
        var answer = (await session.PostAsync($"backward?x={Uri.EscapeDataString(X.Json)}&mode=train", Forms.Npy, ArrayFile.Of(Dy))).Expect(200);
        SameAnswer.Same(expected.Tensor("dx"), answer.Array);
    }

    [Fact]
    public async Task A_number_alone_is_no_batch()
    {
        var session = await CreateAsync();
        foreach (var fortran in (bool[])[false, true])
        {
            foreach (var call in (string[])["train-step", "inference", "calibration/batches"])
                (await session.RefusedAsync(s => s.PostAsync(call, Forms.Npy, ArrayFile.Of(new Batch([], [1]), "F32", fortran)))).ExpectProblem("shape-mismatch", "[]");
            (await service.Client.PostAsync("/v1/normalize", Forms.Npy, ArrayFile.Of(new Batch([], [1]), "F64", fortran))).ExpectProblem("shape-mismatch", "[]");
        }
    }

    [Fact]
    public async Task A_tensor_is_normalized_once()
    {
        var message = Message.Of(Batch.Random(1, 4, 3, 5)).With("kind", "group_norm").With("num_groups", "3").With("gamma", "[1,2,3]").With("activation", "relu");
        var expected = (await service.Client.PostAsync("/v1/normalize", message.Json())).Expect(200);
        var answer = (await service.Client.PostAsync("/v1/normalize" + message.Query(Forms.Npy), Forms.Npy, message.Body(Forms.Npy))).Expect(200);
        SameAnswer.Same(expected.Tensor("y"), answer.Array);
        Assert.DoesNotContain("Bn-State-Version", answer.Headers.Keys);
    }

    [Fact]
    public async Task Warnings_are_named_in_a_header()
    {
        var session = await CreateAsync();
        Assert.Equal("small-batch", (await session.PostAsync("train-step", Message.Of(X), Forms.Npy)).Expect(200).Headers["Bn-Warnings"]);
    }

    private Task<SessionClient> CreateAsync() => service.CreateAsync("""{"num_features":3}""");
}
