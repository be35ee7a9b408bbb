using Deque.AxeCore.Commons;
using Deque.AxeCore.Playwright;
using Microsoft.Playwright;
using static Microsoft.Playwright.Assertions;

namespace Skylight.Tests.Server.Page;

/// <summary>The page for every eye: colours, widths, motion, and what axe finds.</summary>
[Collection(PageBrowser.Collection)]
public sealed class PageLooksTests(PageBrowser browser)
{
    private const string Long =
        "# Head\n\nwww." + "averylongwordwithoutanyspaces" + "averylongwordwithoutanyspaces" + "averylongwordwithoutanyspaces" + "\n\n" +
        "```python\nx = 'a line of code that is much wider than any phone that anybody has ever held in one hand, or in two'\n```\n\n" +
        "| first column | second column | third column | fourth column | fifth column |\n| --- | --- | --- | --- | --- |\n| 1 | 2 | 3 | 4 | 5 |\n\n" +
        "$$\na + b + c + d + e + f + g + h + i + j + k + l + m + n + o + p + q + r + s + t + u + v + w + x + y + z = \\sum_{i=1}^{26} i\n$$\n\n> quoted\n";

    [Fact]
    public async Task A_phone_needs_no_scrolling_sideways()
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        server.Script = async answer =>
        {
            await answer.ThinkAsync(Long);
            await answer.SayAsync(Long);
        };
        await using OpenedPage page = await browser.OpenAsync(server.Address, options: new BrowserNewContextOptions
        {
            ViewportSize = new ViewportSize { Width = 360, Height = 740 },
            IsMobile = true,
            HasTouch = true,
        });
        await Expect(page.Page.Locator(".sidebar")).ToBeHiddenAsync();
        Assert.Equal(0, await page.OverhangAsync());
        await page.AskAsync(new string('w', 300));
        await (await page.AnswerAsync()).Locator(".fold").TapAsync();
        await Expect(page.Page.Locator(".thoughts .katex-display")).ToBeVisibleAsync();
        Assert.Equal(0, await page.OverhangAsync());
        await page.Button("Shade tokens by entropy").TapAsync();
        await page.Page.Locator(".tokens .token").First.TapAsync();
        await Expect(page.Page.Locator(".card")).ToBeVisibleAsync();
        Assert.Equal(0, await page.OverhangAsync());
        await page.Button("Settings").TapAsync();
        Assert.True(await page.Page.Locator("dialog").EvaluateAsync<bool>("each => each.getBoundingClientRect().right <= innerWidth && each.scrollWidth <= each.clientWidth"));
        await page.Button("Done").TapAsync();
        // The conversations lie over the page, and leave with a choice.
        await page.Button("Show the conversations").TapAsync();
        await Expect(page.Page.Locator(".sidebar")).ToBeVisibleAsync();
        await page.Page.Locator(".to-server").TapAsync();
        await Expect(page.Page.Locator(".sidebar")).ToBeHiddenAsync();
        await Expect(page.Page.Locator(".gauge").First).ToBeVisibleAsync();
        Assert.Equal(0, await page.OverhangAsync());
    }

    [Fact]
    public async Task Colours_are_the_systems_until_somebody_chooses()
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        await using OpenedPage page = await browser.OpenAsync(server.Address,
            options: new BrowserNewContextOptions { ColorScheme = ColorScheme.Dark });
        Task<string> Background() => page.Page.EvaluateAsync<string>("getComputedStyle(document.body).backgroundColor");
        string dark = await Background();
        await page.Page.EmulateMediaAsync(new PageEmulateMediaOptions { ColorScheme = ColorScheme.Light });
        string light = await Background();
        Assert.Equal("rgb(255, 255, 255)", light);
        Assert.NotEqual(light, dark);
        // The system's, light, dark.
        await page.Button("Colours: the system's").ClickAsync();
        await page.Button("Colours: light").ClickAsync();
        await Expect(page.Button("Colours: dark")).ToBeVisibleAsync();
        Assert.Equal(dark, await Background());
        await page.Page.ReloadAsync();
        Assert.Equal(dark, await Background());
    }

    [Fact]
    public async Task Nothing_moves_for_those_who_want_it_so()
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        var ends = new TaskCompletionSource();
        server.Script = async answer =>
        {
            await answer.ThinkAsync("Hm");
            await ends.Task.WaitAsync(answer.Left);
        };
        await using OpenedPage page = await browser.OpenAsync(server.Address,
            options: new BrowserNewContextOptions { ReducedMotion = ReducedMotion.Reduce });
        await page.AskAsync("Think.");
        await Expect(page.Page.Locator(".thinking.live")).ToBeVisibleAsync();
        Assert.Equal(0, await page.Page.EvaluateAsync<int>("document.getAnimations().length"));
        await page.Page.EmulateMediaAsync(new PageEmulateMediaOptions { ReducedMotion = ReducedMotion.NoPreference });
        Assert.NotEqual(0, await page.Page.EvaluateAsync<int>("document.getAnimations().length"));
        ends.SetResult();
        await page.AnswerAsync();
    }

    [Theory]
    [InlineData(ColorScheme.Light)]
    [InlineData(ColorScheme.Dark)]
    public async Task Axe_finds_nothing(ColorScheme colours)
    {
        await using ScriptedServer server = await ScriptedServer.StartAsync();
        await using OpenedPage page = await browser.OpenAsync(server.Address,
            options: new BrowserNewContextOptions { ColorScheme = colours });
        await Expect(page.Page.Locator(".welcome b")).ToBeVisibleAsync();
        await CheckAsync("empty");
        server.Script = async answer =>
        {
            await answer.TokenAsync("Wait", 3.5, reasoning: true);
            await answer.TokenAsync(Long, 0.5, reasoning: false);
        };
        await page.HandOverAsync("paste", ("cat.png", "image/png",
            File.ReadAllBytes(Repository.PathOf("tests", "Skylight.Tests", "Images", "samples", "cat.png"))));
        await Expect(page.Thumbnails).ToHaveCountAsync(1);
        await CheckAsync("with a picture");
        await page.AskAsync("What?");
        await (await page.AnswerAsync()).Locator(".fold").ClickAsync();
        await CheckAsync("with an answer");
        await page.Button("Shade tokens by entropy").ClickAsync();
        await page.Page.Locator(".critical").Last.HoverAsync();
        await CheckAsync("shaded");
        server.Script = answer => answer.RefuseAsync(429, "Busy.", retryAfter: 60);
        await page.AskAsync("And?");
        await Expect(page.Page.Locator(".failure")).ToBeVisibleAsync();
        await CheckAsync("with an error");
        await page.Button("Settings").ClickAsync();
        await page.Page.GetByLabel("Top p").FillAsync("7");
        await CheckAsync("settings");
        await page.Button("Done").ClickAsync();
        await page.Page.Locator(".to-server").ClickAsync();
        await Expect(page.Page.Locator(".gauge").First).ToBeVisibleAsync();
        await CheckAsync("server");

        async Task CheckAsync(string state)
        {
            AxeResult result = await page.Page.RunAxe();
            Assert.True(result.Violations.Length == 0, $"{state}: " + string.Join("\n", result.Violations.Select(violation =>
                $"{violation.Id}: {violation.Help} {string.Join(" | ", violation.Nodes.Select(node => node.Html))}")));
            Assert.NotEmpty(result.Passes);
        }
    }
}
