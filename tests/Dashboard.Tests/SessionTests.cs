using BnService.Dashboard.Tests.Harness;
using Microsoft.Playwright;

namespace BnService.Dashboard.Tests;

/// <summary>The page of one session.</summary>
[Collection(BrowserTests.Name)]
public sealed class SessionTests(Browser browser)
{
    [Fact]
    public async Task Channels_say_their_numbers_to_the_pointer_and_to_the_keyboard_and_one_is_followed_over_time()
    {
        using var service = await ServiceProcess.StartAsync();
        var wine = await service.Client.TrainWinesAsync("wine", 20);
        var stats = (await wine.StatsAsync()).Expect(200);
        await using var window = await browser.OpenAsync(service.Address);
        await window.GoAsync("/#/sessions/wine");
        var strip = window.Page.GetByRole(AriaRole.Slider, new() { Name = "Running mean" });
        await strip.FocusAsync();
        Assert.Equal("12", await strip.GetAttributeAsync("aria-valuemax"));
        for (var channel = 1; channel <= 3; channel++)
        {
            await window.Page.Keyboard.PressAsync("ArrowRight");
            Assert.StartsWith($"channel {channel}: mean {Short(stats["running_mean"][channel].GetDouble())}", await strip.GetAttributeAsync("aria-valuetext"), StringComparison.Ordinal);
        }
        await window.Page.Keyboard.PressAsync("End");
        // What one strip is asked for, all say.
        await window.SeesAsync($"channel 12: mean {Short(stats["running_mean"][12].GetDouble())}");
        await window.SeesAsync($"channel 12: variance {Short(stats["running_var"][12].GetDouble())}");
        await window.SeesAsync("channel 12: gamma 1");
        await window.Page.Keyboard.PressAsync("Home");
        var box = (await strip.Locator("canvas").BoundingBoxAsync())!;
        await window.Page.Mouse.MoveAsync(box.X + (box.Width * 4.5f / 13), box.Y + (box.Height / 2));
        await window.SeesAsync($"channel 4: mean {Short(stats["running_mean"][4].GetDouble())}");
        await window.SeesAsync("Mean of channel 0: batch against running");
        await window.Page.Mouse.ClickAsync(box.X + (box.Width * 4.5f / 13), box.Y + (box.Height / 2));
        await window.SeesAsync("Mean of channel 4: batch against running");
        var line = window.Page.Locator(".chart", new() { HasText = "Mean of channel 4" }).Locator(".chart-summary");
        await line.GetByText($"running {Short(stats["running_mean"][4].GetDouble(), 3)} (20 steps)").WaitForAsync();
        foreach (var chart in (string[])["Drift of training", "Drift of serving", "Step rate", "Latency of a step", "Batch against running statistics"]) await window.SeesAsync(chart);
        Assert.True(await window.Page.Locator(".chart canvas").CountAsync() >= 6);
        await window.RequireSoundAsync();
    }

    [Theory]
    [InlineData(2048)]
    [InlineData(1)]
    public async Task Every_channel_has_a_cell_that_can_be_pointed_at(int channels)
    {
        using var service = await ServiceProcess.StartAsync();
        var session = await service.Client.CreateAsync($$"""{"name":"wide","num_features":{{channels}}}""");
        var mean = string.Join(',', Enumerable.Range(0, channels));
        (await session.PutRunningStatsAsync($$"""{"running_mean":[{{mean}}]}""")).Expect(200);
        foreach (var width in (int[])[1280, 375])
        {
            await using var window = await browser.OpenAsync(service.Address, width);
            await window.GoAsync("/#/sessions/wide");
            var canvas = window.Page.Locator(".strip-canvas").First;
            await canvas.ScrollIntoViewIfNeededAsync();
            await window.SeesAsync("channel 0: mean 0");
            var box = (await canvas.BoundingBoxAsync())!;
            Assert.True(box.Width * box.Height / channels >= 48, $"{box.Width} x {box.Height} pixels for {channels} channels");
            await window.Page.GetByRole(AriaRole.Slider, new() { Name = "Running mean" }).PressAsync("End");
            await window.SeesAsync($"channel {channels - 1}: mean {channels - 1}");
            await window.RequireSoundAsync();
        }
    }

    [Fact]
    public async Task Findings_come_with_their_remedies_and_convergence_with_its_numbers()
    {
        using var service = await ServiceProcess.StartAsync();
        var session = await service.Client.TrainWinesAsync("odd", 60, change: x => (x * 2) + 3, changedFrom: 59);
        for (var i = 0; i < 3; i++) await session.ServeAsync(i, x => -x);
        var diagnosis = (await session.DiagnosticsAsync()).Expect(200);
        await using var window = await browser.OpenAsync(service.Address);
        await window.GoAsync("/#/sessions/odd");
        await window.SeesAsync("drifting");
        foreach (var finding in diagnosis["findings"].EnumerateArray())
        {
            await window.SeesAsync(finding.GetProperty("detail").GetString()!);
            await window.SeesAsync(finding.GetProperty("remedy").GetString()!);
        }
        Assert.Contains(diagnosis["findings"].EnumerateArray(), finding => finding.GetProperty("code").GetString() == "inference-drift");
        await window.SeesAsync($"{Short(100 * diagnosis["convergence"].GetProperty("initial_weight").GetDouble(), 3)} %");
        await window.SeesAsync($"{Short(diagnosis["convergence"].GetProperty("mean_noise").GetProperty("value").GetDouble(), 3)}");
        await window.SeesAsync($"{Short(diagnosis["convergence"].GetProperty("gap").GetProperty("mean").GetProperty("value").GetDouble(), 3)} sd");
        await window.Page.Locator(".chart", new() { HasText = "Drift of serving" }).GetByText("(3 batches)").WaitForAsync();
        await window.RequireSoundAsync();
    }

    [Fact]
    public async Task A_snapshot_is_taken_compared_and_restored_and_what_is_said_of_it_is_text()
    {
        const string text = "<img src=x onerror=alert(1)> & <b>bold</b>";
        using var service = await ServiceProcess.StartAsync();
        var session = await service.Client.TrainWinesAsync("wine", 10, options: """,\"labels\":{\"<i>team</i>\":\"<script>alert(1)</script>\"}""".Replace("\\", "", StringComparison.Ordinal));
        var mean = (await session.StatsAsync())["running_mean"][12].GetDouble();
        await using var window = await browser.OpenAsync(service.Address);
        await window.GoAsync("/#/sessions/wine");
        await window.SeesAsync("<script>alert(1)</script>");
        await window.Page.GetByLabel("Description").FillAsync(text);
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Take a snapshot" }).ClickAsync();
        await window.SeesAsync(text);
        await session.StepAsync(11);
        await window.SeesAsync("11 steps).");
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Compare version 11 with now" }).ClickAsync();
        await window.SeesAsync("Version 11 against version 12");
        await window.SeesAsync("Running mean: 13 of 13 channels differ, the 8 that differ most");
        await window.SeesAsync("gamma: the same in all 13 channels.");
        await window.RequireNoViolationsAsync();
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Restore version 11" }).ClickAsync();
        await window.RequireNoViolationsAsync();
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Cancel" }).ClickAsync();
        Assert.Equal(11, (await session.StatsAsync())["num_batches_tracked"].GetInt64());
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Restore version 11" }).ClickAsync();
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Restore", Exact = true }).ClickAsync();
        await window.SeesAsync("13");
        await window.Page.WaitForFunctionAsync("() => [...document.querySelectorAll('.facts div')].some(row => row.textContent === 'Version13')");
        Assert.Equal(mean, (await session.StatsAsync())["running_mean"][12].GetDouble());
        Assert.Empty(window.Complaints);
    }

    [Fact]
    public async Task Sessions_that_keep_nothing_or_have_seen_nothing_are_shown_as_well()
    {
        using var service = await ServiceProcess.StartAsync();
        await service.Client.CreateAsync("""{"name":"rows","kind":"rms_norm","normalized_shape":[5],"affine":false}""");
        await service.Client.CreateAsync("""{"name":"new","num_features":5}""");
        await using var window = await browser.OpenAsync(service.Address);
        await window.GoAsync("/#/sessions/rows");
        await window.SeesAsync("keeps neither running statistics nor parameters");
        await window.SeesAsync("there is nothing that could converge");
        await window.RequireSoundAsync();
        await window.GoAsync("/#/sessions/new");
        await window.SeesAsync("no batch has moved the running statistics");
        await window.SeesAsync("No train-step has passed on this node since it started.");
        await window.RequireSoundAsync();
    }

    // As the page writes numbers.
    private static string Short(double value, int digits = 4)
    {
        var scale = Math.Pow(10, digits - 1 - (int)Math.Floor(Math.Log10(Math.Abs(value))));
        return (Math.Round(value * scale, MidpointRounding.AwayFromZero) / scale).ToString("0.################", System.Globalization.CultureInfo.InvariantCulture);
    }
}
