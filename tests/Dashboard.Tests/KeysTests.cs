using BnService.Dashboard.Tests.Harness;
using Microsoft.Playwright;

namespace BnService.Dashboard.Tests;

/// <summary>A service that asks for keys.</summary>
[Collection(BrowserTests.Name)]
public sealed class KeysTests(Browser browser)
{
    [Fact]
    public async Task The_page_asks_for_a_key_and_keeps_it_in_the_session_alone()
    {
        using var service = await ServiceProcess.StartAsync();
        await service.Client.TrainWinesAsync("wine", 3);
        var admin = await KeyedService.CreateAsync(service.Client, "admin", null, null);
        await using var window = await browser.OpenAsync(service.Address);
        await window.GoAsync();
        await window.SeesAsync("This service asks for a key");
        await window.RequireNoViolationsAsync();
        await window.Page.GetByLabel("API key").FillAsync("bn_0000000000000000_wrong");
        await window.Page.Keyboard.PressAsync("Enter");
        await window.SeesAsync("The key was not accepted");
        await window.Page.GetByLabel("API key").FillAsync(admin);
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Use this key" }).ClickAsync();
        await window.SeesAsync("1 session, newest first");
        await window.SeesAsync("live");
        await window.Page.GetByRole(AriaRole.Link, new() { Name = "wine" }).ClickAsync();
        await window.SeesAsync("Running variance");
        await window.SeesAsync("live");
        Assert.DoesNotContain(window.Requests, request => request.Contains(admin, StringComparison.Ordinal));
        Assert.Equal(admin, await window.Page.EvaluateAsync<string>("sessionStorage.getItem('bnservice.key')"));
        Assert.Equal(0, await window.Page.EvaluateAsync<int>("localStorage.length"));
        Assert.Equal("", await window.Page.EvaluateAsync<string>("document.cookie"));
        // Within the tab it is not asked for again; another window has to.
        await window.Page.ReloadAsync();
        await window.SeesAsync("Running variance");
        await using var other = await browser.OpenAsync(service.Address);
        await other.GoAsync();
        await other.SeesAsync("This service asks for a key");
    }

    [Fact]
    public async Task An_open_page_says_that_the_first_key_has_been_created()
    {
        using var service = await ServiceProcess.StartAsync();
        await service.Client.TrainWinesAsync("wine", 3);
        await using var window = await browser.OpenAsync(service.Address);
        await window.GoAsync();
        await window.SeesAsync("1 session, newest first");
        await KeyedService.CreateAsync(service.Client, "admin", null, null);
        await window.Page.GetByRole(AriaRole.Link, new() { Name = "wine" }).ClickAsync();
        await window.SeesAsync("The first key of this service has been created: from now on every call needs a key");
    }

    [Fact]
    public async Task A_reader_is_told_what_his_key_may_not_do_and_sees_what_it_may()
    {
        using var service = await ServiceProcess.StartAsync();
        await service.Client.TrainWinesAsync("team-a.wine", 3);
        await service.Client.TrainWinesAsync("team-b.wine", 3);
        var admin = await KeyedService.CreateAsync(service.Client, "admin", null, null);
        var reader = await KeyedService.CreateAsync(service.Client, "reader", "team-a.", admin);
        await using var window = await browser.OpenAsync(service.Address);
        await window.GoAsync();
        await window.Page.GetByLabel("API key").FillAsync(reader);
        await window.Page.Keyboard.PressAsync("Enter");
        await window.SeesAsync("1 session, newest first");
        await window.GoAsync("/#/sessions/team-b.wine");
        await window.SeesAsync("there is no session 'team-b.wine'");
        await window.GoAsync("/#/sessions/team-a.wine");
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Take a snapshot" }).ClickAsync();
        await window.SeesAsync("Your key may not do this: this call needs the role trainer");
        await window.GoAsync("/#/try/team-a.wine");
        await window.Page.GetByLabel("Paste a tensor").FillAsync("1,2,3,4,5,6,7,8,9,10,11,12,13");
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Run a train-step" }).ClickAsync();
        await window.SeesAsync("Your key may not do this: this call needs the role trainer");
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Run inference" }).ClickAsync();
        await window.SeesAsync("nothing has changed");
        // The key itself is in nobody's clipboard.
        await window.SeesAsync("Bearer $BN_KEY");
        Assert.DoesNotContain(reader, await window.Page.ContentAsync(), StringComparison.Ordinal);
    }
}
