using System.Text;

namespace BnService.Api.Tests.Problems;

/// <summary>
/// Malformed inputs of every form and call: each answer names the field or the part that is wrong, in a few words that are nobody's but
/// the service's, and nothing has changed.
/// </summary>
public sealed class MalformedWordsTests(Service service) : IClassFixture<Service>
{
    // What libraries say, and what nobody can read.
    private static readonly string[] Forbidden =
    [
        "LineNumber", "BytePosition", "isFinalBlock", "reader options", "Exception", "System.", "Microsoft", "Utf8", "Int32", "Int64", "UInt", "Nullable",
        "Path: $", "0x", "object reference", "Index was", "Span", "Parameter '", "(Parameter", "deserializ", "JsonReader", "invalid start", "  ",
    ];

    private static readonly string[] Good = ["[[1,2,3],[4,5,7]]", "[[1,0,3],[2,5,1]]"];

    // § stands for the tensor under test.
    private static readonly (string Call, string Field, string Body)[] Tensors =
    [
        ("train-step", "x", """{"x":§}"""),
        ("train-step", "residual", $$"""{"x":{{Good[0]}},"residual":§}"""),
        ("inference", "x", """{"x":§}"""),
        ("inference", "residual", $$"""{"x":{{Good[0]}},"residual":§}"""),
        ("backward", "x", $$"""{"dy":{{Good[1]}},"x":§}"""),
        ("backward", "dy", $$"""{"x":{{Good[0]}},"dy":§}"""),
        ("calibration/batches", "x", """{"x":§}"""),
        ("fold", "weight", """{"layer":"linear","weight":§}"""),
        ("/v1/normalize", "x", """{"kind":"layer_norm","normalized_shape":[3],"x":§}"""),
        ("/v1/normalize", "backward.dy", $$$"""{"kind":"layer_norm","normalized_shape":[3],"x":{{{Good[0]}}},"backward":{"dy":§}}"""),
    ];

    private static readonly string[] BadTensors =
    [
        "3", "true", "\"text\"", "NaN", "{}", "{\"shape\":[2,3]}", "{\"data\":[1]}", "{\"shape\":[2,3],\"data\":[1]}", "{\"shape\":\"a\",\"data\":[]}",
        "{\"shape\":[-1,3],\"data\":[]}", "{\"shape\":[2.5,3],\"data\":[]}", "{\"shape\":[2,3],\"data\":[1,2,3,4,5,6],\"dtype\":\"f4\"}", "{\"shape\":[2,3],\"data\":7}",
        "{\"shape\":[2,3],\"data\":[[1,2,3],[4,5,6]]}", "{\"shape\":[99999999999,3],\"data\":[]}", "{\"shape\":[65536,65536],\"data\":[]}", "[[1,2],[3]]", "[[1,2,3],4]",
        "[[1,null,3]]", "[[1,\"a\",3]]", "[[1,\"nan\",3]]", "[[1,{},3]]", "[[1,true,3]]", "[[1,1e39,3]]", "[[1,-1e400,3]]", "[[[[[[[[[1]]]]]]]]]",
        "[[\"\\u0000\\u001b\\u202e\\ud83d\\ude00\",1,2]]", "[[\"" + "😀😀😀😀😀😀😀😀😀😀😀😀😀😀" + "\",1,2]]",
    ];

    // § stands for a field with its value; what comes back names the place.
    private static readonly (string Text, string Words)[] NotJson =
    [
        ("", "the body is empty"), ("  \n", "the body is empty"), ("{\"x\":[[1,2,3],]}", "a comma stands before the closing ']'; remove it (line 1, column 14)"),
        ("{\"x\":[[1,2,3,]]}", "remove it (line 1, column 13)"), ("{\"x\":[[1,2,3]],}", "a comma stands before the closing '}'"), ("{\n \"x\": [[1,,2]]}", "(line 2, column 11)"),
        ("{'x':[[1,2,3]]}", "expected a name in double quotes, got 'x'"), ("{x:[[1,2,3]]}", "expected a name in double quotes, got x"),
        ("{\"x\":[[1,2,3]] // done\n}", "expected ',' or '}', got //"), ("/* x */ {\"x\":[[1,2,3]]}", "JSON has no comments"), ("# x\n{}", "JSON has no comments"),
        ("{\"x\":[[1,2,3]", "expected ',' or ']', got the end of the text"), ("{\"x\":", "got the end of the text"), ("{\"x", "a text has no closing quote"), ("{\"x\":[[1,\"Na", "a text has no closing quote"),
        ("{\"x\":None}", "got None; JSON writes null"), ("{\"x\":[[1,nan,2]]}", "got nan; send \"NaN\""), ("{\"x\":[[1,inf,2]]}", "\"Infinity\" or \"-Infinity\""),
        ("{\"x\":[[1,01,2]]}", "got 01"), ("{\"x\":[[1,.5,2]]}", "got .5"), ("{\"x\":[[1,+5,2]]}", "got +5"), ("{\"x\":[[1,0x10,2]]}", ""), ("{\"x\":[[1,1_000,2]]}", "got 1_000"),
        ("{\"x\" [[1,2,3]]}", "expected ':' after a name, got an array"), ("{\"x\":[[1 2 3]]}", "expected ',' or ']', got 2"), ("{\"x\":[[1,2,3]]}}", "it goes on after its end with '}'"),
        ("{\"x\":[[1,2,3]]}{\"x\":1}", "it goes on after its end with an object"), ("{\"x\":[[1,2,3]]}\0", "it goes on after its end"), ("{\"x\":\"a\nb\"}", "write it as an escape"),
        ("{\"x\":\"a\\qb\"}", "is no escape in JSON"), ("{\"x\":\"\\u12\"}", ""), ("{\"x\":[[1,2,3}", "expected ',' or ']', got '}'"), ("<html></html>", "expected a value, got <html><"), ("x=1&y=2", "expected a value"),
        ("{\"\x01\x02\":1}", ""), ("\x7f\x1b[31m", "expected a value"),
    ];

    [Fact]
    public async Task A_tensor_that_is_none_is_refused_by_its_name()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        foreach (var (call, field, body) in Tensors)
        {
            foreach (var tensor in BadTensors)
            {
                // A weight of any width, and rows of any number, are right for some calls.
                var answer = await RefusedAsync(session, call, Forms.Json, Encoding.UTF8.GetBytes(body.Replace("§", tensor, StringComparison.Ordinal)));
                Assert.Contains(answer["code"].GetString(), (string[])["malformed-body", "shape-mismatch", "non-finite-input", "invalid-option", "limit-reached"]);
                Assert.True(answer.Detail.Contains(field, StringComparison.Ordinal), $"{call} {tensor}: {answer.Detail}");
            }
        }
    }

    [Fact]
    public async Task What_is_no_JSON_is_explained()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        foreach (var call in (string[])["train-step", "inference", "backward", "calibration/batches", "fold", "/v1/normalize", "/v1/sessions", "merge"])
        {
            foreach (var (text, words) in NotJson)
            {
                var answer = await RefusedAsync(session, call, Forms.Json, Encoding.Latin1.GetBytes(text));
                // Of two things that are wrong the first one is told: a field that the call does not know, or a tensor that is none.
                if (!answer.Detail.StartsWith("the body", StringComparison.Ordinal))
                    Assert.Contains(answer["code"].GetString(), (string[])["invalid-option", "malformed-body", "shape-mismatch"]);
                else if (answer.Detail.Contains("JSON", StringComparison.Ordinal)) Assert.True(answer.Detail.Contains(words, StringComparison.Ordinal), $"{text}: {answer.Detail}");
            }
        }
        foreach (var (text, words) in NotJson)
        {
            var detail = (await RefusedAsync(session, "train-step", Forms.Json, Encoding.Latin1.GetBytes(text))).Detail;
            if (!text.Contains('\x01') && !text.Contains("\"x\":\"", StringComparison.Ordinal))
                Assert.True(detail.StartsWith("the body is ", StringComparison.Ordinal) && detail.Contains(words, StringComparison.Ordinal), $"{text}: {detail}");
        }
    }

    [Theory]
    [InlineData("/v1/sessions", """{"num_features":3,"nosuch":1}""", "nosuch")]
    [InlineData("/v1/sessions", """{"num_features":"3"}""", "num_features")]
    [InlineData("/v1/sessions", """{"num_features":3,"kind":"batchnorm"}""", "kind")]
    [InlineData("/v1/sessions", """{"num_features":3,"labels":{"a":{"b":1}}}""", "labels")]
    [InlineData("/v1/sessions", """{"num_features":3,"labels":["a"]}""", "labels")]
    [InlineData("/v1/sessions", """{"num_features":3,"renorm":{"r_max":"a"}}""", "renorm.r_max")]
    [InlineData("/v1/sessions", """{"num_features":3,"name":"a b"}""", "name")]
    [InlineData("/v1/sessions", """{"num_features":3,"eps":{}}""", "eps")]
    [InlineData("/v1/sessions", """{"normalized_shape":[3,"a"],"kind":"layer_norm"}""", "normalized_shape")]
    [InlineData("/v1/sessions", """{"normalized_shape":[3,0.5],"kind":"layer_norm"}""", "got 0.5 at normalized_shape[1]")]
    [InlineData("backward", """{"dy":[[1,2,3]],"step_id":7}""", "step_id")]
    [InlineData("backward", """{"dy":[[1,2,3],[1,2,4]],"x":[[1,2,3],[1,2,4]],"update":"sgd"}""", "update")]
    [InlineData("backward", """{"dy":[[1,2,3],[1,2,4]],"x":[[1,2,3],[1,2,4]],"update":{"optimizer":"lion"}}""", "update.optimizer")]
    [InlineData("train-step", """{"x":[[1,2,3],[1,2,4]],"mask":[1,2]}""", "mask")]
    [InlineData("train-step", """{"x":[[1,2,3],[1,2,4]],"mask":[1,"a"]}""", "mask")]
    [InlineData("train-step", """{"x":[[1,2,3],[1,2,4]],"mask":[1,0]}""", "mask")]
    [InlineData("train-step", """{"x":[[1,2,3],[1,2,4]],"mask":"1"}""", "mask")]
    [InlineData("train-step", """{"x":[[1,2,3],[1,2,4]],"retain":"yes"}""", "retain")]
    [InlineData("train-step", """{"x":[[1,2,3]]}""", "x")]
    [InlineData("train-step", """{"x":[[1,3,3],[1,NaN,4]]}""", "element 4 is NaN, at x[1][1]")]
    [InlineData("calibration/batches", """{"x":[[1,NaN,3],[1,2,4]]}""", "element 1 is NaN, at x[0][1]")]
    [InlineData("fold", """{"layer":"dense","weight":[[1,2,3]]}""", "layer")]
    [InlineData("fold", """{"layer":"linear","weight":[[1],[2],[3]],"bias":[1,null,2]}""", "bias[1]")]
    [InlineData("fold", """{"layer":"linear","weight":[[1],[2],[3]],"bias":{"a":1}}""", "bias")]
    [InlineData("merge", """{"moments":[{"count":2,"mean":[1,2,"a"],"m2":[1,2,3]}]}""", "moments[0].mean[2]")]
    [InlineData("merge", """{"moments":7}""", "moments")]
    [InlineData("merge", """{"moments":[7]}""", "moments[0]")]
    [InlineData("/v1/normalize", """{"kind":"group_norm","num_groups":3,"x":[[1,2,3]],"backward":{"dy":[[1,2,3]]}}""", "group and sample")]
    [InlineData("/v1/normalize", """{"kind":"instance_norm","x":[[1,2,3]],"backward":{"dy":[[1,2,3]]}}""", "channel and sample")]
    [InlineData("/v1/normalize", """{"kind":"layer_norm","normalized_shape":[4],"x":[[1,2,3]]}""", "x")]
    public async Task A_field_that_is_wrong_is_named(string call, string body, string field)
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        var answer = await RefusedAsync(session, call, Forms.Json, Encoding.UTF8.GetBytes(body));
        Assert.Contains(field, answer.Detail, StringComparison.Ordinal);
    }

    [Fact]
    public async Task What_is_no_array_or_file_of_tensors_is_explained()
    {
        var session = await service.CreateAsync("""{"num_features":3}""");
        var elements = new byte[24];
        string[] headers =
        [
            "", "x", "{}", "{'descr': '<f4'}", "{'descr': '<c8', 'fortran_order': False, 'shape': (2, 3)}", "{'descr': '|O', 'fortran_order': False, 'shape': (2, 3)}",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2, 3)}", "{'descr': '<f4', 'fortran_order': 1, 'shape': (2, 3)}", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 4)}",
            "{'descr': '<f4', 'fortran_order': False, 'shape': [2, 3]}", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, -3)}", "{'descr': '<f4', 'fortran_order': False, 'shape': (6)}",
            "{'descr': '\x01\x1b\x7f', 'fortran_order': False, 'shape': (2, 3)}", "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}; import os",
        ];
        foreach (var call in (string[])["train-step", "inference", "calibration/batches"])
        {
            foreach (var header in headers)
                Assert.StartsWith("npy: ", (await RefusedAsync(session, call, Forms.Npy, ArrayFile.Exactly(header, elements))).Detail, StringComparison.Ordinal);
            foreach (var body in (byte[][])[[], [.. "PK\x03\x04"u8], [.. "[[1,2,3]]"u8], [0x93, .. "NUMPY"u8, 9, 9]]) await RefusedAsync(session, call, Forms.Npy, body);
        }
        string[] entries =
        [
            "", "null", "{\"x\":7}", "{\"x\":{}}", Entry("F8_E4M3", "[2,3]", "[0,24]"), Entry("C64", "[1,3]", "[0,24]"), Entry("float32", "[2,3]", "[0,24]"), Entry("F32", "[2,4]", "[0,24]"),
            Entry("F32", "[2,3]", "[0,20]"), Entry("F32", "[2,3]", "[4,28]"), Entry("F32", "6", "[0,24]"), Entry("F32", "[2,3]", "[24,0]"), "{'x':1}", "{\"x\":1,}", "{\"x\":", "{\"\x01\x02\":{}}",
            "{\"__metadata__\":7}", "{\"__metadata__\":{\"retain\":true}}",
        ];
        foreach (var call in (string[])["train-step", "inference", "backward", "calibration/batches", "fold", "state"])
        {
            foreach (var entry in entries)
            {
                var answer = await RefusedAsync(session, call, Forms.Safetensors, TensorFile.Exactly(Encoding.Latin1.GetBytes(entry), elements));
                // Where the call has no x, that is told first.
                Assert.True(answer.Detail.StartsWith("safetensors: ", StringComparison.Ordinal) || answer.Detail.StartsWith("'x' is not a field", StringComparison.Ordinal), answer.Detail);
            }
            foreach (var body in (byte[][])[[], [1, 2, 3], [.. "[[1,2,3],[1,2,4]]"u8], [255, 255, 255, 255, 255, 255, 255, 255]]) await RefusedAsync(session, call, Forms.Safetensors, body);
        }
    }

    [Fact]
    public async Task What_is_no_request_of_the_protocol_is_explained()
    {
        var model = await service.ModelAsync("""{"num_features":3}""");
        foreach (var (text, _) in NotJson)
        {
            var error = Readable(await model.SendAsync(Encoding.Latin1.GetBytes(text)), text);
            if (error.Contains("JSON", StringComparison.Ordinal)) Assert.Contains("the body", error, StringComparison.Ordinal);
        }
        string[] data = ["null", "7", "\"a\"", "{}", "[1,2,3,null]", "[1,2,{\"a\":1}]", "[1,2,\"3\"]", "[1,2,3,]", "[1,2", "[[1,2],3]", "[1,01,2]", "[1,2,1e39]", "[1,2,True]", "[1,2,'3']", "[1,2,3\0]"];
        foreach (var item in data)
        {
            var error = Readable(await model.InferAsync($$"""{"inputs":[{"name":"x","shape":[1,3],"datatype":"FP32","data":{{item}}}]}"""), item);
            Assert.True(error.Contains("data", StringComparison.Ordinal) || error.StartsWith("x element ", StringComparison.Ordinal) || error.StartsWith("the body", StringComparison.Ordinal), $"{item}: {error}");
        }
        Assert.EndsWith("got null", Readable(await model.InferAsync("""{"inputs":[{"name":"x","shape":[2,3],"datatype":"FP32","data":[1,2,3,null,5,6]}]}"""), "null"), StringComparison.Ordinal);

        var json = ModelClient.Request(ModelClient.BinaryInput([1, 3], "FP32", 12));
        var tensor = Elements.Of("F32", [1, 2, 3]);
        byte[] body = [.. Encoding.UTF8.GetBytes(json), .. tensor];
        // Without the header, and with one that is wrong.
        Assert.Contains($"send the header Inference-Header-Content-Length: {json.Length}", Readable(await model.SendAsync(body), "none"), StringComparison.Ordinal);
        foreach (var length in (int[])[1, json.Length - 1, json.Length + 1, json.Length + 12])
        {
            var error = Readable(await model.SendAsync(body, (ModelClient.LengthHeader, $"{length}")), $"{length}");
            Assert.Contains("Inference-Header-Content-Length", error, StringComparison.Ordinal);
        }
        InferResult.Of(await model.SendAsync(body, (ModelClient.LengthHeader, $"{json.Length}")));
    }

    private static string Entry(string type, string shape, string offsets) => $"{{\"x\":{{\"dtype\":\"{type}\",\"shape\":{shape},\"data_offsets\":{offsets}}}}}";

    private async Task<Answer> RefusedAsync(SessionClient session, string call, string form, byte[] body)
    {
        var before = await session.StateAsync();
        var path = call.StartsWith('/') ? call : $"{session.Path}/{call}";
        var answer = await service.Client.SendAsync(call == "state" ? HttpMethod.Put : HttpMethod.Post, path, ServiceClient.Content(form, body));
        Assert.True(answer.Status is 400 or 409 or 422, $"{call} {Encoding.Latin1.GetString(body)}: {answer.Status} {answer.Text}");
        Check(answer.Detail, $"{call} {Encoding.Latin1.GetString(body)}");
        Assert.Equal(before, await session.StateAsync());
        return answer;
    }

    private static string Readable(Answer answer, string sent)
    {
        var error = answer.Expect(400)["error"].GetString()!;
        Check(error, sent);
        return error;
    }

    private static void Check(string detail, string sent)
    {
        foreach (var fragment in Forbidden)
        {
            // What came is quoted.
            if (!sent.Contains(fragment, StringComparison.Ordinal)) Assert.True(!detail.Contains(fragment, StringComparison.OrdinalIgnoreCase), $"'{fragment}' in: {detail}");
        }
        Assert.InRange(detail.Length, 1, 700);
        Assert.True(detail.EnumerateRunes().All(rune => !Rune.IsControl(rune)), $"a control character in: {detail}");
        Assert.False(detail.Where((character, i) => char.IsSurrogate(character) && !(char.IsSurrogatePair(detail, Math.Min(i, detail.Length - 2)) || (i > 0 && char.IsSurrogatePair(detail, i - 1)))).Any(), detail);
    }
}
