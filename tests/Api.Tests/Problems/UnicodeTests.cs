using System.Text;

namespace BnService.Api.Tests.Problems;

/// <summary>Bytes that are no UTF-8, escapes that are no character, wherever text can stand.</summary>
public sealed class UnicodeTests(Service service) : IClassFixture<Service>
{
    // § stands for the text under test: a name, a string value, or a part of one.
    private static readonly string[] Places =
    [
        """/sessions {"§":1,"num_features":2}""",
        """/sessions {"num_features":2,"§":1}""",
        """/sessions {"num_features":2,"name":"§"}""",
        """/sessions {"num_features":2,"kind":"§"}""",
        """/sessions {"num_features":2,"mode":"§"}""",
        """/sessions {"num_features":2,"eps":"§"}""",
        """/sessions {"num_features":"§"}""",
        """/sessions {"num_features":2,"labels":{"§":"a"}}""",
        """/sessions {"num_features":2,"labels":{"a":"§"}}""",
        """/sessions {"num_features":2,"labels":"§"}""",
        """/train-step {"x":[["§",1],[2,3]]}""",
        """/train-step {"x":["§"]}""",
        """/train-step {"x":"§"}""",
        """/train-step {"x":{"§":1}}""",
        """/train-step {"x":{"shape":["§"],"data":[1]}}""",
        """/train-step {"x":{"shape":"§","data":[1]}}""",
        """/train-step {"x":{"shape":[1,2],"data":["§"]}}""",
        """/train-step {"x":{"shape":[1,2],"data":"§"}}""",
        """/train-step {"x":[[1,2],[3,4]],"retain":"§"}""",
        """/train-step {"x":[[1,2],[3,4]],"§":true}""",
        """/backward {"step_id":"§","dy":[[1,2],[3,4]]}""",
        """/backward {"x":[[1,2],[3,4]],"dy":[[1,2],[3,"§"]]}""",
        """/backward {"x":[[1,2],[3,4]],"dy":[[1,2],[3,4]],"mode":"§"}""",
        """/backward {"x":[[1,2],[3,4]],"dy":[[1,2],[3,4]],"update":{"§":1}}""",
        """/backward {"x":[[1,2],[3,4]],"dy":[[1,2],[3,4]],"update":{"optimizer":"§"}}""",
        """/backward {"x":[[1,2],[3,4]],"dy":[[1,2],[3,4]],"update":{"optimizer":"sgd","learning_rate":"§"}}""",
        """/parameters {"gamma":["§",1]}""",
        """/parameters {"§":[1,1]}""",
        """/reset {"parameters":"§"}""",
    ];

    // Latin-1, one character for each byte.
    private static readonly string[] Texts =
    [
        "\\ud800", "\\udc00", "\\ud800\\ud800", "\\ud800x", "N\\ud800N", "sh\\ud83dpe", "\\uDBFF\\u0041", "x\\udfff",
        "\xff", "\xc0\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\xe2\x82", "\x80", "N\xffN", "shap\xff",
    ];

    public static TheoryData<string> AllPlaces => new(Places);

    [Theory]
    [MemberData(nameof(AllPlaces))]
    public async Task Text_that_is_no_Unicode_is_refused_and_nothing_fails(string place)
    {
        var session = await service.CreateAsync("""{"num_features":2}""");
        foreach (var text in Texts)
        {
            var answer = await session.RefusedAsync(s => SendAsync(s, place, text));
            Assert.Contains(answer["code"].GetString(), (string[])["malformed-body", "invalid-option", "shape-mismatch", "step-expired"]);
        }
    }

    [Theory]
    [InlineData("\\u0000")]
    [InlineData("\\ud83d\\ude00")]
    [InlineData("\xf0\x9f\x98\x80")]
    [InlineData("\\\" \\\\ \\n <script>")]
    [InlineData("\xe2\x80\xae")]
    public async Task Text_that_is_Unicode_travels_through_labels_unchanged(string text)
    {
        var body = Encoding.Latin1.GetBytes($$$"""{"num_features":2,"labels":{"{{{text}}}":"{{{text}}}"}}""");
        var created = (await service.Client.SendAsync(HttpMethod.Post, "/v1/sessions", ServiceClient.JsonContent(body))).Expect(201);
        var label = Assert.Single(created["labels"].EnumerateObject());
        var sent = System.Text.Json.JsonDocument.Parse(body).RootElement.GetProperty("labels").EnumerateObject().Single();
        Assert.Equal(sent.Name, label.Name);
        Assert.Equal(sent.Value.GetString(), label.Value.GetString());
        Assert.Equal(created.Text, (await service.Client.GetAsync(created.Headers["Location"])).Text);
    }

    [Fact]
    public async Task Escapes_in_names_are_the_characters_that_they_stand_for()
    {
        var session = await service.CreateAsync("""{"\u006eum_features":2,"\u006dode":"\u0074rain"}""");
        (await session.TrainAsync("""{"\u0078":{"sh\u0061pe":[2,2],"d\u0061ta":[1,2,3,4]}}""")).Expect(200);
        (await session.InferAsync("""{"x":[["N\u0061N",1]]}""")).Expect(200);
    }

    private Task<Answer> SendAsync(SessionClient session, string place, string text)
    {
        var space = place.IndexOf(' ', StringComparison.Ordinal);
        var (call, body) = (place[..space], Encoding.Latin1.GetBytes(place[(space + 1)..].Replace("§", text, StringComparison.Ordinal)));
        var method = call == "/parameters" ? HttpMethod.Put : HttpMethod.Post;
        return service.Client.SendAsync(method, call == "/sessions" ? "/v1/sessions" : session.Path + call, ServiceClient.JsonContent(body));
    }
}
