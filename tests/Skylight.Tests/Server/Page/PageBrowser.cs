using System.Collections.Concurrent;
using Microsoft.Playwright;

namespace Skylight.Tests.Server.Page;

/// <summary>The system's Chromium, for all tests of the page. Nothing is downloaded.</summary>
public sealed class PageBrowser : IAsyncLifetime
{
    public const string Collection = "the page in a browser";

    private const float Patience = 120_000;

    private static readonly string[] s_places = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"];

    // Chromium leaves files in the temporary folder when it ends.
    private readonly TemporaryFolder _folder = new();
    private IPlaywright? _playwright;
    private IBrowser? _browser;

    public async ValueTask InitializeAsync()
    {
        if (s_places.FirstOrDefault(File.Exists) is not { } path)
            return;
        Assertions.SetDefaultExpectTimeout(Patience);
        _playwright = await Playwright.CreateAsync();
        Dictionary<string, string> environment = Environment.GetEnvironmentVariables().Keys.Cast<string>()
            .ToDictionary(name => name, name => Environment.GetEnvironmentVariable(name)!);
        (environment["TMPDIR"], environment["HOME"]) = (_folder.Path, _folder.Path);
        _browser = await _playwright.Chromium.LaunchAsync(new BrowserTypeLaunchOptions
        {
            ExecutablePath = path,
            // The tests may be run as root; /dev/shm is small in many containers, and a page without memory dies.
            Args = ["--no-sandbox", "--disable-dev-shm-usage", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
            Env = environment,
            Timeout = Patience,
        });
    }

    /// <summary>Opens an address in a browser that has never seen it.</summary>
    /// <param name="address">The address.</param>
    /// <param name="settings">What the page's settings are at the beginning, in JSON.</param>
    /// <param name="options">How large the window is, its colours and so on.</param>
    internal async Task<OpenedPage> OpenAsync(Uri address, string settings = "{}", BrowserNewContextOptions? options = null)
    {
        if (_browser is null)
        {
            Assert.Skip($"There is no Chromium at {string.Join(" or ", s_places)}: .ci/install installs it where it can.");
        }

        IBrowserContext context = await _browser.NewContextAsync(options
            ?? new BrowserNewContextOptions { ColorScheme = ColorScheme.Light });
        context.SetDefaultTimeout(Patience);
        await context.AddInitScriptAsync(
            $"if (!localStorage.getItem('skylight.settings')) localStorage.setItem('skylight.settings', {System.Text.Json.JsonSerializer.Serialize(settings)});");
        try
        {
            var opened = new OpenedPage(context, await context.NewPageAsync(), address);
            await opened.Page.GotoAsync(address.ToString());
            return opened;
        }
        catch
        {
            await context.CloseAsync();
            throw;
        }
    }

    public async ValueTask DisposeAsync()
    {
        if (_browser is not null)
            await _browser.CloseAsync();
        _playwright?.Dispose();
        _folder.Dispose();
    }
}

[CollectionDefinition(PageBrowser.Collection)]
public sealed class PageCollection : ICollectionFixture<PageBrowser>;

/// <summary>The page as a person has it. Whatever a test does, it must break no rule of its policy and ask nobody else.</summary>
internal sealed class OpenedPage : IAsyncDisposable
{
    private readonly IBrowserContext _context;
    private readonly ConcurrentQueue<string> _faults = [];

    public OpenedPage(IBrowserContext context, IPage page, Uri address)
    {
        (_context, Page) = (context, page);
        page.Crash += (_, _) => _faults.Enqueue("the page's process died");
        page.PageError += (_, error) => _faults.Enqueue($"error: {error}");
        page.Console += (_, message) =>
        {
            // A refused request is logged by the browser itself, and some tests want one.
            if (message.Type == "error" && !message.Text.StartsWith("Failed to load resource", StringComparison.Ordinal))
                _faults.Enqueue($"console: {message.Text}");
        };
        page.Request += (_, request) =>
        {
            if (new Uri(request.Url) is { Scheme: "http" or "https" } url && url.Authority != address.Authority)
                _faults.Enqueue($"request: {url}");
        };
    }

    public IPage Page { get; }

    public ILocator Field => Page.Locator(".foot textarea");

    public ILocator Thumbnails => Page.Locator(".editor .thumbnail");

    public ILocator Answers => Page.Locator(".answer[aria-busy=false]");

    public ILocator Button(string name) =>
        Page.GetByRole(AriaRole.Button, new PageGetByRoleOptions { Name = name, Exact = true });

    public async Task AskAsync(string text)
    {
        await Field.FillAsync(text);
        await Field.PressAsync("Enter");
    }

    /// <summary>The last answer, when it is over.</summary>
    public async Task<ILocator> AnswerAsync(int count = 1)
    {
        await Assertions.Expect(Answers).ToHaveCountAsync(count);
        return Answers.Last;
    }

    /// <summary>Fires the event with which a browser hands over files: paste or drop.</summary>
    public Task HandOverAsync(string type, params (string Name, string Type, byte[] Content)[] files) => Page.EvaluateAsync(
        """
        ([type, files]) => {
          const transfer = new DataTransfer();
          for (const [name, kind, content] of files)
            transfer.items.add(new File([Uint8Array.from(atob(content), letter => letter.charCodeAt(0))], name, { type: kind }));
          const target = type === 'paste' ? document.activeElement : document.querySelector('main');
          const init = { bubbles: true, cancelable: true };
          target.dispatchEvent(type === 'paste' ? new ClipboardEvent('paste', { ...init, clipboardData: transfer })
            : new DragEvent(type, { ...init, dataTransfer: transfer }));
        }
        """,
        new object[]
        {
            type, files.Select(file => new[] { file.Name, file.Type, Convert.ToBase64String(file.Content) }).ToArray(),
        });

    /// <summary>How much wider the page is than the window.</summary>
    public Task<int> OverhangAsync() => Page.EvaluateAsync<int>(
        "Math.max(...[document.documentElement, ...document.querySelectorAll('.scroller, main')].map(each => each.scrollWidth - each.clientWidth))");

    public async ValueTask DisposeAsync()
    {
        await _context.CloseAsync();
        Assert.Empty(_faults);
    }
}
