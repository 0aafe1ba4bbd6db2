namespace BnService.Api.Tests.Layer;

public sealed class NonFiniteTests(Service service) : IClassFixture<Service>
{
    [Theory]
    [InlineData("NaN")]
    [InlineData("Infinity")]
    [InlineData("-Infinity")]
    public async Task A_train_step_that_would_poison_the_statistics_is_refused(string value)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        (await session.TrainAsync("""{"x":[[1,2],[3,4]]}""")).Expect(200);
        foreach (var x in (string[])[$$"""[[1,2],[3,"{{value}}"]]""", $$"""{"shape":[2,2],"data":[1,2,3,"{{value}}"]}"""])
        {
            var answer = await session.RefusedAsync(s => s.TrainAsync($$"""{"x":{{x}}}"""));
            answer.ExpectProblem("non-finite-input", $"element 3 is {value}", "propagate");
        }
    }

    [Fact]
    public async Task With_propagate_it_goes_into_its_channel_and_no_other()
    {
        var session = await service.CreateAsync("""{"num_features":3,"non_finite":"propagate"}""");
        var answer = (await session.TrainAsync("""{"x":[[1,"NaN",5],[2,3,"Infinity"],[4,4,4]]}""")).Expect(200);
        var (clean, layer, y) = (new Batch([3, 1], [1, 2, 4]), new ReferenceLayer(1), answer.Tensor("y").Data);
        Accuracy.Outputs_are(layer.Train(clean), clean, new Batch([3, 1], [y[0], y[3], y[6]]));
        Assert.All((float[])[y[1], y[2], y[4], y[5], y[7], y[8]], value => Assert.True(float.IsNaN(value), answer.Text));
        var stats = await session.StatsAsync();
        var (mean, variance) = (stats.Numbers("running_mean"), stats.Numbers("running_var"));
        Accuracy.Statistics_are(layer.Running, clean, mean[..1], variance[..1]);
        Assert.True(double.IsNaN(mean[1]) && double.IsNaN(variance[1]) && double.IsNaN(variance[2]), stats.Text);
        Assert.False(double.IsFinite(mean[2]), stats.Text);
        Assert.Equal(1, stats["num_batches_tracked"].GetInt64());

        // Poisoned as in PyTorch: the channel serves nothing but NaN from here on, and says so in JSON.
        var inferred = (await session.InferAsync("""{"x":[[1,3,5]]}""")).Expect(200);
        Assert.Equal("NaN", inferred["y"].GetProperty("data")[1].GetString());
        Assert.True(float.IsFinite(inferred.Tensor("y").Data[0]));
    }

    [Fact]
    public async Task Inference_and_gradients_change_nothing_and_let_it_through()
    {
        var session = await service.CreateAsync("""{"num_features":2,"eps":0}""");
        var y = (await session.InferAsync("""{"x":[["NaN",1],["Infinity",2],["-Infinity",3]]}""")).Expect(200).Tensor("y").Data;
        Assert.Equal([float.NaN, 1, float.PositiveInfinity, 2, float.NegativeInfinity, 3], y);
        var dx = (await session.BackwardAsync("""{"x":[[1,2],[3,4]],"dy":[["NaN",1],[2,"-Infinity"]],"mode":"inference"}""")).Expect(200).Tensor("dx").Data;
        Assert.Equal([float.NaN, 1, 2, float.NegativeInfinity], dx);
    }

    [Fact]
    public async Task Relu_lets_NaN_through()
    {
        var session = await service.CreateAsync("""{"num_features":1,"eps":0,"activation":"relu"}""");
        var y = (await session.InferAsync("""{"x":[["NaN"],["Infinity"],["-Infinity"],[-2]]}""")).Expect(200).Tensor("y").Data;
        Assert.Equal([float.NaN, float.PositiveInfinity, 0, 0], y);
    }

    [Theory]
    [InlineData("reject", "1e39")]
    [InlineData("reject", "-1e400")]
    [InlineData("propagate", "1e39")]
    [InlineData("propagate", "1e400")]
    public async Task A_number_beyond_float32_is_refused_wherever_it_stands(string policy, string number)
    {
        var session = await service.CreateAsync($$"""{"num_features":2,"non_finite":"{{policy}}"}""");
        (await session.RefusedAsync(s => s.TrainAsync($$"""{"x":[[1,2],[{{number}},4]]}""")))
            .ExpectProblem("non-finite-input", $"x element 2 is {number}");
        (await session.RefusedAsync(s => s.InferAsync($"{{\"x\":{{\"shape\":[1,2],\"data\":[1,{number}]}}}}")))
            .ExpectProblem("non-finite-input", $"x element 1 is {number}");
        (await session.RefusedAsync(s => s.BackwardAsync($$"""{"x":[[1,2],[3,4]],"dy":[[1,2],[3,{{number}}]]}""")))
            .ExpectProblem("non-finite-input", $"dy element 3 is {number}");
    }

    [Theory]
    [InlineData("3.4028234663852886e38")]
    [InlineData("3.4028235e38")]
    [InlineData("1e-400")]
    [InlineData("0.1000000000000000055511151231257827021181583404541015625")]
    public async Task A_number_that_rounds_to_a_float32_is_taken(string number)
    {
        var session = await service.CreateAsync("""{"num_features":1,"eps":0}""");
        var y = (await session.InferAsync($$"""{"x":[[{{number}}]]}""")).Expect(200).Tensor("y").Data;
        Assert.Equal(float.Parse(number), Assert.Single(y));
    }

    [Theory]
    [InlineData("NaN")]
    [InlineData("Infinity")]
    [InlineData("-Infinity")]
    public async Task As_a_bare_word_it_is_what_it_is_as_a_string(string token)
    {
        foreach (var text in (string[])[$"[[1,{token}],[3, {token} ]]", $"{{\"shape\":[2,2],\"data\":[1,{token},3,{token}]}}"])
        {
            var quoted = text.Replace(token, $"\"{token}\"", StringComparison.Ordinal);
            var (bare, strings) = (await service.CreateAsync("""{"num_features":2,"non_finite":"propagate"}"""), await service.CreateAsync("""{"num_features":2,"non_finite":"propagate"}"""));
            foreach (var body in (string[])["{\"x\":§}", "{\"x\":§,\"residual\":§}"])
            {
                string With(string tensor) => body.Replace("§", tensor, StringComparison.Ordinal);
                var expected = (await strings.TrainAsync(With(quoted))).Expect(200).Tensor("y");
                SameAnswer.Same(expected, (await bare.TrainAsync(With(text))).Expect(200).Tensor("y"));
                SameAnswer.Same((await strings.InferAsync(With(quoted))).Expect(200).Tensor("y"), (await bare.InferAsync(With(text))).Expect(200).Tensor("y"));
            }
            Assert.Equal((await strings.StatsAsync()).Text, (await bare.StatsAsync()).Text);
            var rejecting = await service.CreateAsync("""{"num_features":2}""");
            (await rejecting.RefusedAsync(s => s.TrainAsync($"{{\"x\":{text}}}"))).ExpectProblem("non-finite-input");
        }
    }

    [Theory]
    [InlineData("{\"gamma\":[1,NaN]}", "gamma[1] must be a finite number, got NaN")]
    [InlineData("{\"gamma\":NaN}", "gamma must be an array of numbers")]
    [InlineData("{\"gamma\":[1,nan]}", "expected a value or ']', got nan; send \"NaN\" (line 1, column 13)")]
    public async Task As_a_bare_word_it_is_a_number_of_an_array(string body, string detail)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        var answer = await session.RefusedAsync(s => s.PutParametersAsync(body));
        Assert.Contains(detail, answer.Detail, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("{\"num_features\":2,\"eps\":NaN}", "invalid-option", "eps must be a finite number of 0 or more, got NaN")]
    [InlineData("{\"num_features\":-Infinity}", "invalid-option", "num_features must be a whole number, got -Infinity")]
    [InlineData("{\"num_features\":2,\"name\":NaN}", "invalid-option", "name must be a string")]
    [InlineData("{\"num_features\":2,\"labels\":{\"a\":NaN}}", "malformed-body", "NaN is read only where a number of a tensor or an array is expected; send it as a string in double quotes (line 1, column 33)")]
    public async Task As_a_bare_word_it_is_an_option_s_value_and_nothing_else(string body, string code, string detail) =>
        (await service.Client.PostAsync("/v1/sessions", body)).ExpectProblem(code, detail);

    [Theory]
    [InlineData("nan")]
    [InlineData("NaNs")]
    [InlineData("+Infinity")]
    [InlineData("Inf")]
    [InlineData("+1")]
    [InlineData("01")]
    [InlineData(".5")]
    [InlineData("1.")]
    [InlineData("0x10")]
    [InlineData("1_000")]
    public async Task As_a_bare_word_it_is_no_JSON_whatever_the_policy(string token)
    {
        foreach (var policy in (string[])["reject", "propagate"])
        {
            var session = await service.CreateAsync($$"""{"num_features":2,"non_finite":"{{policy}}"}""");
            (await session.RefusedAsync(s => s.TrainAsync($$"""{"x":[[1,{{token}}],[3,4]]}""")))
                .ExpectProblem("malformed-body", "not well-formed JSON");
        }
    }

    [Theory]
    [InlineData("\"nan\"")]
    [InlineData("\"inf\"")]
    [InlineData("\"+Infinity\"")]
    [InlineData("\"1\"")]
    [InlineData("\"\"")]
    [InlineData("null")]
    [InlineData("true")]
    [InlineData("{}")]
    public async Task Nothing_but_numbers_and_the_three_strings_is_an_element(string element)
    {
        var session = await service.CreateAsync("""{"num_features":2,"non_finite":"propagate"}""");
        (await session.RefusedAsync(s => s.TrainAsync($$"""{"x":[[1,{{element}}],[3,4]]}""")))
            .ExpectProblem("malformed-body", "x: element 1 must be a number, \"NaN\", \"Infinity\" or \"-Infinity\"");
        (await session.RefusedAsync(s => s.TrainAsync($"{{\"x\":{{\"shape\":[2,2],\"data\":[1,{element},3,4]}}}}")))
            .ExpectProblem("malformed-body", "x: element 1");
    }
}
