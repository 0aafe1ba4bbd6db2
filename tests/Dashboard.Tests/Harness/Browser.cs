using Microsoft.Playwright;

namespace BnService.Dashboard.Tests.Harness;

/// <summary>One Chromium for all tests, that of the system.</summary>
public sealed class Browser : IAsyncLifetime
{
    private static readonly string[] Paths = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

    private IPlaywright _playwright = null!;
    private IBrowser _browser = null!;

    public async Task InitializeAsync()
    {
        var program = Environment.GetEnvironmentVariable("BN_CHROMIUM") ?? Array.Find(Paths, File.Exists);
        Assert.True(program is not null, $"Chromium is missing: none of {string.Join(", ", Paths)} is there, and BN_CHROMIUM names none");
        _playwright = await Playwright.CreateAsync();
        // As root, and in a container, it cannot lock itself in.
        _browser = await _playwright.Chromium.LaunchAsync(new() { ExecutablePath = program, Args = ["--no-sandbox", "--disable-dev-shm-usage", "--font-render-hinting=none"] });
    }

    /// <summary>A window of its own onto a service.</summary>
    public Task<Window> OpenAsync(Uri service, int width = 1280, int height = 900, bool dark = false) => Window.OpenAsync(_browser, service, width, height, dark);

    public async Task DisposeAsync()
    {
        await _browser.DisposeAsync();
        _playwright.Dispose();
    }
}

/// <summary>Tests that share the browser.</summary>
[CollectionDefinition(Name)]
public sealed class BrowserTests : ICollectionFixture<Browser>
{
    public const string Name = "browser";
}
