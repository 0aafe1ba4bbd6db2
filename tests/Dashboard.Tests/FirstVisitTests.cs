using BnService.Dashboard.Tests.Harness;
using Microsoft.Playwright;

namespace BnService.Dashboard.Tests;

/// <summary>An empty service.</summary>
[Collection(BrowserTests.Name)]
public sealed class FirstVisitTests(Browser browser)
{
    [Fact]
    public async Task An_empty_service_says_what_to_do_in_three_steps_and_makes_a_sample()
    {
        using var service = await ServiceProcess.StartAsync();
        await using var window = await browser.OpenAsync(service.Address);
        await window.GoAsync();
        await window.SeesAsync("There are no sessions yet.");
        Assert.Equal(["Create a session", "Train it batch by batch", "Look at it here"], await window.Page.Locator(".first-visit ol h3").AllTextContentsAsync());
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Create a sample session" }).ClickAsync();
        await window.Page.WaitForURLAsync("**/#/sessions/wine");
        await window.SeesAsync("80 steps).");
        await window.SeesAsync("healthy");
        await window.Page.Locator(".chart", new() { HasText = "Drift of serving" }).GetByText("batches)").WaitForAsync();
        await window.RequireSoundAsync();
        var stats = (await new SessionClient(service.Client, "wine").StatsAsync()).Expect(200);
        Assert.Equal(80, stats["num_batches_tracked"].GetInt64());
        // Of the wines themselves: 13 % alcohol, and much proline.
        Assert.InRange(stats["running_mean"][0].GetDouble(), 12.5, 13.5);
        Assert.InRange(stats["running_mean"][12].GetDouble(), 650, 850);
        await window.GoAsync();
        await window.SeesAsync("1 session, newest first");
        Assert.Equal(0, await window.Page.Locator(".first-visit").CountAsync());
    }

    [Fact]
    public async Task The_steps_work_as_they_are_written()
    {
        using var service = await ServiceProcess.StartAsync();
        await using var window = await browser.OpenAsync(service.Address);
        await window.GoAsync();
        await window.SeesAsync("Begin in three steps");
        var commands = await window.Page.Locator(".first-visit code").AllTextContentsAsync();
        Assert.Equal(2, commands.Count);
        foreach (var command in commands) await Shell.RunAsync("bash", "/", "-c", command);
        await window.SeesAsync("demo");
        Assert.Equal(1, (await new SessionClient(service.Client, "demo").StatsAsync())["num_batches_tracked"].GetInt64());
    }
}
