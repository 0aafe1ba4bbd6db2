using BnService.Dashboard.Tests.Harness;
using Microsoft.Playwright;

namespace BnService.Dashboard.Tests;

/// <summary>All sessions: what is said of each, what is looked for, and how many there may be.</summary>
[Collection(BrowserTests.Name)]
public sealed class OverviewTests(Browser browser)
{
    private const int Many = 100_000;

    [Fact]
    public async Task Each_session_is_shown_with_its_health_and_why_and_search_and_filters_narrow_the_list()
    {
        using var service = await ServiceProcess.StartAsync();
        await service.Client.TrainWinesAsync("wine", 60);
        await service.Client.TrainWinesAsync("drifted", 60, change: x => (x * 2) + 3, changedFrom: 59);
        await service.Client.TrainWinesAsync("tiny", 60, size: 3);
        await service.Client.TrainWinesAsync("fresh", 2);
        await service.Client.TrainWinesAsync("dead", 60, options: ",\"gamma_init\":0");
        await service.Client.CreateAsync("""{"name":"rows","kind":"layer_norm","normalized_shape":[7]}""");
        await using var window = await browser.OpenAsync(service.Address);
        await window.GoAsync();
        (string Name, string Health, string Reason, string Kind, string Features, string Steps)[] expected =
        [
            ("rows", "healthy", "no running statistics", "layer_norm", "7", "0"), ("dead", "dead channels", "13 of 13 gammas", "batch_norm", "13", "60"),
            ("fresh", "settling", "81 % of the initial mean", "batch_norm", "13", "2"), ("tiny", "small batches", "3 values per statistic", "batch_norm", "13", "60"),
            ("drifted", "drifting", "diverges from the running statistics", "batch_norm", "13", "60"), ("wine", "healthy", "have settled", "batch_norm", "13", "60"),
        ];
        await window.SeesAsync("6 sessions, newest first");
        var rows = window.Page.Locator(".rows .row");
        Assert.Equal(expected.Length, await rows.CountAsync());
        for (var i = 0; i < expected.Length; i++)
        {
            var (row, session) = (rows.Nth(i), expected[i]);
            Assert.Equal(session.Name, await row.GetByRole(AriaRole.Link).TextContentAsync());
            Assert.Contains(session.Health, await row.Locator(".mark").TextContentAsync(), StringComparison.Ordinal);
            Assert.Contains(session.Reason, await row.Locator(".reason").TextContentAsync(), StringComparison.Ordinal);
            var cells = await row.GetByRole(AriaRole.Cell).AllTextContentsAsync();
            Assert.Equal([session.Kind, $"{session.Features} features", $"{session.Steps} steps"], cells.Skip(3).Take(3));
            Assert.Matches("now|ago", cells[6]);
            var drift = await row.Locator(".sparkline").GetAttributeAsync("aria-label");
            Assert.Contains(session.Steps == "0" ? "no train-steps" : $"last {Math.Min(32, int.Parse(session.Steps))} train-steps", drift, StringComparison.Ordinal);
        }

        await window.Page.GetByLabel("Health").SelectOptionAsync("drifting");
        await ListsAsync(window, "drifted");
        await window.Page.GetByLabel("Health").SelectOptionAsync("");
        await window.Page.GetByLabel("Kind").SelectOptionAsync("layer_norm");
        await ListsAsync(window, "rows");
        await window.Page.GetByLabel("Kind").SelectOptionAsync("");
        await window.Page.GetByLabel("Search").FillAsync("RES");
        await ListsAsync(window, "fresh");
        // An address with filters leads to the same list.
        await window.Page.ReloadAsync();
        await ListsAsync(window, "fresh");
        await window.Page.GetByLabel("Search").FillAsync("<b>nothing</b>");
        await window.SeesAsync("No session fits.");
        await window.RequireSoundAsync();
    }

    [Fact]
    public async Task A_hundred_thousand_sessions_are_paged_without_a_request_or_an_element_for_each()
    {
        using var sessions = new Sessions();
        using (var first = await sessions.StartAsync()) await first.Client.TrainWinesAsync("newest", 1);
        sessions.Multiply(Many);
        using var service = await sessions.StartAsync();
        await using var window = await browser.OpenAsync(service.Address);
        await window.GoAsync();
        await window.SeesAsync("100,001 sessions");
        await window.SeesAsync("many-99999");
        Assert.InRange(ListRequests(window), 1, 3);

        // Somewhat further, as somebody does who looks around.
        for (var i = 1; i <= 10; i++) await window.Page.EvaluateAsync($"scrollTo(0, {2000 * i})");
        await window.SeesAsync("many-99786");
        Assert.InRange(ListRequests(window), 1, 12);
        Assert.InRange(await window.Page.Locator(".row").CountAsync(), 10, 80);

        // And to the end at once.
        await window.Page.EvaluateAsync("scrollTo(0, document.documentElement.scrollHeight)");
        await window.Page.GetByRole(AriaRole.Link, new() { Name = "many-1", Exact = true }).WaitForAsync(new() { Timeout = 90_000 });
        Assert.InRange(ListRequests(window), 100, 140);
        Assert.InRange(await window.Page.Locator(".row").CountAsync(), 10, 80);

        await window.Page.GetByLabel("Search").FillAsync("many-7777");
        await window.SeesAsync("11 sessions");
        await window.Page.GetByLabel("Search").FillAsync("");
        await window.Page.GetByLabel("Health").SelectOptionAsync("healthy");
        await window.SeesAsync("No session fits.");
        Assert.Empty(window.Complaints);
    }

    [Fact]
    public async Task What_moves_or_comes_or_goes_is_seen_without_a_reload()
    {
        using var service = await ServiceProcess.StartAsync();
        var wine = await service.Client.TrainWinesAsync("wine", 3);
        await using var window = await browser.OpenAsync(service.Address);
        await window.GoAsync();
        await window.SeesAsync("3 steps");
        await window.SeesAsync("live");
        await wine.StepAsync(4);
        await window.SeesAsync("4 steps");
        await service.Client.CreateAsync("""{"name":"another","num_features":2}""");
        await window.SeesAsync("2 sessions");
        await window.SeesAsync("another");
        (await wine.DeleteAsync()).Expect(204);
        await window.SeesAsync("1 session,");
        await ListsAsync(window, "another");
    }

    private static int ListRequests(Window window) => window.Requests.Count(request => request.Contains("/v1/sessions?", StringComparison.Ordinal));

    private static Task ListsAsync(Window window, string only) =>
        window.Page.WaitForFunctionAsync("name => { const links = [...document.querySelectorAll('.rows .row a')]; return links.length === 1 && links[0].textContent === name; }", only);
}
