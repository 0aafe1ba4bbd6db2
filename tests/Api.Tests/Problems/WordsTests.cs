namespace BnService.Api.Tests.Problems;

/// <summary>Words of the contract (kinds, modes, roles, ...) are read in any case, wherever they are read.</summary>
public sealed class WordsTests(Service service) : IClassFixture<Service>
{
    [Theory]
    [InlineData("kind", "Batch_Renorm", "batch_renorm")]
    [InlineData("kind", "BATCH_NORM", "batch_norm")]
    [InlineData("granularity", "Per_Activation", "per_activation")]
    [InlineData("mode", "FROZEN", "frozen")]
    [InlineData("activation", "ReLU", "relu")]
    [InlineData("non_finite", "Propagate", "propagate")]
    public async Task Options_are_read_in_any_case_and_answered_in_small_letters(string option, string sent, string answered) => Assert.Equal(
        answered, (await service.Client.PostAsync("/v1/sessions", $$"""{"num_features":2,"{{option}}":"{{sent}}"}""")).Expect(201)[option].GetString());

    [Fact]
    public async Task So_is_the_convention()
    {
        var session = (await service.Client.PostAsync("/v1/sessions", """{"num_features":2,"convention":"PyTorch"}""")).Expect(201);
        Assert.Equal("pytorch", session["convention"].GetProperty("name").GetString());
    }

    [Theory]
    [InlineData(Forms.Json)]
    [InlineData(Forms.Safetensors)]
    [InlineData(Forms.Npy)]
    public async Task So_are_words_in_every_form_of_body(string form)
    {
        var x = Batch.Random(1, 4, 2);
        var message = Message.Of(x).With("kind", "RMS_Norm").With("normalized_shape", "[2]").With("activation", "RELU");
        (await service.Client.PostAsync($"/v1/normalize{message.Query(form)}", form, message.Body(form))).Expect(200);
        var session = await service.CreateAsync("""{"num_features":2}""");
        var gradient = form == Forms.Npy ? null : Message.Of(x).With("dy", x).With("mode", "Train").With("update.optimizer", "AdamW");
        if (gradient is not null) (await session.PostAsync("backward", gradient, form)).Expect(200);
    }

    [Fact]
    public async Task So_are_the_words_of_the_fold_call_and_of_a_state()
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.TrainAsync("""{"x":[[1,2],[3,5]]}""")).Expect(200);
        (await session.FoldAsync("""{"layer":"LINEAR","weight":[[1,0],[0,1]],"position":"After"}""")).Expect(200);
        (await service.Client.PutAsync("/v1/sessions/words/state",
            """{"weight":[1,1],"bias":[0,0],"options":{"kind":"Batch_Norm"},"convention":"FLAX"}""")).Expect(201);
    }

    [Theory]
    [InlineData("kind=Layer_Norm")]
    [InlineData("kind=LAYER_NORM&include=Health,TOTAL")]
    [InlineData("kind=layer_norm&health=Settling")]
    public async Task So_are_those_of_the_list(string query)
    {
        var session = (await service.Client.PostAsync("/v1/sessions", """{"kind":"layer_norm","normalized_shape":[2]}""")).Expect(201);
        var listed = (await service.Client.GetAsync($"/v1/sessions?{query}")).Expect(200);
        if (!query.Contains("health=", StringComparison.Ordinal))
            Assert.Contains(listed["sessions"].EnumerateArray(), found => found.GetProperty("name").ValueEquals(session.Name));
        Assert.Equal(query.Contains("TOTAL", StringComparison.Ordinal), listed.Has("total"));
    }

    [Fact]
    public async Task So_are_roles()
    {
        using var keyed = await KeyedService.StartAsync();
        var created = await keyed.Client.PostAsync("/v1/keys", """{"name":"a","role":"Reader"}""", KeyedService.Bearer(keyed.Admin));
        Assert.Equal("reader", created.Expect(201)["role"].GetString());
    }

    [Theory]
    [InlineData("batchnorm")]
    [InlineData("BatchNorm")]
    [InlineData(" batch_norm")]
    [InlineData("batch_norm,layer_norm")]
    public async Task Other_words_are_refused(string kind)
    {
        (await service.Client.PostAsync("/v1/sessions", $$"""{"num_features":2,"kind":"{{kind}}"}""")).ExpectProblem("invalid-option", "kind must be one of \"batch_norm\"");
        (await service.Client.GetAsync($"/v1/sessions?kind={Uri.EscapeDataString(kind)}")).ExpectProblem("invalid-option", "kind must be one of batch_norm");
    }
}
