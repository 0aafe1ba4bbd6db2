using BnService.Dashboard.Tests.Harness;
using Microsoft.Playwright;

namespace BnService.Dashboard.Tests;

/// <summary>The page moves while training runs, and goes on after a restart of the service.</summary>
[Collection(BrowserTests.Name)]
public sealed class LiveTests(Browser browser)
{
    [Fact]
    public async Task It_moves_with_the_training_and_survives_a_restart_of_the_service()
    {
        using var sessions = new Sessions();
        var first = await sessions.StartAsync();
        var session = await first.Client.TrainWinesAsync("wine", 3);
        await using var window = await browser.OpenAsync(first.Address);
        await window.GoAsync("/#/sessions/wine");
        await StepsAsync(window, 3);
        await window.SeesAsync("live");
        for (var step = 4; step <= 8; step++)
        {
            await session.StepAsync(step);
            await StepsAsync(window, step);
        }
        await window.SeesAsync("8 steps).");
        await session.ServeAsync(1);
        await window.SeesAsync("1 batch).");
        await window.Page.EvaluateAsync("window.isTheSamePage = true");

        first.Kill();
        await window.SeesAsync("connection lost");
        await window.RequireNoViolationsAsync();
        first.Dispose();
        using var second = await sessions.StartAsync();
        await window.Page.GetByText("live", new() { Exact = true }).WaitForAsync(new() { Timeout = 60_000 });
        session = new SessionClient(second.Client, "wine");
        await session.StepAsync(9);
        await StepsAsync(window, 9);
        // The service has forgotten its history; the page has not.
        await window.SeesAsync("9 steps).");
        Assert.True(await window.Page.EvaluateAsync<bool>("window.isTheSamePage"));
    }

    [Fact]
    public async Task A_session_that_is_deleted_says_so_and_one_that_is_not_there_too()
    {
        using var service = await ServiceProcess.StartAsync();
        var session = await service.Client.TrainWinesAsync("wine", 3);
        await using var window = await browser.OpenAsync(service.Address);
        await window.GoAsync("/#/sessions/wine");
        await window.SeesAsync("live");
        (await session.DeleteAsync()).Expect(204);
        await window.SeesAsync("this session has been deleted");
        await window.GoAsync("/#/sessions/nothing");
        await window.SeesAsync("there is no session 'nothing'");
        await window.RequireNoViolationsAsync();
    }

    [Fact]
    public async Task A_service_that_stops_does_not_wait_for_who_looks_at_it()
    {
        using var service = await ServiceProcess.StartAsync();
        await service.Client.TrainWinesAsync("wine", 1);
        await using var window = await browser.OpenAsync(service.Address);
        await window.GoAsync("/#/sessions/wine");
        await window.SeesAsync("live");
        service.Terminate();
        Assert.Equal(0, await service.ExitAsync());
        Assert.DoesNotContain(service.Output, line => line.Contains("did not end", StringComparison.OrdinalIgnoreCase));
    }

    private static Task StepsAsync(Window window, int steps) =>
        window.Page.Locator(".facts div", new() { HasText = "Steps" }).GetByText($"{steps}", new() { Exact = true }).WaitForAsync(new() { State = WaitForSelectorState.Visible });
}
