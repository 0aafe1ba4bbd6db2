using System.Text.Json;

namespace BnService.Api.Tests.OpenApi;

public sealed class OpenApiDocumentTests(Service service) : IClassFixture<Service>
{
    [Fact]
    public async Task The_document_in_the_repository_is_the_one_that_the_service_serves()
    {
        var served = (await service.Client.GetAsync("/openapi/v1.json")).Expect(200);
        Assert.True(JsonElement.DeepEquals(served.Json, ApiDocument.CheckedIn.Root),
            $"{Repository.DocumentFile} is not what /openapi/v1.json answers; renew it with: {ApiDocument.Renewal}");
    }

    [Fact]
    public void The_document_is_of_version_3_1() =>
        Assert.StartsWith("3.1.", ApiDocument.CheckedIn.Root.GetProperty("openapi").GetString(), StringComparison.Ordinal);

    [Fact]
    public void Every_call_of_the_contract_is_an_operation_of_the_document()
    {
        string[] expected =
        [
            "DELETE /v1/keys/{id}",
            "DELETE /v1/sessions/{session}",
            "DELETE /v1/sessions/{session}/calibration",
            "GET /health/live",
            "GET /health/ready",
            "GET /v1/keys",
            "GET /v1/sessions",
            "GET /v1/sessions/{session}",
            "GET /v1/sessions/{session}/diagnostics",
            "GET /v1/sessions/{session}/history",
            "GET /v1/sessions/{session}/state",
            "GET /v1/sessions/{session}/stats",
            "PATCH /v1/sessions/{session}",
            "POST /v1/keys",
            "POST /v1/keys/{id}/rotate",
            "POST /v1/normalize",
            "POST /v1/sessions",
            "POST /v1/sessions/{session}/backward",
            "POST /v1/sessions/{session}/calibration/batches",
            "POST /v1/sessions/{session}/calibration/commit",
            "POST /v1/sessions/{session}/fold",
            "POST /v1/sessions/{session}/inference",
            "POST /v1/sessions/{session}/merge",
            "POST /v1/sessions/{session}/reset",
            "POST /v1/sessions/{session}/train-step",
            "PUT /v1/sessions/{session}/parameters",
            "PUT /v1/sessions/{session}/running-stats",
            "PUT /v1/sessions/{session}/state",
        ];
        var actual = ApiDocument.CheckedIn.Operations.Select(operation => $"{operation.Method} {operation.Template}").ToHashSet();
        Assert.Empty(expected.Except(actual));
    }

    [Fact]
    public void Every_operation_has_an_id_of_its_own_a_summary_a_description_and_a_tag_that_is_explained()
    {
        var document = ApiDocument.CheckedIn;
        var explained = document.Root.GetProperty("tags").EnumerateArray()
            .Where(tag => HasText(tag, "description")).Select(tag => tag.GetProperty("name").GetString()).ToHashSet();
        foreach (var operation in document.Operations)
        {
            foreach (var field in (string[])["operationId", "summary", "description"])
                Assert.True(HasText(operation.Element, field), $"{operation.Method} {operation.Template} has no {field}");
            Assert.NotEmpty(operation.Element.GetProperty("tags").EnumerateArray());
            Assert.All(operation.Element.GetProperty("tags").EnumerateArray(), tag => Assert.Contains(tag.GetString(), explained));
        }
        Assert.Distinct(document.Operations.Select(operation => operation.Id));
    }

    [Fact]
    public void Every_parameter_and_every_response_has_a_description()
    {
        foreach (var operation in ApiDocument.CheckedIn.Operations)
        {
            if (operation.Element.TryGetProperty("parameters", out var parameters))
            {
                Assert.All(parameters.EnumerateArray(), parameter =>
                    Assert.True(HasText(parameter, "description"), $"parameter {parameter} of {operation.Id} has no description"));
            }
            Assert.All(operation.Element.GetProperty("responses").EnumerateObject(), response =>
                Assert.True(HasText(response.Value, "description"), $"{response.Name} of {operation.Id} has no description"));
        }
    }

    [Fact]
    public void Every_property_of_every_schema_has_a_description()
    {
        var properties =
            from name in ApiDocument.CheckedIn.Schemas
            let schema = ApiDocument.CheckedIn.Resolve(name)
            where schema.TryGetProperty("properties", out _)
            from property in schema.GetProperty("properties").EnumerateObject()
            select (Name: $"{name}.{property.Name}", property.Value);
        Assert.NotEmpty(properties);
        Assert.All(properties, property => Assert.True(HasText(property.Value, "description"), $"{property.Name} has no description"));
    }

    [Fact]
    public void Every_request_body_has_a_schema_and_an_example_that_fits_it()
    {
        foreach (var operation in ApiDocument.CheckedIn.Operations.Where(operation => operation.Element.TryGetProperty("requestBody", out _)))
        {
            var body = operation.Element.GetProperty("requestBody").GetProperty("content").GetProperty("application/json");
            Assert.True(body.TryGetProperty("example", out var example), $"the body of {operation.Id} has no example");
            new SchemaCheck(ApiDocument.CheckedIn, $"the example of {operation.Id}").Check(example, body.GetProperty("schema"), operation.Id);
        }
    }

    [Fact]
    public void Every_call_that_changes_a_session_takes_If_Match_and_declares_412()
    {
        var changing = ApiDocument.CheckedIn.Operations
            .Where(operation => operation.Template.Contains("{session}", StringComparison.Ordinal) && operation.Method != "GET"
                && operation.Id is not ("Inference" or "Fold" or "DeleteSnapshot"));
        Assert.Equal(18, changing.Count());
        Assert.All(changing, operation =>
        {
            Assert.Contains(operation.Element.GetProperty("parameters").EnumerateArray(), parameter => parameter.GetProperty("name").GetString() == "If-Match");
            Assert.True(operation.Element.GetProperty("responses").TryGetProperty("412", out _), operation.Id);
        });
    }

    [Fact]
    public void Errors_are_documented_as_problems_with_their_codes()
    {
        foreach (var operation in ApiDocument.CheckedIn.Operations)
        {
            foreach (var response in operation.Element.GetProperty("responses").EnumerateObject().Where(response => response.Name[0] is '4' or '5'))
            {
                Assert.True(response.Value.GetProperty("content").TryGetProperty("application/problem+json", out _), $"{response.Name} of {operation.Id}");
                var description = response.Value.GetProperty("description").GetString()!;
                Assert.Contains(ApiContract.Codes, code => description.Contains($"`{code}`", StringComparison.Ordinal));
            }
        }
    }

    private static bool HasText(JsonElement element, string field) =>
        element.TryGetProperty(field, out var text) && !string.IsNullOrWhiteSpace(text.GetString());

}
