using BnService.Dashboard.Tests.Harness;
using Microsoft.Playwright;

namespace BnService.Dashboard.Tests;

/// <summary>What the README shows, of a service with real data; renewed with BN_WRITE_PICTURES=1.</summary>
[Collection(BrowserTests.Name)]
public sealed class PictureTests(Browser browser)
{
    private static readonly string Folder = Environment.GetEnvironmentVariable("BN_WRITE_PICTURES") is "1"
        ? Path.Combine(Repository.Root, "docs", "dashboard")
        : Directory.CreateTempSubdirectory("bn-pictures").FullName;

    [Fact]
    public async Task The_pages_are_sound_in_light_and_dark_and_on_a_phone()
    {
        using var service = await ServiceProcess.StartAsync();
        await using (var empty = await browser.OpenAsync(service.Address, 1180, 720))
        {
            await empty.GoAsync();
            await empty.SeesAsync("Begin in three steps");
            await empty.RequireSoundAsync();
            await TakeAsync(empty, "first-visit");
        }
        await FillAsync(service.Client);

        await using (var window = await browser.OpenAsync(service.Address, 1180, 620))
        {
            await window.GoAsync();
            await window.SeesAsync("resnet-bn1");
            await window.SeesAsync("live");
            await window.RequireSoundAsync();
            await TakeAsync(window, "overview");
        }
        await using (var window = await browser.OpenAsync(service.Address, 1180, 1240))
        {
            await OpenSessionAsync(window, "resnet-bn1");
            await window.RequireSoundAsync();
            await TakeAsync(window, "session");
            await OpenSessionAsync(window, "wide");
            await window.RequireSoundAsync();
            await TakeAsync(window, "channels", "section:has(#channels)");
            await TryAsync(window);
            await window.RequireSoundAsync();
            await TakeAsync(window, "try-it");
        }
        await using (var dark = await browser.OpenAsync(service.Address, 1180, 1240, dark: true))
        {
            await dark.GoAsync();
            await dark.SeesAsync("resnet-bn1");
            await dark.RequireSoundAsync();
            await OpenSessionAsync(dark, "wine");
            await dark.RequireSoundAsync();
            await TakeAsync(dark, "session-dark");
            await TryAsync(dark);
            await dark.RequireSoundAsync();
        }
        await using var phone = await browser.OpenAsync(service.Address, 375, 720);
        await phone.GoAsync();
        await phone.SeesAsync("resnet-bn1");
        await phone.RequireSoundAsync();
        await TakeAsync(phone, "phone");
        await OpenSessionAsync(phone, "wide");
        await phone.RequireSoundAsync();
        await TryAsync(phone);
        await phone.RequireSoundAsync();
    }

    private static async Task FillAsync(ServiceClient client)
    {
        await client.TrainWinesAsync("fresh", 3);
        await client.TrainWinesAsync("tiny-batches", 60, size: 3);
        var drifting = await client.TrainWinesAsync("resnet-bn1", 80, change: x => (x * 1.3f) + 1, changedFrom: 79);
        for (var i = 0; i < 12; i++) await drifting.ServeAsync(i);
        var wine = await client.TrainWinesAsync("wine", 60);
        await client.TrainWinesAsync("pruned", 60, options: ",\"gamma_init\":0");
        for (var i = 0; i < 12; i++) await wine.ServeAsync(i);
        (await client.PostAsync($"{wine.Path}/snapshots", """{"description":"before the new vintage"}""")).Expect(201);
        for (var i = 0; i < 20; i++) await wine.StepAsync(1000 + i);
        var wide = await client.CreateAsync("""{"name":"wide","num_features":2048}""");
        var random = new Random(1);
        for (var step = 0; step < 3; step++)
        {
            var x = Enumerable.Range(0, 16 * 2048).Select(i => (float)((random.NextDouble() * (1 + (i % 2048 / 300))) + (i % 2048 / 500)));
            (await wide.TrainAsync($$"""{"x":{"shape":[16,2048],"data":[{{string.Join(',', x.Select(value => value.ToString(System.Globalization.CultureInfo.InvariantCulture)))}}]},"retain":false}""")).Expect(200);
        }
    }

    private static async Task OpenSessionAsync(Window window, string name)
    {
        await window.GoAsync($"/#/sessions/{name}");
        await window.SeesAsync("Running variance");
        await window.SeesAsync("live");
        await window.Page.WaitForTimeoutAsync(300);
    }

    private static async Task TryAsync(Window window)
    {
        await window.GoAsync("/#/try/wine");
        await window.SeesAsync("Run inference");
        await window.Page.SetInputFilesAsync("#file", new FilePayload
        {
            Name = "wine.csv",
            MimeType = "text/csv",
            Buffer = System.Text.Encoding.UTF8.GetBytes(string.Join('\n', File.ReadLines(Path.Combine(Repository.Root, "samples", "data", "wine.csv")).Skip(1).Select(line => line[..line.LastIndexOf(',')]))),
        });
        await window.SeesAsync("shape [178, 13]");
        await window.Page.GetByRole(AriaRole.Button, new() { Name = "Run inference" }).ClickAsync();
        await window.SeesAsync("The same call");
    }

    private static Task TakeAsync(Window window, string name, string? part = null)
    {
        var path = Path.Combine(Folder, $"{name}.png");
        return part is null
            ? window.Page.ScreenshotAsync(new() { Path = path })
            : window.Page.Locator(part).ScreenshotAsync(new() { Path = path });
    }
}
