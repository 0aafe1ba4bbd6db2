using System.Net;
using System.Text.RegularExpressions;
using BnService.Dashboard.Tests.Harness;

namespace BnService.Dashboard.Tests;

/// <summary>How the page comes to the browser: small, at once, and with what it may do.</summary>
[Collection(BrowserTests.Name)]
public sealed partial class DeliveryTests(Browser browser)
{
    private const int MostBytes = 150_000;

    [Fact]
    public async Task The_page_is_small_and_comes_in_one_round_of_requests()
    {
        using var service = await ServiceProcess.StartAsync();
        await using var window = await browser.OpenAsync(service.Address);
        var sizes = new List<(string Path, int Bytes)>();
        window.Page.RequestFinished += async (_, request) =>
        {
            var bytes = (await request.SizesAsync()).ResponseBodySize;
            lock (sizes) sizes.Add((new Uri(request.Url).AbsolutePath, bytes));
        };
        await window.GoAsync();
        await window.SeesAsync("Begin in three steps");
        await window.SeesAsync("live");
        var paths = window.Requests.Select(request => new Uri(request.Split(' ')[1]).AbsolutePath).ToList();
        var assets = paths.Where(path => !path.StartsWith("/v1/", StringComparison.Ordinal) && path != "/icon.svg").ToList();
        // The page names all that it needs: nothing that comes asks for more.
        using var http = new HttpClient { BaseAddress = service.Address };
        var page = await http.GetStringAsync(new Uri("/", UriKind.Relative));
        Assert.Equal(["/", .. Assets().Matches(page).Select(match => match.Value).Order(StringComparer.Ordinal)], assets.Order(StringComparer.Ordinal));
        Assert.Equal(3, assets.Count);
        lock (sizes) Assert.InRange(sizes.Where(file => assets.Contains(file.Path)).Sum(file => file.Bytes), 10_000, MostBytes);
        Assert.All(paths.Where(path => path.StartsWith("/v1/", StringComparison.Ordinal)), path => Assert.Contains(path, (string[])["/v1/sessions", "/v1/events"]));
    }

    [Theory]
    [InlineData("br", "br")]
    [InlineData("gzip, deflate", "gzip")]
    [InlineData("gzip;q=0.5, br;q=0", "gzip")]
    [InlineData("identity", null)]
    [InlineData(null, null)]
    public async Task Files_come_in_the_coding_that_the_client_takes_and_are_kept_as_long_as_they_are_the_same(string? accepted, string? coding)
    {
        using var service = await ServiceProcess.StartAsync();
        using var http = new HttpClient(new HttpClientHandler { AutomaticDecompression = DecompressionMethods.None }) { BaseAddress = service.Address };
        using var page = await GetAsync(http, "/", accepted);
        Assert.Equal("no-cache", page.Headers.CacheControl!.ToString());
        using var plain = await GetAsync(http, "/", null);
        foreach (Match asset in Assets().Matches(await plain.Content.ReadAsStringAsync()))
        {
            using var answer = await GetAsync(http, asset.Value, accepted);
            Assert.Equal(HttpStatusCode.OK, answer.StatusCode);
            Assert.Equal(coding, answer.Content.Headers.ContentEncoding.SingleOrDefault());
            Assert.Equal("public, max-age=31536000, immutable", answer.Headers.CacheControl!.ToString());
            Assert.Equal("Accept-Encoding", answer.Headers.Vary.Single());
            Assert.Equal("nosniff", answer.Headers.GetValues("X-Content-Type-Options").Single());
            using var again = await GetAsync(http, asset.Value, accepted, answer.Headers.ETag!.ToString());
            Assert.Equal(HttpStatusCode.NotModified, again.StatusCode);
        }
        using var missing = await GetAsync(http, "/assets/none.js", accepted);
        Assert.Equal(HttpStatusCode.NotFound, missing.StatusCode);
    }

    [Fact]
    public async Task The_page_runs_nothing_that_is_inline_or_of_somebody_else()
    {
        using var service = await ServiceProcess.StartAsync();
        using var http = new HttpClient { BaseAddress = service.Address };
        using var answer = await http.GetAsync(new Uri("/", UriKind.Relative));
        var policy = answer.Headers.GetValues("Content-Security-Policy").Single();
        Assert.Contains("default-src 'self'", policy, StringComparison.Ordinal);
        Assert.DoesNotContain("unsafe", policy, StringComparison.Ordinal);
        Assert.DoesNotContain("http", policy, StringComparison.Ordinal);
        Assert.DoesNotContain("<style", await answer.Content.ReadAsStringAsync(), StringComparison.Ordinal);
        await using var window = await browser.OpenAsync(service.Address);
        await window.GoAsync();
        await window.SeesAsync("Begin in three steps");
        await window.Page.EvaluateAsync("() => { const script = document.createElement('script'); script.textContent = 'window.hasRun = true'; document.body.append(script); }");
        Assert.False(await window.Page.EvaluateAsync<bool>("window.hasRun === true"));
        // Swagger UI keeps its own.
        using var swagger = await http.GetAsync(new Uri("/swagger/index.html", UriKind.Relative));
        Assert.Contains("'unsafe-inline'", swagger.Headers.GetValues("Content-Security-Policy").Single(), StringComparison.Ordinal);
    }

    [Fact]
    public async Task All_of_it_can_be_reached_by_keyboard()
    {
        using var service = await ServiceProcess.StartAsync();
        await service.Client.TrainWinesAsync("wine", 3);
        await using var window = await browser.OpenAsync(service.Address);
        await window.GoAsync();
        await window.SeesAsync("1 session,");
        foreach (var expected in (string[])["Skip to the content", "BnService", "API", "Problems", "search", "kind", "health", "wine"])
        {
            await window.Page.Keyboard.PressAsync("Tab");
            var focused = await window.Page.EvaluateAsync<string>("document.activeElement.id || document.activeElement.textContent");
            Assert.Equal(expected, focused);
            Assert.NotEqual("none", await window.Page.EvaluateAsync<string>("getComputedStyle(document.activeElement).outlineStyle"));
        }
        await window.Page.Keyboard.PressAsync("Enter");
        await window.SeesAsync("Running variance");
        // The reader of the screen is where the new page begins.
        Assert.Equal("main", await window.Page.EvaluateAsync<string>("document.activeElement.id"));
        foreach (var expected in (string[])["← All sessions", "Try it"])
        {
            await window.Page.Keyboard.PressAsync("Tab");
            Assert.Equal(expected, await window.Page.EvaluateAsync<string>("document.activeElement.textContent"));
        }
        await window.Page.Keyboard.PressAsync("Enter");
        await window.SeesAsync("Run inference");
    }

    private static Task<HttpResponseMessage> GetAsync(HttpClient http, string path, string? accepted, string? known = null)
    {
        var request = new HttpRequestMessage(HttpMethod.Get, new Uri(path, UriKind.Relative));
        if (accepted is not null) request.Headers.TryAddWithoutValidation("Accept-Encoding", accepted);
        if (known is not null) request.Headers.TryAddWithoutValidation("If-None-Match", known);
        return http.SendAsync(request);
    }

    [GeneratedRegex("/assets/[^\"]+")]
    private static partial Regex Assets();
}
