namespace BnService.Api.Tests.Problems;

/// <summary>Every option with every JSON type that it does not have.</summary>
public sealed class OptionTypeTests(Service service) : IClassFixture<Service>
{
    private static readonly string[] Values = ["true", "0.5", "2", "\"text\"", "\"0.1\"", "[]", "[1]", "{}", """{"a":"b"}"""];

    // What each option takes of these values beside null; everything else is to be refused.
    private static readonly Dictionary<string, string[]> Options = new()
    {
        ["name"] = ["\"text\"", "\"0.1\""],
        ["kind"] = [],
        ["num_features"] = ["2"],
        ["eps"] = ["0.5", "2"],
        ["momentum"] = ["0.5"],
        ["affine"] = ["true"],
        ["bias"] = ["true"],
        ["track_running_stats"] = ["true"],
        ["unbiased_running_var"] = ["true"],
        ["channel_axis"] = [],
        ["granularity"] = [],
        ["mode"] = [],
        ["activation"] = [],
        ["gamma_init"] = ["0.5", "2"],
        ["beta_init"] = ["0.5", "2"],
        ["ghost_batch_size"] = ["2"],
        ["non_finite"] = [],
        ["require_statistics"] = ["true"],
        ["labels"] = ["{}", """{"a":"b"}"""],
    };

    public static TheoryData<string> AllOptions => new(Options.Keys);

    [Theory]
    [MemberData(nameof(AllOptions))]
    public async Task A_value_of_the_wrong_type_is_refused_by_the_options_name(string option)
    {
        foreach (var value in Values.Except(Options[option]))
        {
            var rest = option == "num_features" ? "" : "\"num_features\":2,";
            var answer = (await service.Client.PostAsync("/v1/sessions", $"{{{rest}\"{option}\":{value}}}"))
                .ExpectProblem("invalid-option", $"{option} must be ");
            Assert.Contains("got ", answer.Detail, StringComparison.Ordinal);
        }
    }

    [Theory]
    [MemberData(nameof(AllOptions))]
    public async Task A_value_of_the_right_type_is_taken(string option)
    {
        foreach (var value in Options[option])
        {
            var rest = option == "num_features" ? "" : "\"num_features\":2,";
            var answer = (await service.Client.PostAsync("/v1/sessions", $"{{{rest}\"{option}\":{value}}}")).Expect(201);
            if (option == "name") (await service.Client.DeleteAsync(answer.Headers["Location"])).Expect(204);
        }
        Assert.Equal(option is "kind" or "channel_axis" or "granularity" or "mode" or "activation" or "non_finite", Options[option].Length == 0);
    }

    [Theory]
    [InlineData("num_features", "0", "num_features must be a whole number of 1 or more, got 0")]
    [InlineData("num_features", "-3", "num_features must be a whole number of 1 or more, got -3")]
    [InlineData("num_features", "2147483648", "num_features must be a whole number, got 2147483648")]
    [InlineData("num_features", "1e400", "num_features must be a whole number, got 1e400")]
    [InlineData("num_features", "2.0", "num_features must be a whole number, got 2.0")]
    [InlineData("eps", "-1e-12", "eps must be a finite number of 0 or more, got -1E-12")]
    [InlineData("eps", "\"NaN\"", "eps must be a finite number of 0 or more, got NaN")]
    [InlineData("eps", "1e400", "eps must be a finite number of 0 or more, got Infinity")]
    [InlineData("momentum", "1.0000001", "momentum must be a number from 0 to 1 (the weight of the new batch), or null for the average over all batches, got 1.0000001")]
    [InlineData("momentum", "-1e-300", "momentum must be a number from 0 to 1")]
    [InlineData("momentum", "\"NaN\"", "momentum must be a number from 0 to 1")]
    [InlineData("channel_axis", "0", "channel_axis must be 1, or -1 for channels last, got 0")]
    [InlineData("channel_axis", "2", "channel_axis must be 1, or -1 for channels last, got 2")]
    [InlineData("channel_axis", "1.5", "channel_axis must be a whole number, got 1.5")]
    [InlineData("gamma_init", "\"Infinity\"", "gamma_init must be a finite number, got Infinity")]
    [InlineData("beta_init", "\"NaN\"", "beta_init must be a finite number, got NaN")]
    [InlineData("granularity", "\"PerChannel\"", "granularity must be one of \"per_channel\", \"per_activation\", got \"PerChannel\"")]
    [InlineData("granularity", "\"per_channel, per_activation\"", "granularity must be one of")]
    [InlineData("mode", "\" train\"", "mode must be one of")]
    [InlineData("mode", "0", "mode must be one of \"train\", \"frozen\", got 0")]
    [InlineData("mode", "\"0\"", "mode must be one of \"train\", \"frozen\", got \"0\"")]
    [InlineData("activation", "\"re_lu\"", "activation must be one of \"none\", \"relu\", got \"re_lu\"")]
    [InlineData("activation", "\"gelu\"", "activation must be one of \"none\", \"relu\", got \"gelu\"")]
    [InlineData("non_finite", "\"ignore\"", "non_finite must be one of \"reject\", \"propagate\", got \"ignore\"")]
    [InlineData("labels", """{"a":null}""", "labels.a must be a string of at most 256 characters, got null")]
    [InlineData("labels", """{"a":1}""", "labels must be an object of strings, got 1 at labels.a")]
    [InlineData("labels", """{"a":{"b":"c"}}""", "labels must be an object of strings, got an object at labels.a")]
    public async Task A_value_outside_its_range_is_refused_with_the_range(string option, string value, string detail)
    {
        var rest = option == "num_features" ? "" : "\"num_features\":2,";
        (await service.Client.PostAsync("/v1/sessions", $"{{{rest}\"{option}\":{value}}}")).ExpectProblem("invalid-option", detail);
    }

    [Fact]
    public async Task Without_num_features_there_is_no_session() =>
        (await service.Client.PostAsync("/v1/sessions", """{"name":"a"}"""))
            .ExpectProblem("invalid-option", "num_features is missing; it must be a whole number");

    [Fact]
    public async Task A_session_without_running_statistics_cannot_be_created_frozen() =>
        (await service.Client.PostAsync("/v1/sessions", """{"num_features":2,"mode":"frozen","track_running_stats":false}"""))
            .ExpectProblem("invalid-option", "mode must be train where track_running_stats is false, got frozen");
}
