using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Skylight.Tests.Server.Page;

/// <summary>What whoever runs the server sees of it.</summary>
[Collection(PageBrowser.Collection)]
public sealed class ServerViewTests(PageBrowser browser)
{
    private const string Metrics =
        """
        # TYPE skylight_requests_total counter
        skylight_requests_total{status="200"} 1234
        skylight_requests_total{status="429"} 5
        skylight_requests_running 9
        skylight_queue_length 6
        skylight_prompts_reading 1
        skylight_answers_writing 2
        skylight_cache_pages_used 300
        skylight_cache_pages 400
        skylight_image_cache_bytes 5000000
        skylight_prompt_tokens_total 1000
        skylight_cached_tokens_total 250
        skylight_completion_tokens_total 77

        """;

    [Theory]
    [InlineData(1280, 800, false)]
    [InlineData(360, 740, true)]
    public async Task Load_queue_and_cache_are_seen_at_any_width(int width, int height, bool isPhone)
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        server.Metrics = Metrics;
        await using OpenedPage page = await browser.OpenAsync(new Uri(server.Address, "/#server"), options: new BrowserNewContextOptions
        {
            ViewportSize = new ViewportSize { Width = width, Height = height },
            IsMobile = isPhone,
            HasTouch = isPhone,
        });
        await Expect(Gauge("Writing")).ToContainTextAsync("2");
        await Expect(Gauge("Writing")).ToContainTextAsync("9 requests open, prompts of 1 being read");
        await Expect(Gauge("Queue").Locator(".value")).ToHaveTextAsync("6");
        await Expect(Gauge("Cache").Locator(".value")).ToHaveTextAsync("75 %");
        await Expect(Gauge("Cache")).ToContainTextAsync("300 of 400 pages; pictures 5.0 MB");
        await Expect(Gauge("Tokens/s read")).ToContainTextAsync("25 % of all from the cache");
        await Expect(page.Page.GetByRole(AriaRole.Row, new PageGetByRoleOptions { Name = "status 429 (queue full)" })).ToContainTextAsync("5");
        Assert.Equal(0, await page.OverhangAsync());

        // It follows the server, says when that is gone, and goes on when it is back.
        server.Metrics = Metrics.Replace("queue_length 6", "queue_length 17", StringComparison.Ordinal);
        await Expect(Gauge("Queue").Locator(".value")).ToHaveTextAsync("17");
        await page.Page.Context.SetOfflineAsync(true);
        await Expect(page.Page.Locator(".server .state")).ToContainTextAsync("cannot be reached");
        await page.Page.Context.SetOfflineAsync(false);
        await Expect(page.Page.Locator(".server .state")).ToHaveTextAsync("Takes requests");

        ILocator Gauge(string name) => page.Page.Locator(".gauge").Filter(new LocatorFilterOptions
        {
            Has = page.Page.GetByRole(AriaRole.Heading, new PageGetByRoleOptions { Name = name, Exact = true }),
        });
    }

    [Fact]
    public async Task Keys_lead_there_through_it_and_back()
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        server.Metrics = Metrics;
        await using OpenedPage page = await browser.OpenAsync(server.Address, options: new BrowserNewContextOptions
        {
            ViewportSize = new ViewportSize { Width = 1000, Height = 400 },
        });
        await page.Page.Locator(".to-server").FocusAsync();
        await page.Page.Keyboard.PressAsync("Enter");
        await Expect(page.Page.Locator(".gauge").First).ToBeVisibleAsync();
        await Expect(page.Page).ToHaveTitleAsync("Server – Skylight");
        // The table lies below the window's edge.
        ILocator region = page.Page.GetByRole(AriaRole.Region, new PageGetByRoleOptions { Name = "Server", Exact = true });
        for (int stop = 0; stop < 20 && !await region.EvaluateAsync<bool>("each => each === document.activeElement"); stop++)
            await page.Page.Keyboard.PressAsync("Tab");
        await Expect(region).ToBeFocusedAsync();
        await page.Page.Keyboard.PressAsync("End");
        await Expect(page.Page.GetByText("Tokens of thinking")).ToBeInViewportAsync();
        await page.Page.Locator(".sidebar a.new").FocusAsync();
        await page.Page.Keyboard.PressAsync("Enter");
        await Expect(page.Field).ToBeVisibleAsync();
    }
}
