using System.Text.RegularExpressions;

namespace BnService.Api.Tests.OpenApi;

public sealed partial class SwaggerTests(Service service) : IClassFixture<Service>
{
    [Theory]
    [InlineData("/swagger")]
    [InlineData("/swagger/")]
    public async Task The_short_paths_lead_to_the_page(string path)
    {
        var answer = await service.Client.GetAsync(path);
        Assert.Equal(301, answer.Status);
        Assert.EndsWith("index.html", answer.Headers["Location"], StringComparison.Ordinal);
    }

    [Fact]
    public async Task The_page_and_everything_that_it_loads_answer()
    {
        var page = (await service.Client.GetAsync("/swagger/index.html")).Expect(200);
        Assert.Equal("text/html", page.ContentType);
        var assets = Asset().Matches(page.Text).Select(match => match.Groups[1].Value)
            .Where(asset => !asset.StartsWith("data:", StringComparison.Ordinal)).ToList();
        Assert.Contains(assets, asset => asset.EndsWith(".js", StringComparison.Ordinal));
        Assert.Contains(assets, asset => asset.EndsWith(".css", StringComparison.Ordinal));
        foreach (var asset in assets)
        {
            Assert.False(asset.Contains("//", StringComparison.Ordinal), $"{asset} comes from elsewhere");
            var answer = (await service.Client.GetAsync($"/swagger/{asset.TrimStart('.', '/')}")).Expect(200);
            Assert.NotEmpty(answer.Body);
        }
    }

    [Fact]
    public async Task The_page_shows_the_document_of_the_service()
    {
        var script = (await service.Client.GetAsync("/swagger/index.js")).Expect(200);
        Assert.Contains("/openapi/v1.json", script.Text, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("/swagger/v1/swagger.json")]
    [InlineData("/swagger/v1/swagger.yaml")]
    public async Task There_is_no_second_document(string path) => (await service.Client.GetAsync(path)).ExpectProblem("not-found");

    [GeneratedRegex("(?:src|href)=[\"']([^\"']+)[\"']")]
    private static partial Regex Asset();
}
