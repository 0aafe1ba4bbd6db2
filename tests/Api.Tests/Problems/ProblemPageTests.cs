using System.Net;
using System.Text.RegularExpressions;
using BnService.Api.Errors;

namespace BnService.Api.Tests.Problems;

public sealed partial class ProblemPageTests(Service service) : IClassFixture<Service>
{
    public static TheoryData<string> Codes => new(ApiContract.Codes);

    [Fact]
    public void The_problems_of_the_service_are_those_of_the_contract()
    {
        Assert.Equal(ApiContract.Codes.Order(), ProblemCode.All.Keys.Order());
        Assert.All(ProblemCode.All.Values, problem => Assert.Equal(ApiContract.StatusOf(problem.Code), problem.Status));
    }

    [Theory]
    [MemberData(nameof(Codes))]
    public async Task The_type_of_every_problem_is_a_page_that_says_what_it_means_and_what_to_do(string code)
    {
        var page = (await service.Client.GetAsync($"/problems/{code}")).Expect(200);
        Assert.Equal("text/html", page.ContentType);
        var problem = ProblemCode.All[code];
        Assert.Contains($"<h1>{WebUtility.HtmlEncode(problem.Title)}</h1>", page.Text, StringComparison.Ordinal);
        Assert.Contains($"<code>{code}</code>, HTTP status {ApiContract.StatusOf(code)}", page.Text, StringComparison.Ordinal);
        Assert.Contains(WebUtility.HtmlEncode(problem.Meaning), page.Text, StringComparison.Ordinal);
        Assert.Contains(WebUtility.HtmlEncode(problem.Remedy), page.Text, StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_index_leads_to_every_page()
    {
        var page = (await service.Client.GetAsync("/problems")).Expect(200);
        Assert.Equal(ApiContract.Codes.Order(), Link().Matches(page.Text).Select(match => match.Groups[1].Value).Order());
    }

    [Theory]
    [InlineData("nosuch")]
    [InlineData("MALFORMED-BODY")]
    [InlineData("%3Cscript%3E")]
    public async Task There_is_no_page_of_a_problem_that_there_is_not(string code)
    {
        var answer = await service.Client.GetAsync($"/problems/{code}");
        answer.ExpectProblem("not-found", "there is no problem '", "/problems lists all");
    }

    [GeneratedRegex("href=\"/problems/([a-z-]+)\"")]
    private static partial Regex Link();
}
