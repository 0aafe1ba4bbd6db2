using Deque.AxeCore.Playwright;
using Microsoft.Playwright;

namespace BnService.Dashboard.Tests.Harness;

/// <summary>A window of the browser, which notes whatever the page complains about.</summary>
public sealed class Window : IAsyncDisposable
{
    private readonly IBrowserContext _context;
    private readonly Uri _service;
    private readonly List<string> _complaints = [], _requests = [];

    private Window(IBrowserContext context, IPage page, Uri service)
    {
        (_context, Page, _service) = (context, page, service);
        // Among them what the Content-Security-Policy has stopped.
        page.Console += (_, message) => Note(_complaints, message.Type == "error" ? message.Text : null);
        page.PageError += (_, error) => Note(_complaints, error);
        page.Request += (_, request) => Note(_requests, $"{request.Method} {request.Url}");
    }

    public IPage Page { get; }

    /// <summary>Errors that the page has written into its console, and those that nothing has caught.</summary>
    public IReadOnlyList<string> Complaints => Copy(_complaints);

    /// <summary>Methods and addresses of all requests so far.</summary>
    public IReadOnlyList<string> Requests => Copy(_requests);

    public static async Task<Window> OpenAsync(IBrowser browser, Uri service, int width, int height, bool dark)
    {
        var context = await browser.NewContextAsync(new()
        {
            BaseURL = service.ToString(),
            ViewportSize = new() { Width = width, Height = height },
            ColorScheme = dark ? ColorScheme.Dark : ColorScheme.Light,
            Locale = "en-GB",
            TimezoneId = "UTC",
            Permissions = ["clipboard-read", "clipboard-write"],
            ReducedMotion = ReducedMotion.Reduce,
        });
        context.SetDefaultTimeout(30_000);
        return new Window(context, await context.NewPageAsync(), service);
    }

    /// <summary>Goes to a place of the page.</summary>
    public Task GoAsync(string place = "/") => Page.GotoAsync(place);

    /// <summary>Waits until a text can be seen.</summary>
    public Task SeesAsync(string text) => Page.GetByText(text).First.WaitForAsync(new() { State = WaitForSelectorState.Visible });

    /// <summary>What axe has against what is seen now.</summary>
    public async Task<IReadOnlyList<string>> ViolationsAsync()
    {
        var result = await Page.RunAxe();
        return [.. result.Violations.Select(violation => $"{violation.Id}: {violation.Help}: {string.Join("; ", violation.Nodes.Select(node => node.Html))}")];
    }

    /// <summary>Fails where axe has something against what is seen.</summary>
    public async Task RequireNoViolationsAsync() => Assert.Empty(await ViolationsAsync());

    /// <summary>Fails where axe has something against what is seen, the page has complained, or something lies beside the screen.</summary>
    public async Task RequireSoundAsync()
    {
        await RequireNoViolationsAsync();
        Assert.Empty(Complaints);
        var (width, screen) = (await Page.EvaluateAsync<int>("document.documentElement.scrollWidth"), await Page.EvaluateAsync<int>("document.documentElement.clientWidth"));
        Assert.True(width <= screen, $"the page is {width} pixels wide, the screen {screen}");
        Assert.All(Requests, request => Assert.Contains(_service.Authority, request, StringComparison.Ordinal));
    }

    public async ValueTask DisposeAsync() => await _context.DisposeAsync();

    private static void Note(List<string> notes, string? text)
    {
        if (text is null) return;
        lock (notes) notes.Add(text);
    }

    private static List<string> Copy(List<string> notes)
    {
        lock (notes) return [.. notes];
    }
}
